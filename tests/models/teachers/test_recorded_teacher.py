"""A teacher that was asked once: its poses go where the labels go, and nothing else is taken for them."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import INPUT_SIZE, toy_teacher, train, write_toy_data
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.runner import Runner
from mmpose.registry import DATASETS, MODELS

from mmpose_tskd.apis.record_teacher import open_teacher, record_teacher
from mmpose_tskd.datasets.transforms import PackInputFrame
from mmpose_tskd.engine.hooks import TeacherEvaluationHook
from mmpose_tskd.engine.hooks.recorded_teacher_hook import RecordedTeacherHook
from mmpose_tskd.errors import UserError
from mmpose_tskd.models.teachers import RecordedTeacher
from mmpose_tskd.poses import load_skeleton

HOOK = dict(type='RecordedTeacherHook')
COCO = [
    'nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder', 'left_elbow',
    'right_elbow', 'left_wrist', 'right_wrist', 'left_hip', 'right_hip', 'left_knee', 'right_knee', 'left_ankle',
    'right_ankle',
]  # fmt: skip


STUDENT = SimpleNamespace(reader=SimpleNamespace(num_keypoints=17, input_size=INPUT_SIZE))
JOINTS = load_skeleton('CocoDataset')


def write_record(labels, out, names=COCO, change=lambda content: None):
    """The labels themselves as a record, every keypoint with a confidence of its own."""
    content = json.loads(labels.read_text())
    rng = np.random.default_rng(1)
    for annotation in content['annotations']:
        annotation['keypoint_scores'] = rng.uniform(0.1, 1, len(annotation['keypoints']) // 3).round(3).tolist()
    content['categories'] = [dict(id=1, name='person', keypoints=list(names))]
    change(content)
    out.write_text(json.dumps(content))
    return str(out)


@pytest.fixture
def record(toy_data, tmp_path):
    return lambda **options: write_record(toy_data / 'labels.json', tmp_path / 'record.json', **options)


@pytest.fixture
def stage2(make_config, tmp_path):
    """A config of stage 2 with the student that it needs."""

    def make(**options):
        cfg = make_config('stage2_igpgcn.py')
        student = MODELS.build(_plain(cfg))
        student.init_weights()
        torch.save(student.state_dict(), tmp_path / 'student.pth')
        cfg.model.student_checkpoint = str(tmp_path / 'student.pth')
        cfg.merge_from_dict(options)
        return cfg

    return make


def _plain(cfg):
    """The student of stage 2 without its refiner."""
    names = ('data_preprocessor', 'backbone', 'neck', 'test_cfg')
    model = {name: cfg.model[name] for name in names if name in cfg.model}
    return dict(model, type='TopdownPoseEstimator', head=cfg.model.head.base_head)


def recorded(cfg, file, **options):
    """The config with the record in place of its teacher."""
    cfg.model.pop('teacher_checkpoint', None)
    cfg.model.teacher = dict(type='RecordedTeacher', file=file, **options)
    cfg.custom_hooks = [*cfg.custom_hooks, HOOK]
    return cfg


# Geometry


def pipeline(direction, use_udp):
    return [
        dict(type='LoadImage'),
        dict(type='GetBBoxCenterScale'),
        dict(type='RandomFlip', prob=0.7, direction=direction),
        dict(type='RandomHalfBody', prob=0.7, min_total_keypoints=5),
        dict(type='RandomBBoxTransform', shift_prob=0.7, rotate_prob=0.7),
        dict(type='TopdownAffine', input_size=INPUT_SIZE, use_udp=use_udp),
        dict(type='PackPoseInputs', pack_transformed=True),
    ]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    direction=st.sampled_from(['horizontal', 'vertical', 'diagonal']),
    use_udp=st.booleans(),
)
def test_recorded_poses_go_where_the_labels_go(toy_data, tmp_path_factory, seed, direction, use_udp):
    file = write_record(toy_data / 'labels.json', tmp_path_factory.mktemp('record') / 'record.json')
    teacher = RecordedTeacher(file)
    teacher.build(STUDENT, file)
    dataset = DATASETS.build(
        dict(
            type='CocoDataset',
            data_root=str(toy_data),
            ann_file='labels.json',
            data_prefix=dict(img='images/'),
            pipeline=pipeline(direction, use_udp),
        )
    )
    teacher.match(JOINTS, 17)
    teacher.prepare(dataset)
    hook = RecordedTeacherHook()
    hook._frame(SimpleNamespace(train_dataloader=SimpleNamespace(dataset=dataset)))
    np.random.seed(seed)
    samples = [dataset[index]['data_samples'] for index in range(len(dataset))]
    outputs = teacher(torch.zeros(len(samples), 3, 1, 1), samples)
    labels = np.concatenate([sample.gt_instances.transformed_keypoints for sample in samples])
    seen = np.concatenate([sample.gt_instances.keypoints_visible for sample in samples]) > 0
    assert np.abs(outputs.coords.numpy() - labels)[seen].max() < 1e-3
    assert torch.equal(outputs.coords, outputs.peaks) and outputs.weights.min() == 1
    given_scores = teacher.keypoints[:, :, 2]
    for row, sample in enumerate(samples):
        mirrored = sample.flip and direction != 'diagonal'
        order = sample.flip_indices if mirrored else range(17)
        assert np.allclose(outputs.scores[row], given_scores[row][list(order)])


# Equality with the live teacher


def plain_pipeline(cfg):
    """The training pipeline without what is random in it."""
    names = ('RandomFlip', 'RandomHalfBody', 'FastRandomBBoxTransform')
    return [step for step in cfg.train_dataloader.dataset.pipeline if step.type not in names]


@pytest.fixture
def asked(toy_data, tmp_path, teacher_checkpoint):
    """``asked(**options)``: the record of the toy teacher on the toy data."""

    def ask(**options):
        config = tmp_path / 'teacher.py'
        Config(dict(model=toy_teacher())).dump(str(config))
        teacher = open_teacher(str(config), teacher_checkpoint, 'CocoDataset', options.pop('flip_test', False))
        out = str(tmp_path / 'asked.json')
        record_teacher([teacher], str(toy_data / 'labels.json'), str(toy_data / 'images'), out, **options)
        return out

    return ask


@pytest.mark.parametrize('flip_test', [False, True])
def test_a_record_teaches_what_the_live_teacher_teaches(stage2, asked, flip_test):
    """Stage 2 on samples without augmentation: the same loss, with no network of the teacher's."""
    cfg = stage2()
    cfg.train_dataloader.dataset.pipeline = plain_pipeline(cfg)
    live = MODELS.build(dict(cfg.model, teacher_flip_test=flip_test, metainfo='CocoDataset'))
    replayed = recorded(copy.deepcopy(cfg), asked(flip_test=flip_test))
    replayed = MODELS.build(dict(replayed.model, metainfo='CocoDataset'))
    for model in (live, replayed):
        model.init_weights()
    replayed.load_state_dict(live.state_dict())
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    replayed.teacher.prepare(loader.dataset)
    RecordedTeacherHook()._frame(SimpleNamespace(train_dataloader=loader))
    data = live.data_preprocessor(next(iter(loader)), True)
    losses = [model.eval().loss(**data)['loss_refine'].item() for model in (live, replayed)]
    assert losses[0] > 0.1 and losses[1] == pytest.approx(losses[0], abs=1e-5)


def test_stage2_trains_from_a_record_and_goes_on_with_the_same_alone(stage2, asked, tmp_path):
    file = asked()
    cfg = recorded(stage2(), file)
    runner = train(cfg)
    assert not hasattr(runner.model.teacher, 'model') and runner.model.distill_losses['loss_refine'] is not None
    assert not [name for name in runner.model.state_dict() if 'teacher' in name]
    content = json.loads(Path(file).read_text())
    content['annotations'][0]['keypoints'][0] += 1
    Path(file).write_text(json.dumps(content))
    again = recorded(stage2(), file)
    again.update(work_dir=cfg.work_dir, resume=True, experiment_name='again_from_a_record')
    again.train_cfg.max_epochs = 3
    with pytest.raises(UserError, match='model.teacher is another than in the run that .* or its record'):
        train(again)


def test_a_record_is_no_use_without_its_hook(stage2, record):
    cfg = recorded(stage2(), record())
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook is not HOOK and hook['type'] != HOOK['type']]
    with pytest.raises(UserError, match='write dict.type="RecordedTeacherHook". into custom_hooks'):
        train(cfg)


def test_validation_images_have_no_recorded_pose(record):
    teacher = RecordedTeacher(record())
    runner = SimpleNamespace(model=SimpleNamespace(teacher=teacher))
    with pytest.raises(UserError, match='TeacherEvaluationHook asks .* which a record does not have'):
        TeacherEvaluationHook().before_train(runner)


def test_a_pipeline_without_a_crop_is_refused_and_one_that_is_switched_to_is_prepared(dataset):
    hook, runner = RecordedTeacherHook(), SimpleNamespace(train_dataloader=SimpleNamespace(dataset=dataset))
    with pytest.raises(UserError, match='needs a top-down training pipeline'):
        hook.before_train_epoch(runner)
    for _ in range(2):
        dataset.pipeline = Compose(pipeline('horizontal', False))
        for _ in range(2):  # once is enough, and twice no harm
            hook.before_train_epoch(runner)
        assert dataset[0]['data_samples'].input_frame['key'] == ('1.png', 1)
        assert sum(isinstance(step, PackInputFrame) for step in dataset.pipeline.transforms) == 1


# What is not to be taught from


@pytest.fixture
def dataset(toy_data):
    return DATASETS.build(
        dict(type='CocoDataset', data_root=str(toy_data), ann_file='labels.json', data_prefix=dict(img='images/'))
    )


def other_boxes(content):
    content['annotations'][2]['bbox'][0] += 5


def other_folder(content):
    for image in content['images']:
        image['file_name'] = f'elsewhere/{image["file_name"]}'


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(change=lambda content: content['annotations'].pop()), '6 instances .* 1 not in it .id 6 of 6.png'),
        (dict(change=other_boxes), '1 recorded for another box .id 3 of 3.png.*untaught'),
        (dict(change=other_folder), '6 of an image of the same name in another folder'),
    ],
)
def test_a_record_of_something_else_stops_the_run(dataset, record, options, message):
    teacher = RecordedTeacher(record(**options))
    teacher.build(STUDENT, '')
    with pytest.raises(UserError, match=message):
        teacher.prepare(dataset)


NUMBER = 'a number says no place'


@pytest.mark.parametrize(
    'names, student, message',
    [
        ([f'limb {k}' for k in range(17)], JOINTS, "has no keypoint of the student's"),
        *(
            ([f'{name}{k}' for k in range(17)], JOINTS._replace(names=tuple(f'{name}{k}' for k in range(17))), NUMBER)
            for name in ('', 'joint', 'joint_', 'keypoint', 'kpt-', 'Landmark ')
        ),
        (COCO, None, 'set model.metainfo'),
    ],
)
def test_a_record_whose_joints_are_not_the_students_is_refused(record, names, student, message):
    teacher = RecordedTeacher(record(names=map(str, names)))
    teacher.build(STUDENT, '')
    with pytest.raises(UserError, match=message):
        teacher.match(student, 17)


def test_numbered_joints_are_matched_within_one_data_set(record):
    numbers = [str(k) for k in range(17)]
    teacher = RecordedTeacher(record(names=numbers, change=lambda content: content.update(info=dict(dataset='coco'))))
    teacher.build(STUDENT, '')
    teacher.match(JOINTS._replace(names=tuple(reversed(numbers))), 17)
    assert np.array_equal(teacher.keypoints, teacher.records[0].keypoints[:, ::-1])


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda content: content['annotations'][0].pop('keypoint_scores'), 'no record of a teacher'),
        (lambda content: content['annotations'].append(content['annotations'][0]), 'recorded twice'),
        (lambda content: content['annotations'][0]['keypoints'].__setitem__(0, float('nan')), 'that is no number'),
        (lambda content: content['annotations'][0].update(bbox=[float('nan')] * 4), 'that is no number'),
        (lambda content: content['images'][0].update(width=None), 'that is no number'),
        (lambda content: content['images'][0].update(width=10**400), 'no record of a teacher'),
        (lambda content: content['annotations'][0].update(keypoint_scores=[5] * 17), 'outside of 0 and 1'),
        (lambda content: content['annotations'][0].update(keypoint_scores=[-1] * 17), 'outside of 0 and 1'),
        (lambda content: content['annotations'][0].update(keypoints=[1e30] * 51), 'far from any image'),
        (lambda content: content['annotations'][0].update(id=[1]), 'no record of a teacher'),
        (lambda content: content['images'][0].pop('file_name'), 'no record of a teacher'),
        (lambda content: content.update(info='x'), 'no record of a teacher'),
        (lambda content: content.update(annotations=[]), 'a pose of nobody'),
        (lambda content: content['categories'][0].update(keypoints=['a'] * 17), 'two keypoints of one name'),
    ],
)
def test_a_damaged_record_is_refused(record, change, message):
    with pytest.raises(UserError, match=message):
        RecordedTeacher(record(change=change)).build(STUDENT, '')


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(teacher_flip_test=True, metainfo='CocoDataset'), 'belong to the recording'),
        (dict(teacher_checkpoint='x.pth'), 'teacher_checkpoint is for MMPose networks'),
        (dict(teacher=dict(type='RecordedTeacher', file='x.json', missing='maybe')), '"error" or "untaught"'),
        (dict(teacher=dict(type='RecordedTeacher', files='x.json')), 'model.teacher=RecordedTeacher: .*files'),
    ],
)
def test_options_that_are_not_a_records_are_named(stage2, record, options, message):
    cfg = recorded(stage2(), record())
    cfg.model.update(options)
    with pytest.raises(UserError, match=message):
        MODELS.build(cfg.model)


def test_what_is_not_recorded_can_be_left_untaught(dataset, record):
    """The others teach what they know: keypoints by name, and by their confidence."""

    def change(content):
        content['annotations'].pop(1)
        for annotation in content['annotations']:
            del annotation['keypoints'][:3], annotation['keypoint_scores'][0]

    file = record(change=change, names=COCO[1:])
    teacher = RecordedTeacher(file, missing='untaught', confidence_power=1.0)
    teacher.build(STUDENT, '')
    teacher.match(JOINTS, 17)
    teacher.prepare(dataset)
    frame = dict(matrix=np.eye(3)[:2], swaps=False)
    samples = [SimpleNamespace(input_frame=dict(frame, key=(f'{i}.png', i))) for i in range(1, 7)]
    outputs = teacher(torch.zeros(1), samples)
    assert outputs.weights[1].max() == 0 and outputs.weights[:, 0].max() == 0
    assert torch.equal(outputs.weights[2, 1:], outputs.scores[2, 1:]) and outputs.weights[2, 1:].min() > 0
    labels = json.loads(Path(file).read_text())['annotations'][1]['keypoints']
    assert outputs.coords[2, 5].tolist() == pytest.approx(labels[12:14], abs=1e-4)


@pytest.mark.parametrize(
    'losses, message',
    [
        (dict(loss_feat=dict(type='FeatureMSELoss', student_channels=8, teacher_channels=12)), 'teacher offers none'),
        (dict(loss_bins=dict(type='SimCCLogitKDLoss')), 'SimCC bins, but the teacher offers coordinates'),
    ],
)
def test_a_loss_that_needs_more_than_a_pose_says_so(make_config, record, losses, message):
    cfg = recorded(make_config('stage1_structure.py'), record())
    cfg.model.type, cfg.model.distill_losses = 'PoseDistiller', losses
    with pytest.raises(UserError, match=message):
        MODELS.build(cfg.model).init_weights()


def test_two_label_files_have_a_record_each(toy_data, tmp_path):
    """Of a combined data set, whose parts number their annotations alike."""
    other = write_toy_data(tmp_path / 'other')
    labels = json.loads((other / 'labels.json').read_text())
    for image in labels['images']:
        (other / 'images' / image['file_name']).rename(other / 'images' / f'x{image["file_name"]}')
        image['file_name'] = f'x{image["file_name"]}'
    (other / 'labels.json').write_text(json.dumps(labels))
    files = [write_record(folder / 'labels.json', tmp_path / f'{k}.json') for k, folder in enumerate((toy_data, other))]
    parts = [
        dict(type='CocoDataset', data_root=str(folder), ann_file='labels.json', data_prefix=dict(img='images/'))
        for folder in (toy_data, other)
    ]
    combined = DATASETS.build(
        dict(
            type='CombinedDataset',
            metainfo=dict(from_file='configs/_base_/datasets/coco.py'),
            datasets=parts,
            pipeline=pipeline('horizontal', False),
        )
    )
    teacher = RecordedTeacher(files)
    teacher.build(STUDENT, '')
    teacher.match(JOINTS, 17)
    teacher.prepare(combined)
    RecordedTeacherHook()._frame(SimpleNamespace(train_dataloader=SimpleNamespace(dataset=combined)))
    sample = combined[len(combined) - 1]['data_samples']
    joints = teacher(torch.zeros(1), [sample]).coords[0].numpy()
    labels = sample.gt_instances.transformed_keypoints[0]
    assert np.abs(joints - labels)[sample.gt_instances.keypoints_visible[0] > 0].max() < 1e-3
