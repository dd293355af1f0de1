"""A teacher that was asked once: its poses go where the labels go, and nothing else is taken for them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import INPUT_SIZE, train
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.runner import Runner
from mmpose.registry import DATASETS, MODELS

from mmpose_tskd.apis.record_teacher import open_teacher, record_teacher
from mmpose_tskd.engine.hooks.recorded_teacher_hook import RecordedTeacherHook
from mmpose_tskd.errors import UserError
from mmpose_tskd.models.teachers import RecordedTeacher

HOOK = dict(type='RecordedTeacherHook')
COCO = [
    'nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder', 'left_elbow',
    'right_elbow', 'left_wrist', 'right_wrist', 'left_hip', 'right_hip', 'left_knee', 'right_knee', 'left_ankle',
    'right_ankle',
]  # fmt: skip


STUDENT = SimpleNamespace(head=SimpleNamespace(out_channels=17), reader=SimpleNamespace(input_size=INPUT_SIZE))


def write_record(labels, out, names=COCO, change=lambda content: None):
    """The labels themselves as a record, every joint with a confidence of its own."""
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
