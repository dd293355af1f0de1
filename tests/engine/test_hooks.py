import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import toy_teacher, train
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import Runner

from mmpose_tskd.engine.atomic_backend import AtomicLocalBackend
from mmpose_tskd.engine.hooks import BoxSourceHook, DistillWeightDecayHook, WholeCheckpointHook
from mmpose_tskd.errors import UserError

PLAIN = 'simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py'


def test_linear_decay_is_equation_4():
    """γ(t) = 1 - (t - 1) / T for t = 1 .. T."""
    hook = DistillWeightDecayHook()
    assert [hook.weight(t - 1, 4) for t in (1, 2, 3, 4)] == [1.0, 0.75, 0.5, 0.25]


def test_other_schedules():
    assert [DistillWeightDecayHook('cosine').weight(e, 4) for e in (0, 2, 4)] == pytest.approx([1.0, 0.5, 0.0])
    with pytest.raises(UserError, match='schedule="stop" needs an end'):
        DistillWeightDecayHook('stop')
    assert [DistillWeightDecayHook('stop', end=2).weight(e, 2) for e in (0, 1, 2, 3)] == [1.0, 1.0, 0.0, 0.0]
    assert DistillWeightDecayHook('linear').weight(9, 4) == 0.0


def test_distillation_may_begin_late():
    assert [DistillWeightDecayHook(begin=2).weight(e, 6) for e in range(7)] == [0, 0, 1.0, 0.75, 0.5, 0.25, 0]
    assert [DistillWeightDecayHook('stop', begin=1, end=3).weight(e, 3) for e in range(4)] == [0, 1.0, 1.0, 0]


@pytest.mark.parametrize('by_epoch', [True, False])
def test_gamma_is_set_from_the_epoch_or_iteration_alone(by_epoch):
    hook = DistillWeightDecayHook(end=4, by_epoch=by_epoch)
    model = SimpleNamespace(gamma=torch.ones(()), set_gamma=lambda value: model.gamma.fill_(value))
    runner = SimpleNamespace(model=model, epoch=1, iter=3, max_epochs=100, max_iters=100)
    hook.before_train_epoch(runner)
    hook.before_train_iter(runner, 0)
    assert float(model.gamma) == (0.75 if by_epoch else 0.25)


def test_gamma_falls_in_a_run_and_is_logged(make_config):
    runner = train(make_config('stage1_structure.py'))
    assert runner.message_hub.get_scalar('train/distill_gamma').data[0].tolist() == [1.0] * 3 + [0.5] * 3


def test_a_loss_that_begins_late_is_0_until_then(make_config):
    cfg = make_config('stage1_structure.py')
    next(hook for hook in cfg.custom_hooks if hook.type == 'DistillWeightDecayHook').begin = 1
    hub = train(cfg).message_hub
    assert hub.get_scalar('train/distill_gamma').data[0].tolist() == [0.0] * 3 + [1.0] * 3
    features = hub.get_scalar('train/loss_feat').data[0]
    assert not features[:3].any() and features[3:].all()


@pytest.mark.parametrize('end', [None, 4])
def test_a_run_that_ends_before_distillation_begins_is_refused(make_config, end):
    cfg = make_config('stage1_structure.py')
    next(hook for hook in cfg.custom_hooks if hook.type == 'DistillWeightDecayHook').update(begin=2, end=end)
    with pytest.raises(UserError, match='begin is at least 0 and less than the end: 2, 2'):
        train(cfg)


def test_a_run_by_iterations_is_told_to_count_them(make_config):
    cfg = make_config('stage1_structure.py')
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=3, val_interval=3)
    cfg.train_dataloader.sampler.type = 'InfiniteSampler'
    cfg.param_scheduler = None
    with pytest.raises(UserError, match='by_epoch=False'):
        train(cfg)


def test_a_run_without_a_distiller_is_told_so(make_config):
    cfg = make_config('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py')
    cfg.custom_hooks.append(dict(type='DistillWeightDecayHook'))
    with pytest.raises(UserError, match='needs a distiller, but model.type is TopdownPoseEstimator'):
        train(cfg)


@pytest.mark.parametrize('options', [dict(schedule='step'), dict(end=0), dict(begin=-1), dict(begin=3, end=3)])
def test_unknown_schedules_are_refused(options):
    with pytest.raises(UserError, match='DistillWeightDecayHook'):
        DistillWeightDecayHook(**options)


def test_message_hub_survives_a_tensors_only_file(make_config, tmp_path):
    runner = Runner.from_cfg(make_config(PLAIN))
    hub = runner.message_hub
    for value in (3.0, np.float32(4.0), 5):
        hub.update_scalar('train/toy', value)
    hub.update_info('toy', np.float64(0.5))
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    runner.register_hook(WholeCheckpointHook())
    runner.save_checkpoint(str(tmp_path), 'c.pth')
    loaded = torch.load(tmp_path / 'c.pth', weights_only=True)
    runner._resume, runner._load_from = True, str(tmp_path / 'c.pth')
    WholeCheckpointHook().after_load_checkpoint(runner, loaded)
    other = MessageHub.get_instance(f'other_{tmp_path.name}')
    other.load_state_dict(loaded['message_hub'])
    assert isinstance(other.get_scalar('train/toy'), HistoryBuffer)
    assert other.get_scalar('train/toy').data[0].tolist() == [3, 4, 5]
    assert other.get_info('toy') == 0.5


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path, monkeypatch):
    backend = AtomicLocalBackend()
    backend.put(b'old', tmp_path / 'file.pth')

    def full(*args):
        raise OSError('No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(UserError, match='No space left'):
        backend.put(b'new', tmp_path / 'file.pth')
    assert (tmp_path / 'file.pth').read_bytes() == b'old'
    assert [path.name for path in tmp_path.iterdir()] == ['file.pth']


def test_what_a_killed_process_has_half_written_is_removed_by_the_next(tmp_path):
    backend = AtomicLocalBackend()
    for name in ('.a[1].json.left.partial', '.a1.json.left.partial', '.own.partial'):
        (tmp_path / name).touch()
    (tmp_path / '.a[1].json.link.partial').symlink_to(tmp_path / 'elsewhere')
    os.mkfifo(tmp_path / '.a[1].json.pipe.partial')
    with backend.opened(tmp_path / 'a[1].json') as other:  # of another process that is still writing
        backend.put(b'new', tmp_path / 'a[1].json')
        other.write(b'last')
    assert (tmp_path / 'a[1].json').read_bytes() == b'last'
    assert {path.name for path in tmp_path.iterdir() if not path.is_symlink()} == {
        'a[1].json',
        '.a1.json.left.partial',
        '.own.partial',
    }


def test_checkpoints_are_written_under_another_name_first(make_config, monkeypatch):
    written = []
    replace = os.replace

    def note(source, target):
        written.append((Path(target).name, torch.load(source, weights_only=True)['meta']['epoch']))
        replace(source, target)

    monkeypatch.setattr(os, 'replace', note)
    cfg = make_config('stage1_structure.py')
    train(cfg)
    names = [name for name, _ in written]
    assert 'epoch_1.pth' in names and 'epoch_2.pth' in names and any(name.startswith('best_coco_AP') for name in names)
    assert {path.name for path in Path(cfg.work_dir).glob('*.pth')} <= set(names)


@pytest.mark.parametrize(
    'bbox_file, expected', [(None, 'ground truth, labels.json'), ('det.json', 'detected, det.json')]
)
def test_each_result_names_its_boxes(bbox_file, expected):
    lines = []
    dataset = SimpleNamespace(bbox_file=bbox_file, ann_file='labels.json')
    loader = SimpleNamespace(dataset=dataset)
    runner = SimpleNamespace(val_dataloader=loader, test_dataloader=loader, logger=SimpleNamespace(info=lines.append))
    BoxSourceHook().after_val_epoch(runner)
    BoxSourceHook().after_test_epoch(runner)
    assert lines == [f'Boxes of the instances: {expected}'] * 2
    other = SimpleNamespace(bbox_file=None, ann_file='other.json')
    loader.dataset = SimpleNamespace(dataset=SimpleNamespace(datasets=[dataset, other], ann_file=''))
    BoxSourceHook().after_val_epoch(runner)
    assert lines[2] == f'Boxes of the instances: {expected}; ground truth, other.json'


def test_the_teachers_own_metrics_stand_beside_the_students(make_config):
    """They are those that the teacher's file has by itself, and are the same in every validation."""
    cfg = make_config('stage1_structure.py')
    cfg.custom_hooks.append(dict(type='TeacherEvaluationHook'))
    cfg.model.test_cfg.flip_test = False
    cfg.val_evaluator = cfg.test_evaluator = [cfg.val_evaluator, dict(type='EPE')]  # the mean distance in pixels
    runner = train(cfg)
    scalars = runner.message_hub.log_scalars
    reported = {k[12:]: v.data[0].tolist() for k, v in scalars.items() if k.startswith('val/teacher/')}
    assert len(reported['EPE']) == 2 and reported['EPE'][0] == reported['EPE'][1]
    alone = make_config('simcc/coco/simcc_hrnet-w48_4xb32-210e_coco-256x192.py', work_dir='alone')
    alone.model = toy_teacher()
    alone.model.test_cfg.flip_test = False
    alone.load_from, alone.test_evaluator = cfg.model.teacher_checkpoint, cfg.test_evaluator
    metrics = Runner.from_cfg(alone).test()
    for name in ('EPE', 'coco/AP', 'coco/AP .5', 'coco/AR'):
        assert reported[name][0] == pytest.approx(metrics[name], rel=1e-4), name
    assert reported['EPE'][0] > 0 and scalars['val/EPE'].data[0].size == 2


def test_only_a_distiller_has_a_teacher_to_report(make_config):
    cfg = make_config('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py')
    cfg.custom_hooks.append(dict(type='TeacherEvaluationHook'))
    with pytest.raises(UserError, match='needs a distiller with a teacher, which model.type=TopdownPoseEstimator'):
        train(cfg)
