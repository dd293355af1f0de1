"""What a run survives and refuses, by the hooks that ReliableRunHook registers."""

import os
import shutil
import signal
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import scaled_optim_wrapper  # noqa: F401
import torch
from conftest import toy_config, toy_teacher, train
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmpose_tskd.engine.atomic_backend import AtomicLocalBackend
from mmpose_tskd.errors import UserError

PLAIN = 'simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py'
STAGE1 = 'stage1_structure.py'


def load(path):
    return torch.load(path, map_location='cpu', weights_only=True)


def edit(path, change):
    checkpoint = load(path)
    change(checkpoint)
    torch.save(checkpoint, path)


@pytest.fixture
def one_epoch(make_config):
    """A plain student's run that was killed after its first epoch's validation."""
    runner = Runner.from_cfg(make_config(PLAIN))
    runner.register_hook(DoHook(fail, epoch=1))
    with pytest.raises(ZeroDivisionError):
        runner.train()
    return Path(runner.work_dir)


@pytest.fixture(scope='module')
def stage1_epoch(toy_data, teacher_checkpoint, tmp_path_factory):
    """The work folder of a run of stage 1 that ended with its first epoch."""
    cfg = toy_config(STAGE1, toy_data, tmp_path_factory.mktemp('stage1'), **{'train_cfg.max_epochs': 1})
    cfg.model.update(teacher=toy_teacher(), teacher_checkpoint=teacher_checkpoint)
    init_default_scope('mmpose')
    return Path(train(cfg).work_dir)


class DoHook(Hook):
    """Does something before the first iteration of an epoch, or after an iteration."""

    def __init__(self, action, epoch=None, iteration=None):
        self.action, self.epoch, self.iteration = action, epoch, iteration

    def before_train_epoch(self, runner):
        if runner.epoch == self.epoch:
            self.action(runner)

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter == self.iteration:
            self.action(runner)


def fail(runner):
    raise ZeroDivisionError


def run_with(cfg, *hooks):
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


def stop(number):
    return lambda runner: os.kill(os.getpid(), number)


# ---------------------------------------------------------------------------------------------------------------------
# what a checkpoint says


def test_a_config_is_not_run_whatever_holds_it(make_config, one_epoch, tmp_path):
    """A dictionary's own ``pop`` may be the file's: MMEngine runs what is then left in it."""

    def change(checkpoint):
        meta = OrderedDict(checkpoint['meta'], config=f'open({str(tmp_path / "was_run")!r}, "w")')
        meta.pop = getattr
        checkpoint['meta'] = meta

    edit(one_epoch / 'epoch_1.pth', change)
    assert train(make_config(PLAIN, resume=True)).epoch == 2
    assert not (tmp_path / 'was_run').exists()


@pytest.mark.parametrize('kind', ['file', 'folder', 'link'])
def test_a_best_checkpoint_elsewhere_is_not_removed(make_config, one_epoch, tmp_path, kind):
    victim = tmp_path / 'best_victim.pth'
    victim.mkdir() if kind == 'folder' else victim.touch()
    named = victim
    if kind == 'link':
        named = one_epoch / 'best_link.pth'
        named.symlink_to(victim)

    def change(checkpoint):
        checkpoint['message_hub']['runtime_info'].update(best_ckpt=str(named), best_score=-1.0)

    edit(one_epoch / 'epoch_1.pth', change)
    train(make_config(PLAIN, resume=True))
    assert victim.exists() and named.exists()


def test_a_step_that_is_a_path_removes_nothing(make_config, one_epoch, tmp_path):
    (tmp_path / 'victim.pth').touch()
    (one_epoch / 'epoch_x').mkdir()
    steps = ['x/../../victim', 1]
    edit(one_epoch / 'epoch_1.pth', lambda c: c['message_hub']['runtime_info'].update(keep_ckpt_ids=steps))
    train(make_config(PLAIN, resume=True, **{'default_hooks.checkpoint.max_keep_ckpts': 1}))
    assert (tmp_path / 'victim.pth').exists()


def test_a_copied_folder_goes_on_with_its_own_best(make_config, one_epoch, tmp_path):
    (best,) = one_epoch.glob('best_*.pth')
    edit(one_epoch / 'epoch_1.pth', lambda c: c['message_hub']['runtime_info'].update(best_score=-1.0))
    copied = Path(shutil.copytree(one_epoch, tmp_path / 'copied'))
    train(make_config(PLAIN, 'copied', resume=True))
    assert best.exists()
    assert [file.name for file in copied.glob('best_*.pth')] == [best.name.replace('epoch_1', 'epoch_2')]


def test_a_run_resumed_into_another_folder_has_a_best_of_its_own(make_config, one_epoch, tmp_path):
    edit(one_epoch / 'epoch_1.pth', lambda c: c['message_hub']['runtime_info'].update(best_score=2.0))
    train(make_config(PLAIN, 'other', resume=True, load_from=str(one_epoch / 'epoch_1.pth')))
    assert len(list(one_epoch.glob('best_*.pth'))) == len(list((tmp_path / 'other').glob('best_*.pth'))) == 1


def set_gamma(checkpoint):
    checkpoint['distill']['gamma'] = float('nan')


def set_moment(checkpoint):
    checkpoint['optimizer']['state'][0]['exp_avg'][:] = float('nan')


def set_log(checkpoint):
    checkpoint['message_hub']['log_scalars']['train/loss'] = [1.0]


def set_epoch(checkpoint):
    checkpoint['meta']['epoch'] = 'one'


def shared(depth=50):
    """A list whose places are more than can be counted."""
    value = ['x']
    for _ in range(depth):
        value = [value, value]
    return value


def set_start(checkpoint):
    """An epoch that began so long ago that none of its batches would be left."""
    meta = checkpoint['meta']
    start = dict(epoch=meta['epoch'], iter=meta['iter'] - 100, batches=3)
    checkpoint['message_hub']['runtime_info']['epoch_start'] = start


@pytest.mark.parametrize(
    'change, text',
    [
        (set_start, 'where its epoch began cannot be'),
        (lambda c: c['message_hub']['runtime_info'].update(epoch_start=5), 'where its epoch began cannot be'),
        (lambda c: c['optimizer'].update(loss_scaler=dict(scale=float('inf'))), 'a loss scaling by inf'),
        (lambda c: c['optimizer'].update(loss_scaler=dict(scale=0.0)), 'a loss scaling by 0.0'),
        (lambda c: c['optimizer']['param_groups'][0].update(lr=float('nan')), 'optimizer.param_groups.0.lr'),
        (lambda c: c['optimizer'].update(param_groups=[]), 'that this run cannot go on from .ValueError'),
        (lambda c: c.update(optimizer=shared()), 'that this run cannot go on from'),
        (lambda c: c.update(param_schedulers=['x', 'y']), 'that this run cannot go on from'),
        (lambda c: c['meta'].update(seed='x'), 'that this run cannot go on from'),
        (lambda c: c['distill'].update(adapters=5), 'that this run cannot go on from'),
        (lambda c: c['distill'].update(gamma='x'), 'has γ = x, no number in .0, 1.'),
        (lambda c: c['meta'].update(settings=dict(model=shared())), 'a run without ReliableRunHook has written'),
        (set_gamma, 'γ = nan'),
        (set_moment, 'optimizer.state.0.exp_avg'),
        (set_log, 'no state of a run to resume'),
        (set_epoch, 'no state of a run to resume'),
        (lambda checkpoint: checkpoint.pop('optimizer'), 'no state of a run to resume'),
        (lambda checkpoint: checkpoint.pop('param_schedulers'), 'no state of a run to resume'),
        (lambda checkpoint: checkpoint['meta'].pop('settings'), 'a run without ReliableRunHook has written'),
    ],
)
def test_a_damaged_state_is_not_resumed(make_config, stage1_epoch, tmp_path, change, text):
    shutil.copytree(stage1_epoch, tmp_path / 'work')
    edit(tmp_path / 'work/epoch_1.pth', change)
    with pytest.raises(UserError, match=text):
        train(make_config(STAGE1, resume=True, **{'train_cfg.max_epochs': 1}))


@pytest.mark.parametrize('score', ['x', float('nan'), None, shared()])
def test_a_best_score_that_is_no_number_is_forgotten(make_config, one_epoch, score):
    """Nothing is better than NaN."""
    edit(one_epoch / 'epoch_1.pth', lambda c: c['message_hub']['runtime_info'].update(best_score=score))
    runner = train(make_config(PLAIN, resume=True))
    assert isinstance(runner.message_hub.get_info('best_score'), float)


def test_a_pipe_for_a_lock_is_not_waited_for(make_config, tmp_path):
    (tmp_path / 'work').mkdir()
    os.mkfifo(tmp_path / 'work/.lock')
    (tmp_path / 'work/.own.partial').mkdir()
    train(make_config(PLAIN, **{'train_cfg.max_epochs': 1}))
    assert (tmp_path / 'work/.own.partial').is_dir()


def test_the_best_checkpoint_is_weights_alone(make_config, one_epoch):
    (best,) = one_epoch.glob('best_*.pth')
    with pytest.raises(UserError, match='best_.*holds no state of a run to resume.*set load_from='):
        train(make_config(PLAIN, resume=True, load_from=str(best)))


# ---------------------------------------------------------------------------------------------------------------------
# a folder belongs to one run


def test_checkpoints_are_in_the_work_folder(make_config, tmp_path):
    with pytest.raises(UserError, match='default_hooks.checkpoint.out_dir=.*Set work_dir instead'):
        train(make_config(PLAIN, **{'default_hooks.checkpoint.out_dir': str(tmp_path / 'out')}))


CHANGES = {
    'optim_wrapper.optimizer.lr': 0.5,
    'train_cfg.max_epochs': 3,
    'model.head.loss.use_target_weight': False,
    'train_dataloader.dataset.indices': 4,
}


@pytest.mark.parametrize('key', CHANGES)
def test_a_run_with_another_config_is_refused_by_what_differs(make_config, one_epoch, key):
    with pytest.raises(UserError, match=rf'another config:\n    {key}: .* → {CHANGES[key]}\n.*allow_changes=True'):
        train(make_config(PLAIN, resume=True, **{key: CHANGES[key]}))


def test_a_change_that_is_allowed_is_named_in_the_log(make_config, one_epoch):
    runner = Runner.from_cfg(make_config(PLAIN, resume=True, allow_changes=True, **{'train_cfg.max_epochs': 3}))
    warned = []
    runner.logger.warning = lambda message, *args: warned.append(message)
    runner.train()
    assert runner.epoch == 3 and any('train_cfg.max_epochs: 2 → 3' in message for message in warned)


def test_places_and_loading_processes_may_change(make_config, one_epoch, toy_data, tmp_path):
    moved = shutil.copytree(toy_data, tmp_path / 'moved')
    options = {'train_dataloader.dataset.data_root': str(moved), 'train_dataloader.num_workers': 1}
    assert train(make_config(PLAIN, resume=True, **options)).epoch == 2


def test_a_run_is_not_resumed_with_another_teacher(make_config, tmp_path, teacher_checkpoint):
    cfg = make_config(STAGE1, **{'train_cfg.max_epochs': 1})
    train(cfg)
    other = tmp_path / 'other.pth'
    shutil.copy(teacher_checkpoint, other)
    same = {'resume': True, 'train_cfg.max_epochs': 1, 'model.teacher_checkpoint': str(other)}
    train(make_config(STAGE1, **same))
    edit(other, lambda checkpoint: next(iter(checkpoint['state_dict'].values())).add_(1))
    with pytest.raises(UserError, match='model.teacher is another than in the run that .*epoch_1.pth is of'):
        train(make_config(STAGE1, **same))


def test_what_is_finished_is_said_to_be(make_config):
    train(make_config(PLAIN))
    runner = Runner.from_cfg(make_config(PLAIN, resume=True))
    warned = []
    runner.logger.warning = lambda message, *args: warned.append(message)
    runner.train()
    assert any('epoch_2.pth is the end of this run: nothing is left to train' in message for message in warned)


def test_two_runs_do_not_train_in_one_folder(make_config, tmp_path):
    code = 'import fcntl, sys; f = open(sys.argv[1], "w"); fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True); input()'
    (tmp_path / 'work').mkdir()
    command = [sys.executable, '-c', code, str(tmp_path / 'work/.lock')]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(UserError, match='another run is training in'):
            train(make_config(PLAIN))
        other.communicate(b'\n')
    assert train(make_config(PLAIN)).epoch == 2


def test_what_a_killed_write_left_is_swept(make_config, monkeypatch, tmp_path):
    def die(*args):
        raise KeyboardInterrupt

    folder = tmp_path / 'work'
    with monkeypatch.context() as patched:
        patched.setattr(os, 'replace', die)
        patched.setattr(os, 'unlink', lambda path: None)  # a kill leaves no time for it
        with pytest.raises(KeyboardInterrupt):
            AtomicLocalBackend().put(b'half', folder / 'epoch_1.pth')
    (folder / '.mine.txt').touch()
    assert list(folder.glob('.epoch_1.pth.*'))
    train(make_config(PLAIN))
    assert not list(folder.glob('.epoch_*')) and (folder / '.mine.txt').exists()


# ---------------------------------------------------------------------------------------------------------------------
# a distiller keeps what it learns


def test_a_distiller_does_not_train_without_the_hook_that_keeps_its_adapters(make_config):
    cfg = make_config(STAGE1)
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type != 'ReliableRunHook']
    with pytest.raises(UserError, match='no ReliableRunHook, nor DistillStateHook alone'):
        train(cfg)
    cfg.custom_hooks.append(dict(type='DistillStateHook'))
    cfg.experiment_name += '_again'
    train(cfg)
    assert 'adapters' in torch.load(f'{cfg.work_dir}/epoch_2.pth', weights_only=False)['distill']


# ---------------------------------------------------------------------------------------------------------------------
# stopping


def test_a_closed_terminal_saves_the_run(make_config, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_with(make_config(PLAIN), DoHook(stop(signal.SIGHUP), iteration=3))
    assert load(tmp_path / 'work/interrupted.pth')['meta']['iter'] == 4


def test_nohup_is_heeded(make_config):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_with(make_config(PLAIN), DoHook(stop(signal.SIGHUP), iteration=3)).epoch == 2
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def assert_same(first, second, where=''):
    assert type(first) is type(second), where
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert list(first) == list(second), where
        for key in first:
            assert_same(first[key], second[key], f'{where}.{key}')
    elif isinstance(first, list):
        assert len(first) == len(second), where
        for number in range(len(first)):
            assert_same(first[number], second[number], f'{where}.{number}')
    else:
        assert first == second, where


@pytest.mark.skipif(not hasattr(torch.amp, 'GradScaler'), reason='this torch scales gradients on GPUs alone')
@pytest.mark.parametrize(
    'action, when',
    [(stop(signal.SIGTERM), dict(iteration=0)), (stop(signal.SIGTERM), dict(iteration=3)), (fail, dict(epoch=1))],
)
def test_half_a_step_is_not_lost(make_config, tmp_path, action, when):
    """Three batches an epoch, two a step: with moving averages and float16's loss scaling, bit for bit."""

    def config(folder, **options):
        cfg = make_config(STAGE1, folder, **options)
        cfg.optim_wrapper.update(type='ScaledOptimWrapper', accumulative_counts=2)
        cfg.custom_hooks.append(dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.5))
        cfg.train_cfg.max_epochs = 3
        return cfg

    train(config('whole'))
    with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
        run_with(config('stopped'), DoHook(action, **when))
    train(config('stopped', resume=True))
    for name in ('epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth'):
        first, second = (load(tmp_path / folder / name) for folder in ('whole', 'stopped'))
        for entry in ('state_dict', 'ema_state_dict', 'distill', 'optimizer', 'param_schedulers', 'gradients'):
            assert_same(first[entry], second[entry], f'{name}: {entry}')
    assert load(tmp_path / 'whole/epoch_1.pth')['gradients'] and first['optimizer']['loss_scaler']['scale'] > 256


# ---------------------------------------------------------------------------------------------------------------------
# divergence


def break_weights(runner):
    runner.model.backbone.conv1.weight.data.fill_(float('inf'))


def test_a_run_that_has_diverged_stops_and_keeps_its_last_good_checkpoint(make_config, tmp_path):
    cfg = make_config(PLAIN, **{'default_hooks.checkpoint.max_keep_ckpts': 1})
    with pytest.raises(UserError, match='diverged: after iteration 6 .* is not finite.*Lower optim_wrapper'):
        run_with(cfg, DoHook(break_weights, epoch=1))
    assert [file.name for file in (tmp_path / 'work').glob('epoch_*.pth')] == ['epoch_1.pth']
    assert all(value.isfinite().all() for value in load(tmp_path / 'work/epoch_1.pth')['state_dict'].values())


def test_a_run_whose_loss_stays_infinite_does_not_go_on(make_config, tmp_path):
    cfg = make_config(PLAIN, **{'train_cfg.max_epochs': 6})
    cfg.custom_hooks.append(dict(type='DivergenceHook', patience=2))
    with pytest.raises(UserError, match='after iteration 2 the loss was not finite in the last 2 iterations'):
        run_with(cfg, DoHook(break_weights, epoch=0))
