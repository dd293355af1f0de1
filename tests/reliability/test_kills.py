"""Runs that are killed, at random and at the worst moments, end with the weights of one that was not."""

import builtins
import functools
import json
import os
import random
import re
import signal
import time

import pytest
import torch
from conftest import toy_config, toy_teacher, write_toy_data
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner, ValLoop
from mmpose.registry import MODELS
from processes import finish, start

from mmpose_tskd.apis import quickstart
from mmpose_tskd.datasets import generate_synthetic_crowd
from mmpose_tskd.engine.atomic_backend import AtomicLocalBackend


def kill_me(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


def kill_before(owner, name):
    setattr(owner, name, kill_me)


def kill_after(owner, name):
    original = getattr(owner, name)

    def run_and_die(*args, **kwargs):
        original(*args, **kwargs)
        kill_me()

    setattr(owner, name, run_and_die)


def kill_at_the_note():
    """When ``last_checkpoint`` has been emptied and is not yet filled."""
    original = builtins.open

    def open_and_die(file, mode='r', *args, **kwargs):
        stream = original(file, mode, *args, **kwargs)
        if str(file).endswith('last_checkpoint') and 'w' in mode:
            kill_me()
        return stream

    builtins.open = open_and_die


# the moments at which a kill could cost most
MOMENTS = [
    functools.partial(kill_before, os, 'fsync'),  # a checkpoint is half written
    functools.partial(kill_before, os, 'replace'),  # it is written and not yet in its place
    functools.partial(kill_after, os, 'replace'),  # it is, and the old one is not yet removed
    functools.partial(kill_after, AtomicLocalBackend, 'put'),  # that is removed, and the new one not yet noted
    kill_at_the_note,
    functools.partial(kill_before, ValLoop, 'run'),  # the epoch is saved and not validated
    functools.partial(kill_after, ValLoop, 'run_iter'),  # within the validation
    functools.partial(kill_before, CheckpointHook, '_save_best_checkpoint'),  # it is validated, the best not saved
    functools.partial(kill_after, CheckpointHook, '_save_best_checkpoint'),
]


def train_stage(config):
    cfg = Config.fromfile(config)
    cfg.resume = True
    Runner.from_cfg(cfg).train()


def train_quickstart(crowd, work_dir):
    quickstart.generate_synthetic_crowd = functools.partial(
        generate_synthetic_crowd, num_train=24, num_val=4, workers=1
    )
    quickstart.run_quickstart(data_root=str(crowd), work_dir=work_dir, budget=0.2)


def enter(moment, train, args):
    if moment is not None:
        MOMENTS[moment]()
    train(*args)


def run(log, train, *args, moment=None, seconds=None):
    """Runs until the end or a kill, at a moment or after some time; says whether it came to its end."""
    process = start(enter, moment, train, args, log=log)
    process.join(seconds)
    if process.is_alive():
        process.kill()
    return finish(process, log, exit_codes=(0, -signal.SIGKILL)) == 0


def kill(number, log, duration, train, make_args, check):
    """Kills ``number`` times: one run again and again until it comes to its end, then the next."""
    rng, kills, runs = random.Random(0), 0, 0
    while kills < number:
        args = make_args(f'killed{runs}')
        runs += 1
        finished = False
        while not finished:
            moment, seconds = rng.randrange(len(MOMENTS)), rng.uniform(0, duration)
            at_random = rng.random() < 0.5
            if kills == number:
                finished = run(log, train, *args)
                assert finished
            elif at_random:
                finished = run(log, train, *args, seconds=seconds)
            else:
                finished = run(log, train, *args, moment=moment)
            kills += not finished
        check(f'killed{runs - 1}')


def files(folder):
    """Of a work folder; not the config, whose name is the run's, nor the logs of each start, in folders by its time."""
    paths = (file.relative_to(folder) for file in folder.rglob('*') if file.is_file() and file.suffix != '.py')
    return {path for path in paths if not any(re.fullmatch(r'\d{8}_\d{6}', part) for part in path.parts)}


def assert_same_files(expected, folder, same_teacher=True):
    """All that is learned, in each checkpoint of two work folders, and nothing left over.

    A record names the files of its teacher: its digest is another one in another folder.
    """
    assert files(expected) == files(folder)
    for name in (name for name in files(expected) if name.suffix == '.pth'):
        first, second = (torch.load(path / name, weights_only=True) for path in (expected, folder))
        if not same_teacher:
            for checkpoint in (first, second):
                checkpoint.get('distill', {}).pop('teacher', None)  # the record's digest
        for entry in ('state_dict', 'ema_state_dict', 'distill', 'optimizer', 'param_schedulers', 'gradients'):
            assert_same(first.get(entry), second.get(entry), f'{name}: {entry}')


def assert_same(first, second, where):
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert list(first) == list(second), where
        for key, value in first.items():
            assert_same(value, second[key], f'{where}.{key}')
    elif isinstance(first, list):
        assert len(first) == len(second), where
        for number, value in enumerate(first):
            assert_same(value, second[number], f'{where}.{number}')
    else:
        assert first == second, where


@pytest.mark.slow
@pytest.mark.parametrize('stage', ['stage1_structure.py', 'stage2_igpgcn.py'])
def test_a_killed_stage_ends_as_one_that_was_not(stage, tmp_path, teacher_checkpoint, survived, number=24):
    """With two loading processes, augmentation, a last batch of one, a best checkpoint and one other that is kept.

    Moving averages, float16's loss scaling, and gradients accumulated over two of an epoch's three batches, too.
    """
    data = write_toy_data(tmp_path / 'data', num_people=5)
    student = MODELS.build(toy_config('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py', data, tmp_path).model)
    torch.save(dict(state_dict=student.state_dict()), tmp_path / 'student.pth')

    def make_args(name):
        cfg = toy_config(stage, data, tmp_path / name)
        cfg.model.update(teacher=toy_teacher(), teacher_checkpoint=teacher_checkpoint)
        if 'stage2' in stage:
            cfg.model.student_checkpoint = str(tmp_path / 'student.pth')
        cfg.train_cfg.max_epochs = 4
        cfg.train_dataloader.update(num_workers=2, persistent_workers=True)
        cfg.default_hooks.checkpoint.max_keep_ckpts = 1
        cfg.custom_imports.imports.append('scaled_optim_wrapper')
        cfg.optim_wrapper.update(type='ScaledOptimWrapper', accumulative_counts=2)
        cfg.custom_hooks.append(dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.5))
        cfg.dump(tmp_path / f'{name}.py')
        return (str(tmp_path / f'{name}.py'),)

    log = tmp_path / 'log.txt'
    args, begin = make_args('whole'), time.monotonic()
    assert run(log, train_stage, *args)
    duration = time.monotonic() - begin

    def check(name):
        assert_same_files(tmp_path / 'whole', tmp_path / name)

    kill(number, log, duration, train_stage, make_args, check)
    survived('kills', stage.split('_')[0], number)


@pytest.mark.slow
def test_a_killed_quickstart_ends_as_one_that_was_not(tmp_path, survived, number=20):
    crowd = generate_synthetic_crowd(tmp_path / 'crowd', num_train=24, num_val=4, workers=1)
    log, begin = tmp_path / 'log.txt', time.monotonic()
    assert run(log, train_quickstart, crowd, tmp_path / 'whole')
    duration = time.monotonic() - begin

    def rows(name):
        content = json.loads((tmp_path / name / 'results.json').read_text())['rows']
        return {run: {**row, 'train_s': None} for run, row in content.items()}

    def check(name):
        assert_same_files(tmp_path / 'whole', tmp_path / name, same_teacher=False)
        assert rows('whole') == rows(name)

    kill(number, log, duration / 2, train_quickstart, lambda name: (crowd, tmp_path / name), check)
    survived('kills', 'quickstart', number)
