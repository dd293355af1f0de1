"""Both stages through MMEngine's Runner: what is saved, what comes back, what never moves."""

import logging
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import train
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from mmpose.registry import MODELS

from mmpose_tskd.checkpoints import find_resumable
from mmpose_tskd.engine.hooks import StopHook
from mmpose_tskd.errors import UserError

STUDENT = 'simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py'
REFINED = 'tskd/coco/simcc_hrnet-w32-igpgcn_coco-256x192.py'


def assert_equal(first, second):
    assert list(first) == list(second)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def load(path):
    """Tensors-only, as torch >= 2.6 loads by default."""
    return torch.load(path, map_location='cpu', weights_only=True)


def test_stage1_file_is_the_plain_students_and_loads_safely(make_config, tmp_path):
    cfg = make_config('stage1_structure.py')
    cfg.custom_hooks.append(dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.5))
    runner = train(cfg)
    files = sorted(p.name for p in (tmp_path / 'work').glob('*.pth'))
    assert [name for name in files if name.startswith('epoch')] == ['epoch_1.pth', 'epoch_2.pth']
    assert any(name.startswith('best_coco_AP') for name in files)
    for name in files:
        checkpoint = load(tmp_path / 'work' / name)
        plain = MODELS.build(make_config(STUDENT).model)
        plain.load_state_dict(checkpoint['state_dict'], strict=True)
        assert set(checkpoint['distill']['adapters']) == {'loss_feat.adapter.weight', 'loss_feat.adapter.bias'}
    assert not any('teacher' in key for key in checkpoint['ema_state_dict'])
    adapter = load(tmp_path / 'work/epoch_2.pth')['distill']['adapters']['loss_feat.adapter.weight']
    assert torch.equal(adapter, runner.model.distill_losses['loss_feat'].adapter.weight)
    cfg.update(
        resume=True, load_from=str(tmp_path / 'work/epoch_2.pth'), experiment_name=f'{cfg.experiment_name}_again'
    )
    again = train(cfg)
    assert_equal(runner.model.state_dict(), again.model.state_dict())
    averages = (next(h for h in r.hooks if isinstance(h, EMAHook)).ema_model for r in (runner, again))
    assert_equal(*(average.state_dict() for average in averages))


def test_teacher_is_bit_identical_after_training_and_validation(make_config, teacher_checkpoint):
    runner = train(make_config('stage1_structure.py'))
    trained_with = runner.model.teacher.model
    for name, value in load(teacher_checkpoint)['state_dict'].items():
        assert torch.equal(trained_with.state_dict()[name], value), name
    assert not trained_with.training


def weights(runner):
    """All that is learned: the student, the adapters, and the optimizer's state."""
    optimizer = runner.optim_wrapper.optimizer.state_dict()['state']
    return {
        **runner.model.state_dict(),
        **runner.model.distill_losses.state_dict(),
        **{f'{i}.{k}': torch.as_tensor(v) for i, state in optimizer.items() for k, v in state.items()},
    }


class SignalHook(Hook):
    """Sends this process a signal after a training iteration, or within a validation."""

    def __init__(self, number, iteration=None):
        self.number, self.iteration = number, iteration

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter == self.iteration:
            os.kill(os.getpid(), self.number)

    def after_val_iter(self, runner, batch_idx, *args, **kwargs):
        if self.iteration is None and batch_idx == 1:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    'stage, hook, saved',
    [
        ('stage1_structure.py', SignalHook(signal.SIGTERM, iteration=3), 'interrupted.pth'),  # epoch 2's first
        ('stage2_igpgcn.py', SignalHook(signal.SIGINT, iteration=2), 'interrupted.pth'),  # epoch 1's last
        ('stage1_structure.py', SignalHook(signal.SIGINT), 'epoch_1.pth'),
    ],
)
def test_a_run_that_is_stopped_and_resumed_ends_where_an_uninterrupted_one_does(
    make_config, tmp_path, stage, hook, saved
):
    options = {'model.student_checkpoint': student_file(make_config, tmp_path)} if 'stage2' in stage else {}
    expected = train(make_config(stage, 'whole', **options))
    runner = Runner.from_cfg(make_config(stage, 'stopped', **options))
    runner.register_hook(hook)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert Path((tmp_path / 'stopped/last_checkpoint').read_text()).name == saved

    cfg = make_config(stage, 'stopped', resume=True, **options)
    cfg.train_dataloader.update(num_workers=2)  # in which the augmentation is the same
    resumed = train(cfg)
    assert resumed.epoch == 2 and resumed.iter == 6
    assert float(resumed.model.gamma) == float(expected.model.gamma) == (0.5 if 'stage1' in stage else 1.0)
    assert_equal(weights(expected), weights(resumed))
    names = [sorted(file.name for file in (tmp_path / folder).glob('*.pth')) for folder in ('whole', 'stopped')]
    assert names[0] == names[1]


class SignalTwiceHook(Hook):
    def before_train_iter(self, runner, *args, **kwargs):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize('patience, saves', [(0.0, False), (60.0, True)])
def test_a_second_signal_does_not_wait_for_the_iteration(make_config, tmp_path, monkeypatch, patience, saves):
    """Unless it comes so soon that it is the same one, which a launcher has passed on."""
    monkeypatch.setattr(StopHook, 'patience', patience)
    before = signal.getsignal(signal.SIGTERM)
    runner = Runner.from_cfg(make_config('stage1_structure.py'))
    runner.register_hook(SignalTwiceHook())
    try:
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (tmp_path / 'work/interrupted.pth').exists() == saves


def by_iterations(cfg):
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=6, val_interval=3)
    cfg.train_dataloader.sampler.type = 'InfiniteSampler'
    cfg.param_scheduler = []
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=3)
    cfg.log_processor.by_epoch = False
    next(hook for hook in cfg.custom_hooks if hook.type == 'DistillWeightDecayHook').by_epoch = False
    return cfg


class DrawHook(Hook):
    """Keeps what a network would draw in its training step."""

    def __init__(self):
        self.drawn = []

    def after_train_iter(self, runner, *args, **kwargs):
        self.drawn.append(float(torch.rand(())))


def test_a_run_by_iterations_goes_on_where_it_was_stopped(make_config, tmp_path):
    def make(folder, **options):
        runner = Runner.from_cfg(by_iterations(make_config('stage1_structure.py', folder, **options)))
        draws.append(DrawHook())
        runner.register_hook(draws[-1])
        return runner

    draws = []
    whole = make('whole')
    whole.train()
    stopped = make('stopped')
    stopped.register_hook(SignalHook(signal.SIGTERM, iteration=3))
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    assert Path((tmp_path / 'stopped/last_checkpoint').read_text()).name == 'interrupted.pth'
    resumed = make('stopped', resume=True)
    resumed.train()
    assert resumed.iter == 6
    assert_equal(weights(whole), weights(resumed))
    gammas = resumed.message_hub.get_scalar('train/distill_gamma').data[0].tolist()
    assert gammas == pytest.approx([1 - i / 6 for i in range(6)])
    assert draws[0].drawn == draws[1].drawn + draws[2].drawn and len(set(draws[0].drawn)) == 6


@pytest.mark.parametrize('hook, trained', [('fails', 0), ('signal', 1)])
def test_a_run_that_is_resumed_with_other_batches_leaves_no_epoch_out(make_config, hook, trained):
    """As on another number of GPUs: six batches of an epoch become three."""
    runner = Runner.from_cfg(make_config('stage1_structure.py', **{'train_dataloader.batch_size': 1}))
    runner.register_hook(FailingHook(epoch=1) if hook == 'fails' else SignalHook(signal.SIGTERM, iteration=6))
    with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
        runner.train()
    resumed = Runner.from_cfg(make_config('stage1_structure.py', resume=True))
    warned = []
    resumed.logger.warning = lambda message, *args: warned.append(message)
    resumed.train()
    assert resumed.iter == 6 + trained + 3
    assert ['after 1 of 6 batches of an epoch, which now has 3' in text for text in warned] == [True] * trained


def test_a_run_that_is_interrupted_twice_keeps_its_last_state(make_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = Path('work/interrupted.pth')  # named as a user does, from the current folder
    for number, options in enumerate([{}, dict(resume=True, load_from=str(file))]):
        runner = Runner.from_cfg(make_config('stage1_structure.py', **options))
        runner.register_hook(SignalHook(signal.SIGTERM, iteration=number))
        with pytest.raises(KeyboardInterrupt):
            runner.train()
        assert load(file)['meta']['iter'] == number + 1


def test_where_a_run_was_stopped_is_kept_until_it_can_be_resumed_from_elsewhere(make_config, tmp_path):
    """The best epoch's file has no optimizer, and comes before the next of those that have one."""
    options = {'default_hooks.checkpoint.interval': 2, 'train_cfg.max_epochs': 3}
    runner = Runner.from_cfg(make_config('stage1_structure.py', **options))
    runner.register_hook(SignalHook(signal.SIGTERM, iteration=1))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    runner = Runner.from_cfg(make_config('stage1_structure.py', resume=True, **options))
    runner.register_hook(FailingHook(epoch=1))
    with pytest.raises(ZeroDivisionError):
        runner.train()
    assert list(tmp_path.glob('work/best_*.pth'))
    assert Path(find_resumable(str(tmp_path / 'work'))).name == 'interrupted.pth'
    train(make_config('stage1_structure.py', resume=True, **options))
    assert not (tmp_path / 'work/interrupted.pth').exists()


def test_a_run_that_has_failed_holds_no_signal_back(make_config):
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        runner = Runner.from_cfg(make_config('stage1_structure.py'))
        runner.register_hook(FailingHook())
        with pytest.raises(ZeroDivisionError):
            runner.train()
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


class FailingHook(Hook):
    def __init__(self, epoch=0):
        self.epoch = epoch

    def before_train_iter(self, runner, *args, **kwargs):
        if runner.epoch == self.epoch:
            raise ZeroDivisionError


def test_resume_restores_adapters_gamma_optimizer_and_logs(make_config, tmp_path):
    first = train(make_config('stage1_structure.py'))
    cfg = make_config('stage1_structure.py', resume=True)
    records, handler = [], logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    again = Runner.from_cfg(cfg)
    again.logger.addHandler(handler)
    again.train()  # nothing left to do, so that γ is the file's
    assert not any('metainfo from the resumed checkpoint is different' in record for record in records)
    assert_equal(weights(first), weights(again))
    assert float(again.model.gamma) == float(first.model.gamma) == 0.5
    history = again.message_hub.get_scalar('train/loss')
    assert np.allclose(history.data[0], first.message_hub.get_scalar('train/loss').data[0])


def test_resume_without_the_adapters_is_refused(make_config, tmp_path):
    train(make_config('stage1_structure.py', **{'train_cfg.max_epochs': 1}))
    path = tmp_path / 'work/epoch_1.pth'
    checkpoint = load(path)
    del checkpoint['distill']
    torch.save(checkpoint, path)
    cfg = make_config('stage1_structure.py', **{'resume': True})
    with pytest.raises(UserError, match='DistillStateHook'):
        train(cfg)


def student_file(make_config, tmp_path):
    model = MODELS.build(make_config(STUDENT).model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'student.pth')
    return str(tmp_path / 'student.pth')


def test_stage2_takes_stage1s_work_folder_and_gives_a_plain_refined_model(make_config, tmp_path):
    train(make_config('stage1_structure.py', 'stage1', **{'train_cfg.max_epochs': 1}))
    cfg = make_config('stage2_igpgcn.py', 'stage2', **{'model.student_checkpoint': str(tmp_path / 'stage1')})
    runner = train(cfg)
    student = load(next((tmp_path / 'stage1').glob('best_*.pth')))['state_dict']
    checkpoint = load(tmp_path / 'stage2/epoch_2.pth')
    refined = MODELS.build(make_config(REFINED).model)
    refined.load_state_dict(checkpoint['state_dict'], strict=True)
    for name, value in student.items():
        name = name.replace('head.', 'head.base_head.', 1)
        assert torch.equal(checkpoint['state_dict'][name], value), name
    parameters = dict(enumerate(runner.model.parameters()))
    with_state = set(runner.optim_wrapper.optimizer.state_dict()['state'])
    assert with_state == {i for i, p in parameters.items() if p.requires_grad}


@pytest.mark.parametrize('config', [STUDENT, 'stage1_structure.py', REFINED, 'stage2_igpgcn.py'])
def test_a_checkpoint_is_tested_by_the_stock_runner(make_config, tmp_path, config):
    """The file of a distilled run, in its own config and in the plain one, gives one and the same result."""
    stage = 'stage2_igpgcn.py' if config in (REFINED, 'stage2_igpgcn.py') else 'stage1_structure.py'
    options = {'model.student_checkpoint': student_file(make_config, tmp_path)} if 'stage2' in stage else {}
    own = train(make_config(stage, **options))
    expected = own.val_loop.run()
    path = str(tmp_path / 'work/epoch_2.pth')
    testing = make_config(config, 'test', load_from=path)
    testing.train_dataloader.dataset.ann_file = 'not/needed/for/testing.json'
    metrics = Runner.from_cfg(testing).test()
    assert metrics == expected
    assert 'coco/AP' in metrics


def test_a_run_from_another_folder_and_with_spaces_in_its_path(make_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(make_config('stage1_structure.py', 'a folder äöü', **{'train_cfg.max_epochs': 1}))
    assert Path('a folder äöü/epoch_1.pth').is_file()
