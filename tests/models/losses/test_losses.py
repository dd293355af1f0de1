"""Each formula against values worked out by hand."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from mmpose.registry import MODELS

from mmpose_tskd.errors import UserError
from mmpose_tskd.models import losses
from mmpose_tskd.models.losses import (
    FeatureMSELoss,
    PoseL1Loss,
    ProgressivePoseLoss,
    StructureLoss,
    feature_mse_loss,
    pose_l1_loss,
    progressive_pose_loss,
    simcc_kl_loss,
    structure_loss,
)
from mmpose_tskd.poses import load_skeleton

LINE = dict(
    dataset_name='line',
    keypoint_info={
        k: dict(name=name, id=k, color=[0, 0, 0], type='', swap='') for k, name in enumerate(['a', 'b', 'c'])
    },
    skeleton_info={0: dict(link=('a', 'b'), id=0), 1: dict(link=('b', 'c'), id=1)},
    joint_weights=[1.0] * 3,
    sigmas=[0.1, 0.1, 0.3],
)


def poses(coords=None, peaks=None, feats=(), refined=(), input_size=(101, 201), weights=None):
    return SimpleNamespace(
        coords=coords, peaks=peaks, feats=feats, refined=refined, input_size=input_size, weights=weights
    )


def test_simcc_kl_sums_over_bins_and_joints_and_averages_over_the_batch():
    # two instances, two keypoints, two bins; the prediction is uniform, the target 0.75 / 0.25 in x and certain in y
    pred = (torch.zeros(2, 2, 2), torch.zeros(2, 2, 2))
    target = (torch.tensor([0.75, 0.25]).expand(2, 2, 2), torch.tensor([1.0, 0.0]).expand(2, 2, 2))
    one = 0.75 * math.log(0.75 * 2) + 0.25 * math.log(0.25 * 2) + math.log(2)
    assert simcc_kl_loss(pred, target, torch.ones(2, 2)).item() == pytest.approx(2 * one, abs=1e-6)
    weight = torch.tensor([[1.0, 0.0], [0.5, 0.0]])
    assert simcc_kl_loss(pred, target, weight).item() == pytest.approx(0.75 * one, abs=1e-6)


def test_simcc_kl_of_the_target_itself_is_zero():
    target = torch.rand(2, 3, 8).softmax(-1)
    assert simcc_kl_loss((target.log(),) * 2, (target,) * 2, torch.ones(2, 3)).item() == pytest.approx(0, abs=1e-6)


def test_feature_mse_in_both_reductions():
    student, teacher = torch.zeros(2, 3, 4, 5), torch.full((2, 3, 4, 5), 2.0)
    assert feature_mse_loss(student, teacher, 'sum').item() == 4 * 60
    assert feature_mse_loss(student, teacher, 'mean').item() == 4


def test_feature_mse_adapts_the_students_channels():
    loss = FeatureMSELoss(student_channels=1, teacher_channels=2, loss_weight=0.5)
    torch.nn.init.ones_(loss.adapter.weight)
    loss.adapter.bias.data = torch.tensor([0.0, 1.0])
    student, teacher = torch.ones(1, 1, 2, 2), torch.zeros(1, 2, 2, 2)
    # the adapter answers 1 and 2: 4 · (1 + 4), halved
    assert loss(poses(feats=(student,)), poses(feats=(teacher,)), None).item() == 10


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(student_channels=3), r'student_channels=3, but map -1 of the student has 1 channels of 2×2'),
        (dict(teacher_channels=3), r'set teacher_channels=2'),
        (dict(teacher_index=1), r'teacher_index=1 is none of .* \(0: 2 channels of 4×4\)'),
    ],
)
def test_feature_mse_names_the_maps_that_do_not_fit(options, message):
    loss = FeatureMSELoss(**{**dict(student_channels=1, teacher_channels=2), **options})
    with pytest.raises(UserError, match=message):
        loss.check(poses(feats=(torch.ones(1, 1, 2, 2),)), poses(feats=(torch.ones(1, 2, 4, 4),)))


@pytest.mark.parametrize('student_size, teacher_size', [((4, 3), (8, 6)), ((8, 6), (4, 3)), ((6, 5), (9, 4))])
def test_feature_maps_of_two_sizes_are_compared_at_the_smaller(student_size, teacher_size):
    """Maps that show the same slope, each at its own resolution, differ in nothing."""

    def slope(height, width):
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing='ij')
        return (x / width + 2 * y / height)[None, None]

    loss = FeatureMSELoss(1, 1, reduction='mean', loss_weight=1.0)
    torch.nn.init.ones_(loss.adapter.weight)
    torch.nn.init.zeros_(loss.adapter.bias)
    student, teacher = slope(*student_size), slope(*teacher_size)
    assert loss(poses(feats=(student,)), poses(feats=(teacher,)), None).item() < 4e-3
    off = loss(poses(feats=(student,)), poses(feats=(teacher + 1,)), None).item()
    assert off == pytest.approx(1, abs=0.02)


def test_pose_l1_sums_joints_and_averages_people():
    student = torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    teacher = torch.tensor([[[3.0, -4.0], [1.0, 2.0]], [[0.0, 0.0], [2.0, 0.0]]])
    assert pose_l1_loss(student, teacher).item() == (7 + 1 + 2) / 2
    assert pose_l1_loss(student, teacher, torch.tensor([[1.0, 0.0], [1.0, 1.0]])).item() == (7 + 2) / 2


def test_pose_l1_module_weighs_and_chooses_the_target():
    student = poses(coords=torch.zeros(1, 1, 2))
    teacher = poses(coords=torch.ones(1, 1, 2), peaks=torch.full((1, 1, 2), 3.0))
    assert PoseL1Loss()(student, teacher, None).item() == pytest.approx(0.2)
    assert PoseL1Loss(hard_teacher=True)(student, teacher, None).item() == pytest.approx(0.6)
    sample = SimpleNamespace(gt_instance_labels=SimpleNamespace(keypoint_weights=torch.zeros(1, 1)))
    assert PoseL1Loss(use_target_weight=True)(student, teacher, [sample]).item() == 0


def test_structure_loss_compares_lengths_person_by_person():
    edges, ones = torch.tensor([[0, 1], [1, 2]]), torch.ones(2)
    teacher = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]]] * 2)  # limbs of 5 and 0
    # first instance: limbs of 10 and 0; second: 0 and 0. Errors of opposite sign do not cancel.
    student = torch.tensor([[[0.0, 0.0], [6.0, 8.0], [6.0, 8.0]], [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    assert structure_loss(student, teacher, edges, ones, 'length').item() == (5 + 5) / 2
    assert structure_loss(student, teacher, edges, torch.tensor([2.0, 7.0]), 'length').item() == 10
    assert structure_loss(student, teacher, edges, ones, 'vector').item() == (7 + 7) / 2


def test_structure_loss_sees_direction_only_as_vector():
    edges, ones = torch.tensor([[0], [1]]), torch.ones(1)
    student, teacher = torch.tensor([[[0.0, 0.0], [5.0, 0.0]]]), torch.tensor([[[0.0, 0.0], [0.0, 5.0]]])
    assert structure_loss(student, teacher, edges, ones, 'length').item() == 0
    assert structure_loss(student, teacher, edges, ones, 'vector').item() == 10


def test_structure_loss_has_a_gradient_where_a_limb_has_no_length():
    student = torch.zeros(1, 2, 2, requires_grad=True)
    structure_loss(student, torch.ones(1, 2, 2), torch.tensor([[0], [1]]), torch.ones(1), 'length').backward()
    assert student.grad.isfinite().all()


def structure(metainfo, **options):
    """The loss, told the keypoints."""
    loss = StructureLoss(**options)
    loss.set_skeleton(load_skeleton(metainfo), torch.device('cpu'))
    return loss


def test_structure_loss_takes_edges_and_weights_from_the_skeleton(tmp_path):
    assert structure(LINE).edges.tolist() == [[0, 1], [1, 2]]
    assert structure(LINE).edge_weights.tolist() == [1, 1]
    # 1 / 0.2 and 1 / 0.4, scaled to a mean of 1
    assert structure(LINE, edge_weights='sigma').edge_weights.tolist() == pytest.approx([4 / 3, 2 / 3])
    assert structure(LINE, edge_weights=[1, 5]).edge_weights.tolist() == [1, 5]
    # limb a-b: 0.1 and 0.3 of the box's longer side, b-c: 0.1 and 0.5, so standard deviations of 0.1 and 0.2
    people = [
        dict(bbox=[0, 0, 50, 100], keypoints=[0, 0, 2, 10, 0, 2, 20, 0, 2]),
        dict(bbox=[0, 0, 200, 100], keypoints=[0, 0, 2, 60, 0, 2, 160, 0, 1]),
        dict(bbox=[0, 0, 200, 100], keypoints=[0, 0, 0, 60, 0, 0, 99, 0, 2]),
    ]
    ann_file = tmp_path / 'labels.json'
    ann_file.write_text(json.dumps(dict(annotations=people)))
    loss = structure(LINE, edge_weights='length_std', ann_file=str(ann_file))
    assert loss.edge_weights.tolist() == pytest.approx([4 / 3, 2 / 3])


def test_labels_that_structure_loss_takes_its_weights_from_are_needed_for_training_alone(tmp_path):
    file = tmp_path / 'gone.json'
    gone = StructureLoss(edge_weights='length_std', ann_file=str(file))
    with pytest.raises(UserError, match='StructureLoss.ann_file: there is no .*gone.json'):
        gone.set_skeleton(load_skeleton(LINE), torch.device('cpu'))
    file.write_text(json.dumps(dict(annotations=[dict(bbox=[0, 0, 9, 9], keypoints=[1, 1, 2] * 17)])))
    with pytest.raises(UserError, match='labels 17 keypoints, the metainfo has 3'):
        gone.set_skeleton(load_skeleton(LINE), torch.device('cpu'))


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(edge_form='angle'), 'edge_form'),
        (dict(edge_weights='learned'), 'edge_weights'),
        (dict(edge_weights=[1.0]), '1 numbers for 2 limbs'),
        (dict(edge_weights='length_std'), 'ann_file'),
    ],
)
def test_structure_loss_refuses_unknown_options(options, message):
    with pytest.raises(UserError, match=message):
        structure(LINE, **options)


def test_progressive_loss_weighs_stages_and_masks_joints():
    # 101×201 pixels: 50 pixels are 1 in x, 100 pixels are 1 in y
    target = torch.tensor([[[0.0, 0.0], [0.0, 0.0]]])
    preds = [torch.tensor([[[50.0, 0.0], [100.0, 200.0]]]), torch.tensor([[[0.0, 100.0], [0.0, 0.0]]])]
    mask = torch.tensor([[1.0, 0.0]])
    assert progressive_pose_loss(preds, target, mask, (101, 201), (0.3, 0.5)).item() == pytest.approx(0.3 + 0.5)
    assert progressive_pose_loss(preds, target, mask + 1, (101, 201), (0.3, 0.5)).item() == pytest.approx(
        0.3 * (2 * 1 + 4) + 0.5 * 2
    )


def test_progressive_module_masks_what_has_no_label():
    sample = SimpleNamespace(gt_instances=SimpleNamespace(keypoints_visible=torch.tensor([[1.0, 0.0]]).numpy()))
    student = poses(refined=[torch.full((1, 2, 2), 50.0)] * 3)
    teacher = poses(peaks=torch.zeros(1, 2, 2))
    # x is off by 1 and y by 0.5, times 0.3 + 0.5 + 1
    assert ProgressivePoseLoss()(student, teacher, [sample]).item() == pytest.approx(1.5 * 1.8)
    assert ProgressivePoseLoss(labeled_only=False)(student, teacher, [sample]).item() == pytest.approx(3 * 1.8)


def test_progressive_module_wants_a_refiner():
    with pytest.raises(UserError, match='IGPGCNHead'):
        ProgressivePoseLoss().check(poses(), poses(peaks=torch.zeros(1, 2, 2)))


def test_a_joint_counts_by_the_teachers_weight_and_a_limb_by_both_its_ends():
    weights = torch.tensor([[1.0, 0.5, 0.0]])
    student = poses(coords=torch.zeros(2, 3, 2), refined=(torch.zeros(2, 3, 2),) * 3)
    at = torch.tensor([[[0.0, 0.0], [4.0, 0.0], [4.0, 3.0]]] * 2)
    teacher = poses(coords=at, peaks=at, weights=weights)
    assert PoseL1Loss(loss_weight=1.0)(student, teacher, None).item() == 2  # 0.5·4
    chain = dict(
        dataset_name='chain',
        paper_info={},
        keypoint_info={i: dict(name=f'j{i}', id=i, color=[0, 0, 0], type='', swap='') for i in range(3)},
        skeleton_info={i: dict(link=(f'j{i}', f'j{i + 1}'), id=i, color=[0, 0, 0]) for i in range(2)},
        joint_weights=[1.0] * 3,
        sigmas=[0.05] * 3,
    )
    assert structure(chain, loss_weight=1.0)(student, teacher, None).item() == 2  # 0.5·4 + 0·3
    one = ProgressivePoseLoss(labeled_only=False)(student, teacher, None)
    all_joints = ProgressivePoseLoss(labeled_only=False)(student, poses(peaks=at), None)
    assert 0 < one < all_joints


def test_losses_are_registered_with_the_papers_weights():
    assert MODELS.build(dict(type='FeatureMSELoss', student_channels=1, teacher_channels=1)).loss_weight == 5e-5
    assert MODELS.build(dict(type='PoseL1Loss')).loss_weight == 0.1
    assert MODELS.build(dict(type='StructureLoss')).loss_weight == 0.1
    assert MODELS.build(dict(type='ProgressivePoseLoss')).stage_weights == (0.3, 0.5, 1.0)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_losses_are_fp32_for_half_precision(dtype):
    x, y = torch.zeros(1, 2, 3, dtype=dtype), torch.zeros(1, 2, 3, dtype=dtype)
    target = torch.full((1, 2, 3), 1 / 3)
    assert simcc_kl_loss((x, y), (target, target), torch.ones(1, 2)).dtype == torch.float32
    feats = torch.full((1, 200, 64, 64), 2.0, dtype=dtype)  # the sum exceeds fp16's range
    assert feature_mse_loss(feats, feats * 0, 'sum').item() == 4 * 200 * 64 * 64


TWO, ONE = torch.zeros(2, 17, 2), torch.zeros(1, 17, 2)
EDGES, LIMBS = torch.tensor([[0], [1]]), torch.ones(1)


@pytest.mark.parametrize(
    'call',
    [
        lambda: losses.pose_l1_loss(TWO, ONE),
        lambda: losses.pose_l1_loss(TWO, TWO, torch.ones(2, 16)),
        lambda: losses.structure_loss(TWO, ONE, EDGES, LIMBS, 'length'),
        lambda: losses.progressive_pose_loss([TWO], ONE, torch.ones(2, 17), (64, 96), [1.0]),
        lambda: losses.progressive_pose_loss([TWO], TWO, torch.ones(2, 17), (64, 96), [1.0, 1.0]),
        lambda: losses.feature_mse_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 1, 4)),
        lambda: losses.heatmap_mse_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4)),
        lambda: losses.joint_affinity_loss(torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4)),
        lambda: losses.simcc_logit_kd_loss((TWO, TWO), (ONE, TWO)),
        lambda: losses.simcc_kl_loss((TWO, TWO), (TWO, ONE), torch.ones(2, 17)),
    ],
)
def test_a_loss_compares_tensors_of_one_shape(call):
    with pytest.raises(ValueError, match='_loss (compares|takes|weighs)'):
        call()


def test_a_loss_refuses_an_unknown_option():
    with pytest.raises(ValueError, match="reduction is one of 'sum', 'mean', not 'none'"):
        losses.feature_mse_loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), reduction='none')
    with pytest.raises(ValueError, match='edge_form'):
        losses.structure_loss(TWO, TWO, EDGES, LIMBS, 'lengths')
