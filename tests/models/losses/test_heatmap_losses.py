"""The losses between two networks' heatmaps, against NumPy and MMPose's own."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmpose.models.losses import KeypointMSELoss
from mmpose.registry import MODELS

from mmpose_tskd.errors import UserError
from mmpose_tskd.models.losses import HeatmapMSELoss, JointAffinityLoss, heatmap_mse_loss, joint_affinity_loss
from mmpose_tskd.poses import PoseOutputs


def outputs(heatmaps=None, simcc=None, weights=None, sigma=2, unbiased=False):
    reader = SimpleNamespace(codec=SimpleNamespace(sigma=sigma, unbiased=unbiased))
    return PoseOutputs(feats=(), reader=reader, heatmaps=heatmaps, simcc=simcc, weights=weights)


def samples(*keypoint_weights):
    """One sample an instance."""
    return [
        SimpleNamespace(gt_instance_labels=SimpleNamespace(keypoint_weights=torch.tensor([weights])))
        for weights in keypoint_weights
    ]


@pytest.fixture
def maps():
    """Two instances' heatmaps of a student and of a teacher, three keypoints each."""
    return torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)


WEIGHTS = torch.tensor([[1.0, 0.5, 0.0], [0.25, 0.0, 1.0]])


def affinities_by_hand(heatmaps):
    """N×K×K cosines, one pair at a time."""
    people, joints = heatmaps.shape[:2]
    out = np.zeros((people, joints, joints))
    for n, i, j in np.ndindex(out.shape):
        first, second = heatmaps[n, i].ravel().astype(float), heatmaps[n, j].ravel().astype(float)
        out[n, i, j] = first @ second / np.sqrt((first @ first) * (second @ second))
    return out


@pytest.mark.parametrize('weights', [None, WEIGHTS, WEIGHTS[:1]])
def test_heatmap_mse_by_hand(maps, weights):
    student, teacher = (m.numpy() for m in maps)
    factor = np.ones((2, 3)) if weights is None else weights.numpy()
    squares = factor[..., None, None] * (student - teacher) ** 2
    assert heatmap_mse_loss(*maps, weights).item() == pytest.approx(squares.sum() / (2 * 3 * 4 * 5))


def test_heatmap_mse_is_normalized_as_mmposes(maps):
    """So that the weights a and 1 - a of the two mix as FPD's."""
    assert heatmap_mse_loss(*maps).item() == pytest.approx(KeypointMSELoss()(*maps).item())
    theirs = KeypointMSELoss(use_target_weight=True)(*maps, WEIGHTS).item()
    assert heatmap_mse_loss(*maps, WEIGHTS).item() == pytest.approx(theirs)


def test_heatmap_mse_module_takes_the_batchs_and_the_teachers_weights(maps):
    student, teacher = outputs(maps[0]), outputs(maps[1], weights=torch.tensor([[1.0, 0.0, 1.0]]))
    labeled = samples([1.0, 1.0, 0.0], [0.0, 1.0, 1.0])
    only_teachers = heatmap_mse_loss(*maps, torch.tensor([[1.0, 0.0, 1.0]] * 2)).item()
    assert HeatmapMSELoss()(student, teacher, labeled).item() == pytest.approx(only_teachers)
    both = heatmap_mse_loss(*maps, torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])).item()
    loss = HeatmapMSELoss(use_target_weight=True, loss_weight=0.5)
    assert loss(student, teacher, labeled).item() == pytest.approx(both / 2)
    labels_alone = heatmap_mse_loss(*maps, torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])).item()
    assert loss(student, outputs(maps[1]), labeled).item() == pytest.approx(labels_alone / 2)


@pytest.mark.parametrize('weights', [None, WEIGHTS, WEIGHTS[:1]])
def test_joint_affinity_by_hand(maps, weights):
    student, teacher = (affinities_by_hand(m.numpy()) for m in maps)
    factor = np.ones((2, 3)) if weights is None else np.broadcast_to(weights.numpy(), (2, 3))
    expected = np.mean([np.outer(w, w) * (s - t) ** 2 for s, t, w in zip(student, teacher, factor)])
    assert joint_affinity_loss(*maps, weights).item() == pytest.approx(expected, rel=1e-4)


def test_joint_affinity_needs_neither_one_resolution_nor_one_height():
    """Each keypoint's disc at another place: its own affinity alone, at any size."""
    small, large = torch.zeros(1, 2, 4, 3), torch.zeros(1, 2, 8, 6)
    small[0, 0, 1, 1] = small[0, 1, 3, 2] = 2.0
    large[0, 0, 2:4, 2:4] = large[0, 1, 6:8, 4:6] = 1.0
    assert joint_affinity_loss(small, large).item() == 0
    small[0, 1] = small[0, 0]  # the student takes the second keypoint for the first
    assert joint_affinity_loss(small, large).item() == pytest.approx(2 / 4)


def test_joint_affinity_of_an_empty_map_is_none_and_its_gradient_small():
    teacher = torch.zeros(1, 3, 4, 5)
    teacher[0, 0, 0, 0] = teacher[0, 1, 0, 0] = teacher[0, 2, 0, 1] = 3.0
    student = teacher.clone()
    student[0, 0] = 0
    student.requires_grad_()
    loss = joint_affinity_loss(student, teacher)
    # its affinity to itself and, on both sides, to its twin
    assert loss.item() == pytest.approx(3 / 9)
    loss.backward()
    assert student.grad.isfinite().all() and 0 < student.grad[0, 0].abs().max() < 1
    assert joint_affinity_loss(torch.zeros(1, 3, 4, 5), torch.zeros(1, 3, 4, 5)).item() == 0


@pytest.mark.parametrize('loss', [heatmap_mse_loss, joint_affinity_loss])
def test_the_same_heatmaps_cost_nothing(loss, maps):
    assert loss(maps[0], maps[0], WEIGHTS).item() == 0


@pytest.mark.parametrize('loss', [heatmap_mse_loss, joint_affinity_loss])
def test_gradients_are_those_of_the_values(loss, maps):
    student, teacher = (3 * m.double()[:1] for m in maps)
    half = dict(eps=1e-3, atol=1e-3)  # the losses are fp32
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, WEIGHTS[:1]), student.requires_grad_(), **half)


@pytest.mark.parametrize('loss', [heatmap_mse_loss, joint_affinity_loss])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_losses_are_fp32_for_half_precision(loss, dtype, maps):
    assert loss(*(m.to(dtype) for m in maps)).dtype == torch.float32


def test_joint_affinity_module_weighs_pairs_by_the_teachers_weights(maps):
    student, teacher = outputs(maps[0]), outputs(maps[1], weights=WEIGHTS)
    loss = JointAffinityLoss(loss_weight=0.5)
    assert loss(student, teacher, None).item() == pytest.approx(joint_affinity_loss(*maps, WEIGHTS).item() / 2)


BINS = (torch.zeros(1, 3, 8), torch.zeros(1, 3, 8))


@pytest.mark.parametrize('kind', ['HeatmapMSELoss', 'JointAffinityLoss'])
@pytest.mark.parametrize(
    'student, teacher, message',
    [
        (dict(simcc=BINS), {}, 'the student offers SimCC bins: use PoseL1Loss'),
        ({}, dict(simcc=BINS), 'the teacher offers SimCC bins: use PoseL1Loss'),
        (dict(simcc=BINS), dict(simcc=BINS), 'use SimCCLogitKDLoss, or PoseL1Loss'),
    ],
)
def test_bins_are_no_heatmaps(kind, student, teacher, message):
    networks = [outputs(**(network or dict(heatmaps=torch.zeros(1, 3, 4, 5)))) for network in (student, teacher)]
    with pytest.raises(UserError, match=f'^{kind} compares heatmaps, but .*{message}'):
        MODELS.build(dict(type=kind)).check(*networks)


def test_only_the_affinities_compare_heatmaps_of_two_sizes():
    student, teacher = outputs(torch.zeros(1, 3, 4, 5)), outputs(torch.zeros(1, 3, 8, 10))
    JointAffinityLoss().check(student, teacher)
    HeatmapMSELoss().check(student, student)
    with pytest.raises(UserError, match=r"the student's are \(5, 4\) \(w, h\) and the teacher's \(10, 8\)"):
        HeatmapMSELoss().check(student, teacher)


def test_heatmaps_that_draw_a_joint_differently_are_not_compared():
    student, teacher = outputs(torch.zeros(1, 3, 4, 5)), outputs(torch.zeros(1, 3, 4, 5), sigma=3)
    with pytest.raises(UserError, match=r"draws a keypoint by .*'sigma': 2, .*, the teacher's by .*'sigma': 3"):
        HeatmapMSELoss().check(student, teacher)
    with pytest.raises(UserError, match="'unbiased': False.*, the teacher's by .*'unbiased': True"):
        HeatmapMSELoss().check(student, outputs(torch.zeros(1, 3, 4, 5), unbiased=True))
    HeatmapMSELoss().check(student, outputs(torch.zeros(1, 3, 4, 5), sigma=2.0))


def test_affinities_are_fp32_under_autocast():
    maps = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = joint_affinity_loss(*maps)
    assert loss.dtype == torch.float32 and loss == joint_affinity_loss(*maps)
