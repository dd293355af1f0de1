"""What MMEngine's TensorBoard back end shows of a distillation."""

import pytest
from conftest import train

pytest.importorskip('tensorboard')
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402


def test_losses_gamma_metrics_and_images_of_a_distillation_can_be_watched(make_config, tmp_path):
    cfg = make_config('stage1_structure.py', **{'train_cfg.max_epochs': 1})
    cfg.visualizer.name = 'watched'  # MMEngine hands out the visualizer of a name again
    cfg.visualizer.vis_backends.append(dict(type='TensorboardVisBackend'))
    cfg.default_hooks.visualization.update(enable=True, interval=1)
    cfg.custom_hooks.append(dict(type='TeacherEvaluationHook'))
    train(cfg)
    (folder,) = {path.parent for path in (tmp_path / 'work').rglob('events.out.tfevents.*')}
    events = EventAccumulator(str(folder), size_guidance=dict(images=0)).Reload()
    tags = events.Tags()
    wanted = {'loss_kpt', 'loss_feat', 'loss_pose', 'loss_structure', 'distill_gamma', 'coco/AP', 'teacher/coco/AP'}
    assert wanted <= set(tags['scalars']), tags['scalars']
    assert len(events.Scalars('distill_gamma')) == 3  # the steps of an epoch
    assert tags['images']
