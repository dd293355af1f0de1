"""Full-size networks on real images, by the commands that users type; skipped where TSKD_DATA does not name them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPO
from mmengine.config import Config
from mmpose.registry import MODELS
from scipy.io import savemat

from mmpose_tskd.models.teachers import load_model_config

DATA = Path(os.environ['TSKD_DATA']).resolve() if 'TSKD_DATA' in os.environ else Path('$TSKD_DATA')
COCO, CROWDPOSE, MPII = DATA / 'coco_mini', DATA / 'samples' / 'crowdpose', DATA / 'samples' / 'mpii'


def run(folder, tool, *args):
    """Runs one of the tools in an empty folder; returns what it said."""
    command = [sys.executable, str(REPO / 'tools' / f'{tool}.py'), *map(str, args)]
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES='')
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result.stdout + result.stderr


def options(train_ann, val_ann, train_images, val_images, root, epochs=1):
    """The data in place of the full ones; pipelines, models and evaluators as they are."""
    loaders = {'train_dataloader': (train_ann, train_images), 'val_dataloader': (val_ann, val_images)}
    loaders['test_dataloader'] = loaders['val_dataloader']
    out = ['--cfg-options', f'train_cfg.max_epochs={epochs}', 'train_cfg.val_interval=1']
    for name, (ann, images) in loaders.items():
        out += [
            f'{name}.batch_size=2',
            f'{name}.num_workers=0',
            f'{name}.persistent_workers=False',
            f'{name}.dataset.data_root={root}/',
            f'{name}.dataset.ann_file={ann}',
            f'{name}.dataset.data_prefix.img={images}',
            f'{name}.dataset.indices=4',
        ]
    for name in ('val', 'test'):
        out += [f'{name}_dataloader.dataset.bbox_file=', f'{name}_evaluator.ann_file={root}/{val_ann}']
    return [*out, 'default_hooks.checkpoint.interval=1']


def official_checkpoint(config, path):
    """Random weights by the official code's names."""
    weights = MODELS.build(Config.fromfile(REPO / 'configs' / config).model).state_dict()
    torch.save({name.split('.', 1)[1]: value for name, value in weights.items()}, path)


def both_stages(folder, teacher_config, stage1, stage2, refined, data_options, metric):
    official_checkpoint(teacher_config, folder / 'official.pth')
    run(folder, 'convert_simcc_checkpoint', 'official.pth', 'teacher.pth')
    teacher = 'model.teacher_checkpoint=teacher.pth'
    offline = 'model.backbone.init_cfg=None'  # instead of ImageNet weights from the network
    said = run(folder, 'train', REPO / 'configs' / stage1, '--work-dir', 'stage1', *data_options, teacher, offline)
    assert 'loss_structure' in said
    student = 'model.student_checkpoint=stage1'
    run(folder, 'train', REPO / 'configs' / stage2, '--work-dir', 'stage2', *data_options, teacher, student)
    checkpoint = folder / 'stage2' / 'epoch_1.pth'
    said = run(folder, 'test', REPO / 'configs' / refined, checkpoint, '--out', 'result.json', *data_options)
    assert 'Boxes of the instances: ground truth' in said
    result = json.loads((folder / 'result.json').read_text())
    assert 0 <= result[metric] <= 1
    return result


@pytest.mark.skipif(not COCO.is_dir(), reason=f'needs images of COCO at {COCO}')
def test_both_stages_on_coco(tmp_path):
    labels = 'annotations/person_keypoints_{}2017.json'
    data = options(labels.format('train'), labels.format('val'), 'train2017/', 'val2017/', COCO)
    both_stages(
        tmp_path,
        'simcc/coco/simcc_hrnet-w48_4xb32-210e_coco-256x192.py',
        'stage1_structure.py',
        'stage2_igpgcn.py',
        'tskd/coco/simcc_hrnet-w32-igpgcn_coco-256x192.py',
        data,
        'coco/AP',
    )


@pytest.mark.skipif(not CROWDPOSE.is_dir(), reason=f'needs images of CrowdPose at {CROWDPOSE}')
def test_both_stages_on_crowdpose(tmp_path):
    result = both_stages(
        tmp_path,
        'simcc/crowdpose/simcc_hrnet-w48_4xb32-210e_crowdpose-256x192.py',
        'tskd/crowdpose/tskd-stage1_simcc_hrnet-w48-to-w32_4xb32-210e_crowdpose-256x192.py',
        'tskd/crowdpose/tskd-stage2_simcc_hrnet-w48-to-w32-igpgcn_4xb32-30e_crowdpose-256x192.py',
        'tskd/crowdpose/simcc_hrnet-w32-igpgcn_crowdpose-256x192.py',
        options('test_crowdpose.json', 'test_crowdpose.json', '', '', CROWDPOSE),
        'crowdpose/AP',
    )
    # the two images are medium: no number for the others
    assert 'crowdpose/AP(M)' in result and 'crowdpose/AP(E)' not in result and 'crowdpose/AP(H)' not in result


@pytest.mark.skipif(not MPII.is_dir(), reason=f'needs images of MPII at {MPII}')
def test_ikd_on_mpii(tmp_path):
    """The heads' boxes, which are not among the samples, from each instance's neck (8) and top of the head (9)."""
    joints = np.array([person['joints'] for person in json.loads((MPII / 'test_mpii.json').read_text())])
    savemat(tmp_path / 'heads.mat', dict(headboxes_src=joints[:, 8:10].transpose(1, 2, 0)))
    config = REPO / 'configs/ikd/mpii/ikd_td-hm_res50-to-res18-small_8xb64-210e_mpii-256x256.py'
    teacher = MODELS.build(load_model_config(Config.fromfile(config).model.teacher))
    torch.save(teacher.state_dict(), tmp_path / 'teacher.pth')
    data = options('test_mpii.json', 'test_mpii.json', '', '', MPII)
    data = [option for option in data if 'evaluator' not in option]  # PCKh has the labels from the data set
    data += [f'{name}_dataloader.dataset.headbox_file={tmp_path}/heads.mat' for name in ('val', 'test')]
    offline = ['model.teacher_checkpoint=teacher.pth', 'model.backbone.init_cfg=None']
    said = run(tmp_path, 'train', config, '--work-dir', 'ikd', *data, *offline)
    assert all(term in said for term in ('loss_kpt', 'loss_logit', 'loss_feature', 'loss_structure'))
    plain = config.with_name(config.name.replace('ikd_td-hm_res50-to-', 'td-hm_'))
    run(tmp_path, 'test', plain, 'ikd/epoch_1.pth', '--out', 'result.json', *data)
    result = json.loads((tmp_path / 'result.json').read_text())
    assert all(0 <= result[name] <= 100 for name in ('PCK', 'PCK@0.1', 'Head PCK', 'Ankle PCK'))
