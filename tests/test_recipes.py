"""The recipes as they are, at full size on two images a step; only the teacher's weights are random ones."""

import pytest
import torch
import yaml
from conftest import REPO, train, write_toy_data
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.utils import get_installed_path
from mmpose.registry import MODELS

from mmpose_tskd.models.teachers import frozen_teacher as teacher_module

RECIPES = sorted(path.relative_to(REPO / 'configs/recipes').as_posix() for path in REPO.glob('configs/recipes/c*/*.py'))
DISTILLED = [name for name in RECIPES if name.split('/')[-1].startswith(('distill_', 'tskd-stage2_'))]


def published_weights(config: str) -> str:
    """The checkpoint that MMPose's own index gives for one of its configs."""
    folder = f'{get_installed_path("mmpose")}/.mim'
    with open(f'{folder}/model-index.yml') as file:
        metafiles = yaml.safe_load(file)['Import']
    for metafile in metafiles:
        with open(f'{folder}/{metafile}') as file:
            models = yaml.safe_load(file)['Models']
        for model in models:
            if model['Config'] == config.replace('mmpose::', 'configs/'):
                return model['Weights']


@pytest.mark.parametrize('name', DISTILLED)
def test_a_teachers_checkpoint_is_the_one_that_mmpose_publishes(name):
    model = Config.fromfile(REPO / 'configs/recipes' / name).model
    assert model.teacher_checkpoint == published_weights(model.teacher)


def without_blurs(pipeline):
    """RTMPose's need the package albumentations."""
    return [step for step in pipeline if step.type != 'Albumentation']


def recipe(name, tmp_path):
    """The config on four made-up instances, one epoch of two steps."""
    cfg = Config.fromfile(REPO / 'configs/recipes' / name)
    head = cfg.model.head.get('base_head', cfg.model.head)
    data = write_toy_data(tmp_path / 'data', 4, head.out_channels)
    for key in ('train_dataloader', 'val_dataloader'):
        loader = cfg[key]
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        loader.dataset.update(data_root=str(data), ann_file='labels.json', data_prefix=dict(img='images/'))
        loader.dataset.pop('bbox_file', None)
        loader.dataset.pipeline = without_blurs(loader.dataset.pipeline)
    for hook in cfg.custom_hooks:
        if 'switch_pipeline' in hook:
            hook.switch_pipeline = without_blurs(hook.switch_pipeline)
    cfg.val_evaluator = dict(type='CocoMetric', ann_file=str(data / 'labels.json'))
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.default_hooks.checkpoint = None
    cfg.default_hooks.logger.interval = 1
    cfg.model.backbone.init_cfg = None
    cfg.work_dir, cfg.experiment_name = str(tmp_path), f'{name}_{tmp_path.name}'
    return cfg


def random_teacher(teacher):
    model = get_config(teacher).model
    model.backbone.init_cfg = None
    return MODELS.build(model).state_dict()


@pytest.mark.parametrize('name', DISTILLED)
def test_a_recipe_trains(name, tmp_path, monkeypatch):
    cfg = recipe(name, tmp_path)
    weights = {cfg.model.teacher_checkpoint: random_teacher(cfg.model.teacher)}
    monkeypatch.setattr(teacher_module, 'load_weights', weights.__getitem__)
    if cfg.model.get('student_checkpoint'):
        stage1 = Config.fromfile(REPO / 'configs/recipes/coco' / f'{cfg.model.student_checkpoint.split("/")[-1]}.py')
        student = MODELS.build(dict(stage1.model, type='PoseDistiller', teacher=None, distill_losses=None))
        torch.save(student.state_dict(), tmp_path / 'student.pth')
        cfg.model.student_checkpoint = str(tmp_path / 'student.pth')
    runner = train(cfg)
    scalars = runner.message_hub.log_scalars
    for loss in ('loss', *cfg.model.distill_losses):
        values = scalars[f'train/{loss}'].data[0]
        assert len(values) == 2 and all(0 < value < float('inf') for value in values), loss
    assert 0 <= scalars['val/coco/AP'].current() <= 1


@pytest.mark.parametrize('name', DISTILLED)
def test_a_recipe_keeps_the_hooks_of_its_base(name):
    cfg = Config.fromfile(REPO / 'configs/recipes' / name)
    hooks = [hook.type for hook in cfg.custom_hooks]
    assert {'SyncBuffersHook', 'ReliableRunHook'} <= set(hooks) and len(set(hooks)) == len(hooks)
    assert ('DistillWeightDecayHook' in hooks) == name.split('/')[-1].startswith('distill_')
    if name.split('/')[-1].startswith('distill_rtmpose'):
        assert {'EMAHook', 'mmdet.PipelineSwitchHook'} <= set(hooks)
