"""The memory format under DDP, in a process of its own, since a process group stays for the rest of a process."""

import subprocess
import sys

from conftest import free_port

SCRIPT = """
import sys
from types import SimpleNamespace

import torch
from mmengine.model import MMDistributedDataParallel
from torch import nn

from mmpose_tskd.engine.hooks import ChannelsLastHook

torch.distributed.init_process_group('gloo', init_method='tcp://127.0.0.1:' + sys.argv[1], rank=0, world_size=1)
wrap = lambda cfg, model: MMDistributedDataParallel(model, broadcast_buffers=False)
network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
runner = SimpleNamespace(model=wrap(None, network), wrap_model=wrap, cfg={})
ChannelsLastHook().before_train(runner)
assert runner.model.module is network
assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
for _ in range(2):
    runner.model(torch.rand(2, 3, 8, 8).to(memory_format=torch.channels_last)).sum().backward()
assert network[0].weight.grad.stride() == network[0].weight.stride()
print('done')
"""


def test_gradients_have_the_layout_of_ddps_buckets():
    """PyTorch warns where they have another, and copies each gradient in every step."""
    run = subprocess.run([sys.executable, '-c', SCRIPT, str(free_port())], capture_output=True, text=True, timeout=300)
    assert run.stdout.endswith('done\n'), run.stderr
    assert 'strides do not match bucket' not in run.stderr
