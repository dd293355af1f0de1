"""What is wrong with a config, a checkpoint, labels, an image or a path ends a run with a message, or does no harm."""

import ast
import copy
import gc
import json
import os
import pickle
import resource
import struct
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import REPO, shrink_model, toy_config, train, write_toy_data
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader, Runner
from mmpose.apis import init_model
from mmpose.datasets.transforms import common_transforms
from mmpose.registry import MODELS
from PIL import Image

from mmpose_tskd.apis.tools import check_config, reporting_mistakes, run_mmpose_tool
from mmpose_tskd.models.teachers import load_model_config

PLAIN = 'simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py'
REFINED = 'tskd/coco/simcc_hrnet-w32-igpgcn_coco-256x192.py'


def message_of(function, *args) -> str:
    """What a tool says instead of a traceback; '' where all goes well. Any other exception escapes."""
    try:
        with reporting_mistakes():
            function(*args)
    except SystemExit as end:
        return str(end.code)
    return ''


def check_and_train(cfg):
    """As ``tools/train.py`` does."""
    check_config(cfg, 'train')
    return train(cfg)


@pytest.fixture(autouse=True, scope='module')
def _what_is_imported_is_not_looked_through_for_garbage():
    """MMEngine collects garbage for each data set."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope='module')
def student_checkpoint(tmp_path_factory, toy_data):
    """A plain student's file, made once."""
    init_default_scope('mmpose')
    folder = tmp_path_factory.mktemp('student')
    torch.manual_seed(2)
    model = MODELS.build(toy_config(PLAIN, toy_data, folder).model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), folder / 'student.pth')
    return str(folder / 'student.pth')


@pytest.fixture(scope='module')
def configs():
    """Those that were read once."""
    return {}


@pytest.fixture
def toy(make_config, configs, tmp_path):
    """A toy config."""

    def make(name: str) -> Config:
        if name not in configs:
            configs[name] = make_config(name)
        cfg = copy.deepcopy(configs[name])
        cfg.work_dir, cfg.experiment_name = str(tmp_path / 'work'), tmp_path.name
        return cfg

    return make


@pytest.fixture
def short(toy, student_checkpoint):
    """A config for one epoch without validation."""

    def make(name: str) -> Config:
        cfg = toy(name)
        cfg.train_cfg = dict(by_epoch=True, max_epochs=1)
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.default_hooks.checkpoint.pop('save_best', None)
        if 'student_checkpoint' in cfg.model:
            cfg.model.student_checkpoint = student_checkpoint
        return cfg

    return make


@pytest.fixture
def refuses(survived):
    """Runs what must end with a message that holds each of the given parts, and counts it."""

    def check(name, function, *parts):
        message = message_of(function)
        assert message.startswith('error: '), message or 'it went well'
        for part in parts:
            assert part in message, message
        survived('bad input', name)

    return check


# ---------------------------------------------------------------------------------------------------------------------
# checkpoints


class Code:
    """Makes a file when it is unpickled in full."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return (open, (self.mark, 'w'))


def change_weights(path, change):
    weights = torch.load(path, weights_only=True)['state_dict']
    change(weights)
    torch.save(dict(state_dict=weights), path)


def set_nan(weights):
    weights['backbone.conv1.weight'][0] = float('nan')


def set_infinite(weights):
    weights['backbone.conv1.weight'][0] = float('inf')


def change_architecture(weights):
    weights['backbone.layer9.weight'] = weights.pop('backbone.conv1.weight')


def change_joints(weights):
    weights['head.final_layer.weight'] = weights['head.final_layer.weight'][:14]
    weights['head.final_layer.bias'] = weights['head.final_layer.bias'][:14]


def add_code(path):
    torch.save({**torch.load(path, weights_only=True), 'extra': Code(path.with_name('was_run'))}, path)


def write_pickled_code(path):
    path.write_bytes(pickle.dumps(Code(path.with_name('was_run'))))


CHECKPOINTS = {
    'missing': (lambda path: path.unlink(), ['there is no checkpoint']),
    'a folder of a run that saved nothing': (lambda path: path.unlink() or path.mkdir(), ['no best_']),
    'truncated': (lambda path: path.write_bytes(path.read_bytes()[:-2000]), ['cannot be read', 'get it again']),
    'empty': (lambda path: path.write_bytes(b''), ['cannot be read']),
    'a web page': (lambda path: path.write_text('<html>404</html>'), ['is not loaded', 'damaged']),
    'without weights': (lambda path: torch.save(dict(epoch=1), path), ['holds no weights']),
    'of another architecture': (
        lambda path: change_weights(path, change_architecture),
        ['1 missing: backbone.conv1.weight', '1 left over: backbone.layer9.weight'],
    ),
    'of 14 keypoints': (
        lambda path: change_weights(path, change_joints),
        ['of another shape', 'final_layer.weight ((14,', 'in the file, (17,'],
    ),
    'filled with NaN': (lambda path: change_weights(path, set_nan), ['NaN', 'backbone.conv1.weight']),
    'with an infinite weight': (lambda path: change_weights(path, set_infinite), ['infinite', 'backbone.conv1.weight']),
    'with code': (add_code, ['is not loaded', 'could run code', '--trust-checkpoint']),
    'of pickled code alone': (write_pickled_code, ['is not loaded', 'could run code', '--trust-checkpoint']),
}


@pytest.mark.parametrize('fault', CHECKPOINTS)
@pytest.mark.parametrize('role', ['teacher', 'student'])
def test_a_checkpoint_to_train_from(role, fault, short, refuses, teacher_checkpoint, student_checkpoint, tmp_path):
    damage, parts = CHECKPOINTS[fault]
    path = tmp_path / 'given.pth'
    path.write_bytes(Path(dict(teacher=teacher_checkpoint, student=student_checkpoint)[role]).read_bytes())
    damage(path)
    cfg = short('stage2_igpgcn.py')
    cfg.model[f'{role}_checkpoint'] = str(path)
    refuses(f'{role} checkpoint {fault}', Runner.from_cfg(cfg).train, 'given.pth', *parts)
    assert not (tmp_path / 'was_run').exists()


TESTED = [name for name in CHECKPOINTS if not name.startswith('a folder')]


@pytest.mark.parametrize('fault', TESTED)
def test_a_checkpoint_to_test(fault, toy, refuses, student_checkpoint, tmp_path):
    damage, parts = CHECKPOINTS[fault]
    path = tmp_path / 'given.pth'
    path.write_bytes(Path(student_checkpoint).read_bytes())
    damage(path)
    cfg = toy(PLAIN)
    cfg.load_from = str(path)
    refuses(f'tested checkpoint {fault}', Runner.from_cfg(cfg).test, 'given.pth', *parts)
    assert not (tmp_path / 'was_run').exists()


@pytest.mark.parametrize('fault', ['missing', 'truncated', 'with code', 'of pickled code alone'])
def test_a_checkpoint_for_mmposes_own_functions(fault, toy, refuses, student_checkpoint, tmp_path):
    damage, parts = CHECKPOINTS[fault]
    path = tmp_path / 'given.pth'
    path.write_bytes(Path(student_checkpoint).read_bytes())
    damage(path)
    refuses(f'init_model: {fault}', lambda: init_model(toy(PLAIN), str(path), device='cpu'), *parts)
    assert not (tmp_path / 'was_run').exists()


@pytest.mark.parametrize('scheme', ['https://', 'torchvision://', 'mmcls://', 'open-mmlab://'])
def test_a_downloaded_checkpoint_with_code(scheme, refuses, tmp_path, monkeypatch):
    """``torch.hub`` would unpickle it in full."""
    names = {'torchvision://': 'resnet50', 'mmcls://': 'resnet50', 'open-mmlab://': 'vgg16_caffe'}
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    monkeypatch.setattr(
        torch.hub, 'download_url_to_file', lambda url, target, *_, **__: write_pickled_code(Path(target))
    )
    source = scheme + names.get(scheme, 'example.org/model.pth')
    parts = [source.split('://')[1][:6], 'is not loaded', 'could run code']  # for a name, with its URL
    refuses(f'{scheme} with code', lambda: CheckpointLoader.load_checkpoint(source, 'cpu'), *parts)
    assert not list(tmp_path.rglob('was_run'))


def test_a_config_within_a_checkpoint_is_not_run_when_it_is_resumed(short, survived, tmp_path):
    """MMEngine runs ``meta['config']``, a text of Python code."""
    cfg = short(PLAIN)
    train(cfg)
    path = Path(cfg.work_dir, 'epoch_1.pth')
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['meta']['config'] = f'open({str(tmp_path / "was_run")!r}, "w")'
    torch.save(checkpoint, path)
    cfg.update(resume=True, load_from=str(path), experiment_name='again_from_a_file', allow_changes=True)
    cfg.train_cfg.max_epochs = 2
    assert train(cfg).epoch == 2
    assert not (tmp_path / 'was_run').exists()
    survived('bad input', 'code in the config of a checkpoint that is resumed')


def test_weights_alone_are_not_resumed(short, refuses, student_checkpoint):
    cfg = short(PLAIN)
    cfg.update(resume=True, load_from=student_checkpoint)
    refuses('weights alone to resume', Runner.from_cfg(cfg).train, student_checkpoint, 'no state of a run', 'load_from')


def test_a_run_of_another_model_is_not_resumed(short, refuses, student_checkpoint):
    cfg = short(PLAIN)
    train(cfg)
    other = short(REFINED)
    other.update(resume=True, load_from=f'{cfg.work_dir}/epoch_1.pth')
    refuses('another model to resume', Runner.from_cfg(other).train, 'epoch_1.pth', 'another config', 'model.head')


# ---------------------------------------------------------------------------------------------------------------------
# configs


def put(path, value):
    """Sets an entry of a config, by its path."""

    def change(cfg):
        *parents, last = path.split('.')
        for key in parents:
            cfg = cfg[int(key) if key.isdigit() else key]
        cfg[int(last) if last.isdigit() else last] = value

    return change


def put_in_pipeline(kind, key, value):
    def change(cfg):
        next(step for step in cfg.train_dataloader.dataset.pipeline if step['type'] == kind)[key] = value

    return change


def codec(**changes):
    base = dict(
        type='SimCCLabel',
        input_size=(64, 96),
        smoothing_type='standard',
        label_smooth_weight=0.1,
        simcc_split_ratio=2.0,
        use_dark=False,
    )
    return {**base, **changes}


def give_the_teacher_finer_bins(cfg):
    teacher = cfg.model.teacher
    teacher.head.update(simcc_split_ratio=3.0, decoder=codec(simcc_split_ratio=3.0))
    cfg.model.teacher_checkpoint = f'{cfg.work_dir}.pth'
    torch.save(dict(state_dict=MODELS.build(teacher).state_dict()), cfg.model.teacher_checkpoint)
    cfg.model.distill_losses.loss_logit = dict(type='SimCCLogitKDLoss')


STAGE1, STAGE2 = 'stage1_structure.py', 'stage2_igpgcn.py'
CONFIGS = {
    # stage 2 without what stage 1 leaves
    'stage 2 before stage 1': (
        STAGE2,
        put('model.student_checkpoint', 'work_dirs/gone'),
        ['model.student_checkpoint: there is no checkpoint or work folder work_dirs/gone', 'stage1_structure.py'],
    ),
    'no checkpoint for the teacher': (STAGE1, put('model.teacher_checkpoint', None), ['teacher_checkpoint is not set']),
    'no config for the teacher': (STAGE1, put('model.teacher', 'gone.py'), ['model.teacher', 'gone.py']),
    # names
    'unknown distillation loss': (
        STAGE1,
        put('model.distill_losses.loss_more', dict(type='NoLoss')),
        ['model.distill_losses.loss_more', 'NoLoss'],
    ),
    'misspelled option of a distillation loss': (
        STAGE1,
        put('model.distill_losses.loss_pose.loss_wieght', 1.0),
        ['model.distill_losses.loss_pose', 'loss_wieght'],
    ),
    'distillation loss that is not added up': (
        STAGE1,
        put('model.distill_losses.pose', dict(type='PoseL1Loss')),
        ['model.distill_losses.pose', 'must contain "loss"'],
    ),
    'unknown loss of the head': (PLAIN, put('model.head.loss.type', 'NoLoss'), ['NoLoss is not in the', 'registry']),
    'misspelled option of the head': (
        PLAIN,
        put('model.head.out_chanels', 17),
        ['the config cannot be built', '__init__() got an unexpected keyword argument', "'out_chanels'"],
    ),
    'misspelled option of the distiller': (
        STAGE1,
        put('model.teacher_chekpoint', 'x.pth'),
        ['__init__() got an unexpected keyword argument', "'teacher_chekpoint'"],
    ),
    'option of the data set that there is not': (
        PLAIN,
        put('train_dataloader.dataset.shuffle_joints', True),
        ['__init__() got an unexpected keyword argument', "'shuffle_joints'"],
    ),
    'unknown hook': (PLAIN, put('custom_hooks.0.type', 'NoHook'), ['NoHook is not in the', 'registry']),
    'misspelled option of a hook': (
        PLAIN,
        put('custom_hooks.2.damagd', 'skip'),
        ['__init__() got an unexpected keyword argument', "'damagd'"],
    ),
    'value that an option has not': (PLAIN, put('custom_hooks.2.damaged', 'ignore'), ['"stop" or "skip"', 'ignore']),
    'dict without a type': (
        PLAIN,
        lambda cfg: cfg.model.head.loss.pop('type'),
        ['must contain the key "type"', 'use_target_weight'],
    ),
    'name instead of a dict': (
        PLAIN,
        put('model.head.loss', 'SimCCKLLoss'),
        ['cfg should be a dict'],
    ),
    'nothing to train on': (
        PLAIN,
        lambda cfg: [cfg.pop(key) for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler')],
        ['the config has no train_dataloader'],
    ),
    'no optimizer': (PLAIN, lambda cfg: cfg.pop('optim_wrapper'), ['the config has no optim_wrapper', 'train_cfg']),
    'metrics without a data set': (PLAIN, put('val_evaluator', dict(type='AUC')), ['the config has no val_dataloader']),
    'option that is missing': (
        PLAIN,
        lambda cfg: cfg.model.head.pop('out_channels'),
        ['__init__() missing 1 required', "'out_channels'"],
    ),
    # sizes and codecs
    'images of another size than the head takes': (
        PLAIN,
        put_in_pipeline('TopdownAffine', 'input_size', (96, 128)),
        ['TopdownAffine.input_size', '(96, 128)', '(64, 96)'],
    ),
    'targets of another size': (
        PLAIN,
        put_in_pipeline('GenerateTarget', 'encoder', codec(input_size=(96, 128))),
        ['GenerateTarget.encoder', 'input_size=(96, 128)', '(64, 96)'],
    ),
    'targets smoothed in another way': (
        PLAIN,
        put_in_pipeline('GenerateTarget', 'encoder', codec(label_smooth_weight=0.3)),
        ['GenerateTarget.encoder', 'label_smooth_weight=0.3'],
    ),
    'targets of another codec': (
        PLAIN,
        put_in_pipeline(
            'GenerateTarget', 'encoder', dict(type='MSRAHeatmap', input_size=(64, 96), heatmap_size=(16, 24), sigma=2)
        ),
        ['GenerateTarget.encoder', 'type=MSRAHeatmap', 'SimCCLabel'],
    ),
    'head of 14 keypoints for 17': (PLAIN, put('model.head.out_channels', 14), ['out_channels is 14', '17 keypoints']),
    'teacher that sees another part': (
        STAGE1,
        put('model.teacher.head.decoder.input_size', (96, 96)),
        ['model.teacher sees images of (96, 96)', '(64, 96)'],
    ),
    'teacher of 14 keypoints for 17': (
        STAGE1,
        put('model.teacher.head.out_channels', 14),
        ['does not fit teacher', 'head.final_layer.bias ((17,) in the file, (14,) in the model)'],
    ),
    'logits of other numbers of bins': (
        STAGE1,
        give_the_teacher_finer_bins,
        ['model.distill_losses.loss_logit', 'bin by bin', '(128, 192)', '(192, 288)'],
    ),
    # levels
    'map that the backbone does not hand out': (
        STAGE1,
        put('model.distill_losses.loss_feat.student_index', 2),
        ['model.distill_losses.loss_feat', 'student_index=2', '0: 8 channels of 24×16'],
    ),
    'map of other channels': (
        STAGE1,
        put('model.distill_losses.loss_feat.student_channels', 5),
        ['student_channels=5', 'set student_channels=8'],
    ),
    'refiner of maps that are not there': (STAGE2, put('model.head.in_indices', (0, 1, 7)), ['head.in_indices', '7']),
    'refiner of other channels': (
        STAGE2,
        put('model.head.in_channels', (32, 16, 9)),
        ['head.in_channels is (32, 16, 9)', 'must be (32, 16, 8)'],
    ),
    'branch that HRNet has not': (STAGE2, put('model.backbone.branches', (4, 1, 0)), ['backbone.branches', '0 to 3']),
    'refiner on a plain backbone': (
        STAGE2,
        lambda cfg: (put('model.backbone.type', 'HRNet')(cfg), cfg.model.backbone.pop('branches', None)),
        ['head.in_indices', '1 map(s)'],
    ),
}


@pytest.mark.parametrize('fault', CONFIGS)
def test_a_mistake_in_a_config(fault, short, refuses, monkeypatch, tmp_path):
    name, change, parts = CONFIGS[fault]
    monkeypatch.chdir(tmp_path)
    cfg = short(name)
    change(cfg)
    refuses(fault, lambda: check_and_train(cfg), *parts)


def test_a_package_that_is_not_installed(short, refuses, monkeypatch):
    monkeypatch.setattr(common_transforms, 'albumentations', None)
    cfg = short(PLAIN)
    cfg.train_dataloader.dataset.pipeline.insert(-1, dict(type='Albumentation', transforms=[]))
    refuses('missing package', lambda: check_and_train(cfg), 'albumentations is not installed', 'mmpose_tskd[rtmpose]')


def metainfo(links, num_keypoints=17):
    return dict(
        dataset_name='own',
        keypoint_info={
            k: dict(name=f'joint{k}', id=k, color=[0, 0, 0], type='', swap='') for k in range(num_keypoints)
        },
        skeleton_info={i: dict(link=link, id=i) for i, link in enumerate(links)},
        joint_weights=[1.0] * num_keypoints,
        sigmas=[0.05] * num_keypoints,
    )


SKELETONS = {
    'without links': ([], ['no skeleton links']),
    'with an index out of range': ([('joint0', 'joint17')], ["'joint17'", 'no such keypoint']),
    'with a number for a keypoint': ([('joint0', 99)], ['names 99', 'no such keypoint']),
    'with a link twice': ([('joint0', 'joint1'), ('joint1', 'joint0')], ['joint1 and joint0 twice']),
    'with a keypoint linked to itself': ([('joint3', 'joint3')], ['keypoint to itself']),
    'with a link of three keypoints': ([('joint0', 'joint1', 'joint2')], ['does not join two keypoints']),
}


@pytest.mark.parametrize('fault', SKELETONS)
@pytest.mark.parametrize('where', ['structure loss', 'refiner'])
def test_a_skeleton(where, fault, short, refuses):
    links, parts = SKELETONS[fault]
    cfg = short(STAGE1 if where == 'structure loss' else STAGE2)
    data, model = cfg.train_dataloader.dataset, cfg.model  # data that MMPose cannot read it refuses itself
    holder = data if 'no such keypoint' not in parts else model.head if where == 'refiner' else model
    holder.metainfo = metainfo(links)
    refuses(f'skeleton {fault}, {where}', lambda: train(cfg), *parts)


@pytest.mark.parametrize('name', [STAGE1, STAGE2])
def test_a_skeleton_in_parts_is_taken_as_it_is(name, short, survived):
    cfg = short(name)
    links = [('joint0', 'joint1'), ('joint5', 'joint6'), ('joint6', 'joint7')]
    cfg.train_dataloader.dataset.metainfo = metainfo(links)
    assert np.isfinite(losses_of(train(cfg))).all()
    survived('bad input', f'skeleton in parts, {name}')


def losses_of(runner):
    """All losses of a run, in the order of their steps."""
    scalars = runner.message_hub.log_scalars
    return np.concatenate([np.array(log.data[0]) for name, log in scalars.items() if 'loss' in name])


@pytest.mark.parametrize('kind', [AttributeError, KeyError, TypeError])
def test_a_fault_of_a_program_keeps_its_traceback(kind, short, monkeypatch):
    def draw():
        raise kind("draw() got an unexpected keyword argument 'color'")

    monkeypatch.setattr(MODELS.get('SimCCKLLoss'), '__init__', lambda self, **options: draw())
    with pytest.raises(kind, match='color'):
        message_of(train, short(PLAIN))


# ---------------------------------------------------------------------------------------------------------------------
# labels


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def each_person(**changes):
    return lambda content: [person.update(changes) for person in content['annotations']]


def second_person(**changes):
    return lambda content: content['annotations'][1].update(changes)


def second_image(**changes):
    return lambda content: content['images'][1].update(changes)


def second_joint(x, y):
    def change(content):
        content['annotations'][1]['keypoints'][3:5] = x, y

    return change


NAN = float('nan')
# How the file is spoilt, and what is said.
LABELS = {
    'a NaN': (second_joint(NAN, 5), ['1 annotations with a coordinate that is no number (id 2)', 'Mend']),
    'a keypoint at infinity': (second_joint(5, float('inf')), ['with a coordinate that is no number (id 2)']),
    'a box with NaN': (second_person(bbox=[NAN, 1, 20, 30]), ['with a box that is not four numbers (id 2)']),
    'a box of three numbers': (second_person(bbox=[1, 20, 30]), ['with a box that is not four numbers (id 2)']),
    'a keypoint far away': (second_joint(30000, 5), ['1 annotations with a keypoint far from its box (id 2)']),
    '14 keypoints for one instance': (second_person(keypoints=[5, 5, 2] * 14), ['with not 17 keypoints (id 2)']),
    '14 for all': (each_person(keypoints=[5, 5, 2] * 14), ['6 annotations with not 17 keypoints (id 1, ...)']),
    'keypoints of two numbers': (second_person(keypoints=[5, 5] * 17), ['1 annotations with not 17 keypoints (id 2)']),
    'an id used twice': (second_person(id=1), ['1 annotations with an id used twice (id 1)']),
    'an id used twice, in one image': (second_person(id=1, image_id=1), ['an id used twice (id 1)']),
    'an id that is null': (second_person(id=None), ['1 annotations with no id']),
    'an instance that is null': (lambda content: content['annotations'].append(None), ['1 annotations with no id']),
    'a keypoint that is text': (second_joint('12', 5), ['1 annotations with a coordinate that is no number (id 2)']),
    'a keypoint that is null': (second_joint(None, 5), ['1 annotations with a coordinate that is no number (id 2)']),
    'a box that is text': (second_person(bbox='12'), ['1 annotations with a box that is not four numbers (id 2)']),
    'a box with null': (second_person(bbox=[1, None, 20, 30]), ['with a box that is not four numbers (id 2)']),
    'an area that is text': (second_person(area='large'), ['with area that is no number from 0 on (id 2)']),
    'an area that is null': (second_person(area=None), ['1 annotations with area that is no number from 0 on (id 2)']),
    'a number of keypoints that is text': (second_person(num_keypoints='16'), ['with num_keypoints that is no number']),
    'an image id that is text': (second_person(image_id='2'), ['1 annotations with image_id that is no number']),
    'a visibility of -1': (second_person(keypoints=[40, 40, -1] * 17), ['a visibility that is not 0, 1 or 2 (id 2)']),
    'a visibility of 3': (second_person(keypoints=[40, 40, 3] * 17), ['a visibility that is not 0, 1 or 2 (id 2)']),
    'iscrowd as text': (
        each_person(iscrowd='0'),
        ['6 annotations with an iscrowd that is neither 0 nor 1 (id 1, ...)'],
    ),
    'another category': (second_person(category_id=2), ['with a category_id that the file does not list (id 2)']),
    'no category': (lambda content: content['annotations'][1].pop('category_id'), ['a category_id that']),
    'an image listed twice': (second_image(id=1), ['1 images with an id used twice (id 1)']),
    'an image of which the id is text': (second_image(id='2'), ['1 images with an id that is no whole number']),
    'an image without a name': (second_image(file_name=None), ['1 images with no file_name (id 2)']),
    'no labeled keypoint': (each_person(keypoints=[5, 5, 0] * 17), ['no instance with a labeled keypoint']),
    'nobody with keypoints': (each_person(num_keypoints=0), ['no instance with a labeled keypoint']),
    'no instance': (lambda content: content.update(annotations=[]), ['no instance with a labeled keypoint']),
    'no box with an area': (
        each_person(bbox=[5, 5, 0, 9]),
        ['left out: 6 with a box without area in the image (id 1, ...)'],
    ),
    'images without a size': (
        lambda content: content['images'][0].pop('width'),
        ['1 images with no width and height above 0 (id 1)'],
    ),
    'a number too large': (second_person(area=10**30), ['with area that is no number from 0 on (id 2)']),
    'an image too wide': (second_image(width=10**400), ['1 images with no width and height above 0 (id 2)']),
    'an image of which the id is true': (second_image(id=True), ['1 images with an id that is no whole number']),
    'an id that is false': (second_person(id=False), ['1 annotations with no id (id False)']),
    'a crowdIndex that is text': (second_image(crowdIndex='x'), ['1 images with a crowdIndex that is no number']),
    'categories that are a number': (lambda content: content.update(categories=5), ['lists of categories, too']),
    'no categories but null': (lambda content: content.update(categories=None), ['lists of categories, too']),
    'a category without an id': (
        lambda content: content['categories'][0].pop('id'),
        ['1 categories with an id that is no whole number'],
    ),
    'no images listed': (lambda content: content.pop('images'), ['cannot read the labels', 'images']),
}


@pytest.fixture
def own_data(short, tmp_path):
    """A data set to spoil, and a config that trains on it."""
    folder = write_toy_data(tmp_path / 'data')
    cfg = short(PLAIN)
    cfg.train_dataloader.dataset.data_root = str(folder)
    return folder, cfg


@pytest.mark.parametrize('fault', LABELS)
def test_labels_that_would_spoil_a_run(fault, own_data, refuses):
    change, parts = LABELS[fault]
    folder, cfg = own_data
    edit(folder / 'labels.json', change)
    refuses(f'labels with {fault}', lambda: check_config(cfg, 'train'), str(folder / 'labels.json'), *parts)


AREAS = {
    'an area of 0': second_person(area=0),
    'no area': lambda content: content['annotations'][1].pop('area'),
}


@pytest.mark.parametrize('fault', AREAS)
def test_areas_are_needed_where_results_are_scored_by_them(fault, toy, refuses, survived, tmp_path):
    """Before the first step of training."""
    folder = write_toy_data(tmp_path / 'data')
    edit(folder / 'labels.json', AREAS[fault])
    cfg = toy(PLAIN)
    cfg.val_dataloader.dataset.data_root = str(folder)
    cfg.val_evaluator.ann_file = str(folder / 'labels.json')
    runner = Runner.from_cfg(cfg)
    message = f'{folder / "labels.json"}: 1 annotations with no area, by which results are scored (id 2)'
    refuses(f'labels to test on with {fault}', runner.train, message)
    assert runner.iter == 0
    cfg.update(val_evaluator=dict(cfg.val_evaluator, use_area=False), experiment_name=f'{cfg.experiment_name}_without')
    train(cfg)
    survived('bad input', f'labels with {fault}, where no metric needs one')


@pytest.mark.parametrize('ending', ['pkl', 'pickle', 'yaml', 'yml', 'JSON.pkl'])
def test_boxes_are_read_from_json_alone(ending, toy, run_tool, survived, tmp_path):
    boxes = tmp_path / f'boxes.{ending}'
    write_pickled_code(boxes)
    cfg = toy(PLAIN)
    cfg.test_dataloader.dataset.bbox_file = str(boxes)
    cfg.dump(tmp_path / 'config.py')
    message = run_tool('test', 'config.py', 'none.pth')
    assert f"bbox_file='{boxes}'" in message and 'JSON alone' in message
    assert not (tmp_path / 'was_run').exists()
    survived('bad input', f'boxes that are no JSON: {ending}')


@pytest.mark.parametrize('phase', ['val', 'test'])
def test_a_pickle_of_boxes_is_not_run_without_our_tools(phase, toy, refuses, tmp_path):
    """MMEngine builds the data sets before it calls any hook."""
    write_pickled_code(tmp_path / 'boxes.pkl')
    cfg = toy(PLAIN)
    cfg[f'{phase}_dataloader'].dataset.bbox_file = str(tmp_path / 'boxes.pkl')
    runner = Runner.from_cfg(cfg)
    run = runner.train if phase == 'val' else runner.test
    refuses(f'pickled boxes in {phase}', run, 'boxes.pkl is damaged, or no JSON')
    assert not (tmp_path / 'was_run').exists()


def test_a_loader_without_a_batch(short, refuses):
    cfg = short(PLAIN)
    cfg.train_dataloader.update(batch_size=7, drop_last=True)
    refuses('a loader without a batch', Runner.from_cfg(cfg).train, 'gives no batch', 'the data set has 6')


@pytest.mark.parametrize('weight', [-1.0, float('nan')])
def test_a_loss_that_leads_away_from_the_teacher(weight, short, refuses):
    cfg = short(STAGE1)
    cfg.model.distill_losses.loss_pose.loss_weight = weight
    refuses(f'a weight of {weight}', lambda: MODELS.build(cfg.model), 'distill_losses.loss_pose.loss_weight is')


@pytest.mark.parametrize('key', ['max_epochs', 'val_interval'])
@pytest.mark.parametrize('value', [0, -1, 1.5])
def test_a_loop_that_ends_nowhere(key, value, toy, refuses):
    cfg = toy(PLAIN)
    cfg.train_cfg[key] = value
    refuses(f'{key} of {value}', lambda: check_config(cfg, 'train'), f'train_cfg.{key} is a whole number above 0')


def test_a_missing_image_is_found_before_the_first_step(toy, refuses, tmp_path):
    """Of the validation, too, which would find it after an epoch."""
    folder = write_toy_data(tmp_path / 'data')
    (folder / 'images/4.png').unlink()
    (folder / 'images/5.png').unlink()
    (folder / 'images/5.png').mkdir()
    cfg = toy(PLAIN)
    cfg.val_dataloader.dataset.data_root = str(folder)
    cfg.val_evaluator.ann_file = str(folder / 'labels.json')
    runner = Runner.from_cfg(cfg)
    refuses('missing images', runner.train, 'images/4.png cannot be used (it is missing, or no file, and so are 1 more')
    assert runner.iter == 0


def test_a_file_of_labels_that_is_damaged_or_missing(own_data, refuses):
    folder, cfg = own_data
    path = folder / 'labels.json'
    whole = path.read_text()
    path.write_text(whole[:-200])
    refuses('labels cut off', lambda: check_and_train(cfg), str(path), 'is damaged, or no JSON')
    path.write_text(json.dumps(json.loads(whole)['annotations']))
    refuses('labels of another format', lambda: check_and_train(cfg), str(path), 'cannot read the labels', 'images')
    path.unlink()
    refuses('labels missing', lambda: check_and_train(cfg), str(path), 'does not exist', 'data_root')


HARMLESS = {
    'a box of negative size': (second_person(bbox=[50, 50, -20, -30]), 5),
    'a box of no area': (second_person(bbox=[5, 5, 0, 30]), 5),
    'a box beside the image': (second_person(bbox=[500, 500, 20, 30]), 5),
    'an instance without a box': (lambda content: content['annotations'][1].pop('bbox'), 5),
    'an instance without a labeled keypoint': (second_person(num_keypoints=0, keypoints=[0] * 51), 5),
    'an image without an instance': (lambda content: content['annotations'].pop(), 5),
    'an image that is not listed': (second_person(image_id=99), 5),
    'a keypoint beside the image': (second_joint(130.0, -9.0), 6),
    'one labeled keypoint': (second_person(keypoints=[40, 40, 2] + [0] * 48, num_keypoints=1), 6),
}


@pytest.mark.parametrize('fault', HARMLESS)
def test_labels_that_do_no_harm(fault, own_data, survived):
    change, people = HARMLESS[fault]
    folder, cfg = own_data
    edit(folder / 'labels.json', change)
    runner = check_and_train(cfg)
    assert len(runner.train_dataloader.dataset) == people and np.isfinite(losses_of(runner)).all()
    survived('bad input', f'labels with {fault}')


# ---------------------------------------------------------------------------------------------------------------------
# batches without a visible keypoint


def label_one_person_alone(folder):
    """Of six instances, so that of three batches at least two have no label."""

    def change(content):
        for person in content['annotations'][1:]:
            person['keypoints'][2::3] = [0] * 17

    edit(folder / 'labels.json', change)


def stage1(short):
    cfg = short(STAGE1)
    cfg.model.distill_losses.loss_pose.use_target_weight = True
    cfg.model.distill_losses.loss_logit = dict(type='SimCCLogitKDLoss', use_target_weight=True)
    return cfg, ['loss_kpt', 'loss_pose', 'loss_logit']


def stage2(short):
    return short(STAGE2), ['loss_refine']


def refiner_on_labels(short):
    return short(REFINED), ['loss_kpt', 'loss_refine']


def heatmaps(short):
    cfg = short('ikd/coco/ikd_td-hm_res50-to-res18-small_8xb64-210e_coco-256x192.py')
    teacher = load_model_config('mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py')
    shrink_model(teacher, 12)
    cfg.model.teacher, cfg.model.teacher_checkpoint = teacher, f'{cfg.work_dir}.pth'
    torch.save(dict(state_dict=MODELS.build(teacher).state_dict()), cfg.model.teacher_checkpoint)
    return cfg, ['loss_kpt', 'loss_logit']


@pytest.mark.parametrize('method', [stage1, stage2, refiner_on_labels, heatmaps])
def test_batches_without_a_visible_joint(method, short, survived, tmp_path):
    """What the labels teach is zero there, and all losses are finite."""
    cfg, by_labels = method(short)
    cfg.train_dataloader.dataset.data_root = str(write_toy_data(tmp_path / 'data'))
    label_one_person_alone(tmp_path / 'data')
    runner = train(cfg)
    assert np.isfinite(losses_of(runner)).all()
    for name in by_labels:
        steps = runner.message_hub.get_scalar(f'train/{name}').data[0]
        assert sum(step == 0 for step in steps) == 2 and max(steps) > 0, (name, steps)
    survived('bad input', f'batches without a visible keypoint, {method.__name__}')


# ---------------------------------------------------------------------------------------------------------------------
# images


def show(folder, name, write):
    """Makes an image in place of the second instance's, and lists it in the labels."""
    image = cv2.imread(str(folder / 'images' / '2.png'))
    (folder / 'images' / '2.png').unlink()
    write(str(folder / 'images' / name), image)
    edit(folder / 'labels.json', lambda content: content['images'][1].update(file_name=name))
    return image


def gray(image):
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


def enlarged(image):
    """To 11 million pixels."""
    return cv2.resize(image, None, fx=30, fy=30, interpolation=cv2.INTER_NEAREST)


def save_turned(path, image):
    """Stored upright, with the note that it is to be turned by 90 degrees."""
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(image[..., ::-1]).save(path, exif=exif)


# How an image is written, and as what it is read.
IMAGES = {
    'gray.png': (lambda path, image: cv2.imwrite(path, gray(image)[..., 0]), gray),
    'gray16.png': (lambda path, image: cv2.imwrite(path, gray(image)[..., 0].astype(np.uint16) * 257), gray),
    'color16.png': (lambda path, image: cv2.imwrite(path, image.astype(np.uint16) * 257), lambda image: image),
    'alpha.png': (
        lambda path, image: cv2.imwrite(path, np.dstack([image, np.zeros_like(image[..., 0])])),
        lambda image: image,
    ),
    'cmyk.tif': (
        lambda path, image: Image.fromarray(image[..., ::-1]).convert('CMYK').save(path),
        lambda image: image,
    ),
    'cmyk.jpg': (
        lambda path, image: Image.fromarray(image[..., ::-1]).convert('CMYK').save(path, quality=100),
        lambda image: image,
    ),
    'turned.png': (save_turned, lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)),
    'one pixel.png': (lambda path, image: cv2.imwrite(path, image[:1, :1]), lambda image: image[:1, :1]),
    'large.png': (
        lambda path, image: cv2.imwrite(path, enlarged(image)),
        enlarged,
    ),
}


@pytest.mark.parametrize('name', IMAGES)
def test_a_image_of_another_kind_is_read_as_what_it_shows(name, own_data, survived):
    write, expected = IMAGES[name]
    folder, cfg = own_data
    expected = expected(show(folder, name, write)).astype(int)
    runner = train(cfg)
    assert np.isfinite(losses_of(runner)).all()
    load = runner.train_dataloader.dataset.pipeline.transforms[0]
    read = load(dict(img_path=str(folder / 'images' / name)))['img']
    assert read.dtype == np.uint8 and read.shape == expected.shape and np.abs(read - expected).mean() < 2
    survived('bad input', f'image {name}')


def save_cut(path, image):
    cv2.imwrite(path, image)
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: len(whole) * 2 // 3])


def save_bomb(path, image):
    """A PNG of a few bytes that says it has 100,000 × 100,000 pixels."""
    cv2.imwrite(path, image)
    data = bytearray(Path(path).read_bytes())
    data[16:24] = struct.pack('>II', 100000, 100000)
    data[29:33] = struct.pack('>I', zlib.crc32(data[12:29]))
    Path(path).write_bytes(data)


DAMAGED = {
    'missing.png': lambda path, image: None,
    'empty.jpg': lambda path, image: Path(path).touch(),
    'pipe.jpg': lambda path, image: os.mkfifo(path),
    'folder.jpg': lambda path, image: Path(path).mkdir(),
    'text.jpg': lambda path, image: Path(path).write_text('<html>404</html>'),
    'cut.jpg': save_cut,
    'cut.png': save_cut,
    'enormous.png': save_bomb,
}


@pytest.mark.parametrize('name', DAMAGED)
def test_a_image_that_cannot_be_read_stops_the_run_or_is_skipped(name, own_data, refuses, survived):
    folder, cfg = own_data
    show(folder, name, DAMAGED[name])
    refuses(f'image {name}', lambda: train(cfg), f'images/{name} cannot be used', "damaged='skip'")
    hook = next(hook for hook in cfg.custom_hooks if hook['type'] == 'SafeSamplesHook')
    hook['damaged'] = 'skip'
    cfg.experiment_name += '_skip'
    cfg.train_cfg.max_epochs = 2
    runner = train(cfg)
    assert runner.iter == 6 and np.isfinite(losses_of(runner)).all()
    logs = [path.read_text() for path in Path(cfg.work_dir).glob('*/*.log')]
    assert sum(log.count(f'{name} cannot be used and is skipped') for log in logs) == 1
    survived('bad input', f'image {name}, skipped')


# ---------------------------------------------------------------------------------------------------------------------
# paths and disks


@pytest.fixture
def run_tool(monkeypatch, tmp_path):
    """What ``tools/train.py`` and ``tools/test.py`` end with."""

    def run(name, *args) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, args)])
        return message_of(run_mmpose_tool, name)

    return run


def test_paths_with_spaces_and_other_letters(own_data, run_tool, survived, tmp_path):
    folder, cfg = own_data
    odd = tmp_path / 'Ordner mit Übergröße' / '姿势 données'
    odd.mkdir(parents=True)
    folder = folder.rename(odd / 'bilder çà')
    for image in (folder / 'images').iterdir():
        image.rename(image.with_name(f'é {image.name}'))
    edit(folder / 'labels.json', lambda c: [i.update(file_name=f'é {i["file_name"]}') for i in c['images']])
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(folder)
    cfg.test_evaluator.ann_file = str(folder / 'labels.json')
    cfg.dump(odd / 'mein config.py')
    assert run_tool('train', odd / 'mein config.py', '--work-dir', odd / 'läufe') == ''
    checkpoint = (odd / 'läufe' / 'epoch_1.pth').rename(odd / 'gewichte nº 1.pth')
    options = ['--work-dir', odd / 'prüfung', '--cfg-options', 'experiment_name=odd_test']
    assert run_tool('test', odd / 'mein config.py', checkpoint, *options) == ''
    assert 'coco/AP' in next((odd / 'prüfung').glob('*/*.json')).read_text()
    init_model(str(odd / 'mein config.py'), str(checkpoint), device='cpu')
    survived('bad input', 'paths with spaces and other letters')


@pytest.mark.parametrize(
    'text, parts',
    [
        (None, ['config.py']),
        ('model = dict(\n', ['the config config.py', 'SyntaxError', 'line 1']),
        ('model = dict(type=Nothing)\n', ['the config config.py', "NameError: name 'Nothing'"]),
        ("_base_ = ['gone.py']\n", ['gone.py']),
        ('', ['the config has no model']),
        ('model = dict()\n', ['the config has no train_dataloader, train_cfg, optim_wrapper']),
    ],
)
def test_a_config_that_cannot_be_read(text, parts, run_tool, survived, tmp_path):
    if text is not None:
        (tmp_path / 'config.py').write_text(text)
    message = run_tool('train', 'config.py')
    assert message.startswith('error: ') and all(part in message for part in parts), message
    survived('bad input', f'config {text!r}')


@pytest.mark.parametrize('place', ['work', 'work/below'])
def test_a_work_folder_that_cannot_be_made(place, short, refuses, tmp_path):
    (tmp_path / 'work').write_text('a file')
    cfg = short(PLAIN)
    cfg.work_dir = str(tmp_path / place)
    refuses(f'work folder {place} where a file is', lambda: train(cfg), str(tmp_path / place), 'check that path')


@contextmanager
def no_file_larger_than(size):
    """As a full disk does, it breaks off a file that is being written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_leaves_the_last_checkpoint_whole(short, refuses):
    cfg = short(PLAIN)
    cfg.default_hooks.checkpoint.max_keep_ckpts = 1
    train(cfg)
    folder = Path(cfg.work_dir)
    before = (folder / 'epoch_1.pth').read_bytes()
    cfg.train_cfg.max_epochs = 2
    cfg.update(resume=True, experiment_name='again_changed', allow_changes=True)

    def go_on():
        with no_file_larger_than(len(before) // 2):
            train(cfg)

    refuses('full disk', go_on, str(folder / 'epoch_2.pth'), 'cannot be written', 'space')
    assert (folder / 'epoch_1.pth').read_bytes() == before
    assert (folder / 'last_checkpoint').read_text() == str(folder / 'epoch_1.pth')
    assert not list(folder.glob('.epoch_2*')) and not (folder / 'epoch_2.pth').exists()
    cfg.experiment_name = 'with space again'
    assert train(cfg).epoch == 2


# ---------------------------------------------------------------------------------------------------------------------
# foreign code


FORBIDDEN = {
    'eval',
    'exec',
    'compile',
    '__import__',
    'os.system',
    'os.popen',
    'pickle.load',
    'pickle.loads',
    'pickle.Unpickler',
}


def offenses(source: str):
    """Calls that run text as code or a shell, or unpickle, in a program."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == 'pickle':
            yield ast.unparse(node)
        if not isinstance(node, ast.Call):
            continue
        name, options = ast.unparse(node.func), {option.arg: ast.unparse(option.value) for option in node.keywords}
        if name in FORBIDDEN or options.get('shell', 'False') != 'False' or options.get('allow_pickle') == 'True':
            yield ast.unparse(node)
        is_safe = options.get('weights_only') in ('True', 'not _trusts')  # --trust-checkpoint
        if name == 'torch.load' and not is_safe and options.get('pickle_module') != 'old_torch.of(file)':
            yield ast.unparse(node)


def test_the_package_runs_no_text_and_unpickles_nothing():
    sources = {path: path.read_text() for room in ('mmpose_tskd', 'tools') for path in (REPO / room).rglob('*.py')}
    assert len(sources) > 50
    found = {str(path): calls for path, source in sources.items() if (calls := list(offenses(source)))}
    assert not found
    for line in (
        'eval(text)',
        'exec(text)',
        'os.system(text)',
        'subprocess.run(text, shell=True)',
        'pickle.loads(data)',
        'pickle.Unpickler(file)',
        'from pickle import loads',
        'np.load(file, allow_pickle=True)',
        'torch.load(file)',
        'torch.load(file, weights_only=False)',
    ):
        assert list(offenses(line)), line


def test_trust_is_given_for_one_run_and_said_in_its_log(short, run_tool, survived, student_checkpoint, tmp_path):
    path = tmp_path / 'given.pth'
    path.write_bytes(Path(student_checkpoint).read_bytes())
    add_code(path)
    cfg = short(STAGE2)
    cfg.model.student_checkpoint = str(path)
    cfg.dump(tmp_path / 'stage2.py')
    assert '--trust-checkpoint' in run_tool('train', 'stage2.py', '--work-dir', 'safe')
    assert not (tmp_path / 'was_run').exists()
    options = ['--cfg-options', 'experiment_name=trusting']
    assert run_tool('train', 'stage2.py', '--work-dir', 'trusting', '--trust-checkpoint', *options) == ''
    assert (tmp_path / 'was_run').exists()
    (log,) = (tmp_path / 'trusting').glob('*/*.log')
    assert f'{path} is loaded in full, with the code that it may hold' in log.read_text()
    (tmp_path / 'was_run').unlink()
    options = ['--cfg-options', 'experiment_name=afterwards']
    assert '--trust-checkpoint' in run_tool('train', 'stage2.py', '--work-dir', 'after', *options)
    assert not (tmp_path / 'was_run').exists()
    survived('bad input', 'trust for one run')
