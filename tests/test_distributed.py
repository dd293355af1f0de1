"""Both stages behind the wrapper of distributed training, in one process."""

import pytest
import torch
from conftest import train
from mmengine.model import MMDistributedDataParallel


@pytest.fixture
def one_process_group(monkeypatch):
    for name, value in dict(
        RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT='29517'
    ).items():
        monkeypatch.setenv(name, value)
    torch.distributed.init_process_group('gloo')
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize('stage', ['stage1_structure.py', 'stage2_igpgcn.py'])
def test_a_wrapped_distiller_uses_every_parameter_and_saves_as_ever(make_config, tmp_path, one_process_group, stage):
    """The second step fails if the first left a parameter without a gradient."""
    cfg = make_config(stage, **{'model.student_checkpoint': None})
    runner = train(cfg, wrap=True)
    assert isinstance(runner.model, MMDistributedDataParallel)
    assert not runner.model.find_unused_parameters
    checkpoint = torch.load(tmp_path / 'work/epoch_2.pth', weights_only=True)
    assert not any(name.startswith(('module.', 'distill')) for name in checkpoint['state_dict'])
    if 'stage1' in stage:
        assert checkpoint['distill']['gamma'] == 0.5
        assert checkpoint['distill']['adapters']
