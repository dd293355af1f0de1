"""The recipes that train from a record of a teacher."""

import pytest
from conftest import REPO, write_toy_data
from mmengine.config import Config
from mmpose.registry import DATASETS, MODELS

from mmpose_tskd.models.teachers import RecordedTeacher

RECIPES = sorted(path.name for path in REPO.glob('configs/recipes/records/*.py'))


@pytest.mark.parametrize('name', [name for name in RECIPES if name.startswith('tskd-stage2')])
def test_stage2_from_a_record_has_no_teacher_network(name):
    cfg = Config.fromfile(REPO / 'configs/recipes/records' / name)
    model = MODELS.build(cfg.model)
    assert isinstance(model.teacher, RecordedTeacher) and cfg.custom_hooks[-1].type == 'RecordedTeacherHook'
    assert [hook.type for hook in cfg.custom_hooks].count('SafeSamplesHook') == 1


@pytest.mark.parametrize('name', [name for name in RECIPES if name.startswith('pseudo-labels')])
def test_labels_and_pseudo_labels_are_one_data_set(name, tmp_path):
    cfg = Config.fromfile(REPO / 'configs/recipes/records' / name)
    data = write_toy_data(tmp_path / 'data', num_keypoints=cfg.model.head.out_channels)
    dataset = cfg.train_dataloader.dataset
    files = [part.ann_file for part in dataset.datasets]
    assert len(set(files)) == 2 and 'record' in files[1]
    for part in dataset.datasets:
        part.update(data_root=str(data), ann_file='labels.json', data_prefix=dict(img='images/'))
    built = DATASETS.build(dataset)
    assert len(built) == 12
    sample = built[11]['data_samples']
    assert sample.gt_instance_labels.keypoint_weights.shape == (1, cfg.model.head.out_channels)


@pytest.mark.parametrize('name', [name for name in RECIPES if name.startswith('few-labels')])
def test_few_labels_train_for_as_many_steps_as_all_of_them(name):
    cfg = Config.fromfile(REPO / 'configs/recipes/records' / name)
    whole = {'w16': 8, 'w32': 12}['w16' if 'w16' in name else 'w32']
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[-1].T_max == 7 * whole
