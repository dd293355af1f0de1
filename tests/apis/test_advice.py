"""What a machine or an environment lacks is said with what to do about it, by the libraries' own exceptions."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmpose.datasets.transforms import common_transforms
from mmpose.registry import MODELS, TRANSFORMS

from mmpose_tskd.apis.tools import explain


def vitpose(monkeypatch):
    monkeypatch.setattr('mmpose_tskd.apis.advice.find_spec', lambda name: None)
    MODELS.build(dict(type='mmpretrain.NoSuchTransformer'))


def amp_on_a_cpu(monkeypatch):
    wrapper = dict(type='AmpOptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    build_optim_wrapper(torch.nn.Linear(1, 1), wrapper)


def albumentations(monkeypatch):
    monkeypatch.setattr(common_transforms, 'albumentations', None)
    TRANSFORMS.build(dict(type='Albumentation', transforms=[dict(type='Blur')]))


def synchronized_norm_on_a_cpu(monkeypatch):
    torch.distributed.init_process_group('gloo', store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        torch.nn.SyncBatchNorm(2)(torch.rand(2, 2, 2, 2))
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    'lack, parts',
    [
        (vitpose, ['mmpretrain.NoSuchTransformer', 'mim install mmpretrain']),
        (amp_on_a_cpu, ['only available training on gpu', 'BF16OptimWrapper']),
        (albumentations, ['albumentations is not installed', 'pip install "mmpose_tskd[rtmpose]"']),
        (synchronized_norm_on_a_cpu, ['to be on GPU', "type='BN' in every norm_cfg"]),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason='AMP and SyncBN work here')
def test_what_an_environment_lacks(lack, parts, monkeypatch):
    with pytest.raises(Exception) as error:
        lack(monkeypatch)
    assert all(part in explain(error.value) for part in parts), explain(error.value)
