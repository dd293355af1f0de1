"""Long runs through the real Runner: memory, tensors, file handles and worker processes stay as many as they were."""

import gc
import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from conftest import train, write_toy_data
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import MODELS

pytestmark = pytest.mark.slow

STUDENT = 'simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py'
STEPS, WARM_UP, EVERY = 1000, 200, 50
GROWTH = 8  # MiB that the resident set may differ by; a leaked batch a step would be 112 in 800 steps


def resident() -> float:
    """MiB."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


def tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def handles() -> int:
    return len(os.listdir('/proc/self/fd'))


class Watch(Hook):
    """Notes what the process holds, every so many steps."""

    def __init__(self) -> None:
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if (runner.iter + 1) % EVERY == 0:
            self.seen.append((runner.iter + 1, tensors(), handles(), resident()))


@pytest.fixture(scope='module')
def many_people(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp('many') / 'toy', num_people=100)


@pytest.fixture
def make_stage(make_config, many_people, tmp_path):
    """``make_stage(1, **options)``: a stage's config, 50 steps an epoch."""

    def make(stage, **options):
        name = 'stage1_structure.py'
        if stage == 2:
            student = MODELS.build(make_config(STUDENT).model)
            torch.save(student.state_dict(), tmp_path / 'student.pth')
            name, options = 'stage2_igpgcn.py', {'model.student_checkpoint': str(tmp_path / 'student.pth'), **options}
        return make_config(name, **{'train_dataloader.dataset.data_root': str(many_people), **options})

    return make


@pytest.mark.parametrize('stage', [1, 2])
def test_a_thousand_steps_hold_no_more_than_the_first(make_stage, stage, survived):
    """With a validation and a checkpoint every five epochs."""
    options = {'train_cfg.max_epochs': STEPS // 50, 'train_cfg.val_interval': 5}
    options['default_hooks.checkpoint.interval'] = 5
    options['default_hooks.logger.interval'] = 50
    runner, watch = Runner.from_cfg(make_stage(stage, **options)), Watch()
    runner.register_hook(watch)
    runner.train()
    assert runner.iter == STEPS
    later = [entry[1:] for entry in watch.seen if entry[0] > WARM_UP]
    assert len(later) == (STEPS - WARM_UP) // EVERY
    tensor_counts, handle_counts, sizes = zip(*later)
    assert len(set(tensor_counts)) == 1, tensor_counts
    assert len(set(handle_counts)) == 1, handle_counts
    assert max(sizes) - min(sizes) < GROWTH, sizes
    survived('steps', f'stage {stage}', STEPS)


def state(runner):
    """The weights, what the distiller has learned itself, and the optimizer's state."""
    optimizer = runner.optim_wrapper.optimizer.state_dict()['state']
    return {
        **runner.model.state_dict(),
        **runner.model.distill_losses.state_dict(),
        **{f'{i}.{name}': value for i, entry in optimizer.items() for name, value in entry.items()},
    }


@pytest.mark.parametrize('stage', [1, 2])
def test_fifty_times_saved_and_loaded_it_is_as_it_was(make_stage, tmp_path, stage, survived):
    runner = train(make_stage(stage, **{'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 5}))
    runner._resume = True
    expected = {name: value.clone() for name, value in state(runner).items()}
    seen = []
    for _ in range(50):
        runner.save_checkpoint(str(tmp_path / 'cycles'), 'cycle.pth')
        for parameter in runner.model.parameters():
            parameter.data.zero_()
        runner.resume(str(tmp_path / 'cycles/cycle.pth'))
        seen.append((tensors(), handles(), resident()))
    assert len(expected) > 100
    for name, value in state(runner).items():
        assert torch.equal(value, expected[name]), name
    assert os.listdir(tmp_path / 'cycles') == ['cycle.pth']
    tensor_counts, handle_counts, sizes = zip(*seen[10:])
    assert len(set(tensor_counts)) == 1 and len(set(handle_counts)) == 1, (tensor_counts, handle_counts)
    assert max(sizes) - min(sizes) < GROWTH, sizes
    survived('save/load cycles', f'stage {stage}', 50)


@pytest.mark.parametrize('persistent', [True, False])
def test_no_worker_and_no_file_handle_stays_behind(make_stage, persistent, survived):
    workers = dict(num_workers=2, persistent_workers=persistent)
    loaders = {f'{loader}_dataloader.{key}': value for loader in ('train', 'val') for key, value in workers.items()}
    runner, started = Runner.from_cfg(make_stage(1, **loaders)), []
    before = handles()  # the log is open
    runner.register_hook(Workers(started))
    runner.train()
    assert max(started) >= 2
    del runner
    gc.collect()
    assert multiprocessing.active_children() == []
    assert handles() == before
    survived('runs with two workers', 'persistent' if persistent else 'new in each epoch')


class Workers(Hook):
    """Notes how many worker processes there are."""

    def __init__(self, counts):
        self.counts = counts

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.counts.append(len(multiprocessing.active_children()))
