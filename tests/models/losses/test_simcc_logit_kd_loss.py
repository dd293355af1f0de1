from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmpose.models.losses import KDLoss
from mmpose.registry import MODELS

from mmpose_tskd.errors import UserError
from mmpose_tskd.models.losses import SimCCLogitKDLoss, simcc_logit_kd_loss
from mmpose_tskd.poses import PoseOutputs


def outputs(simcc=None, heatmaps=None, weights=None, **codec):
    reader = SimpleNamespace(codec=SimpleNamespace(**codec))
    return PoseOutputs(feats=(), reader=reader, heatmaps=heatmaps, simcc=simcc, weights=weights)


@pytest.fixture
def logits():
    """Two instances' logits of a student and of a teacher: three keypoints, six bins in x and eight in y."""
    return [tuple(4 * torch.randn(2, 3, bins) for bins in (6, 8)) for _ in range(2)]


def divergences_by_hand(student, teacher, temperature):
    """N×K."""
    total = 0
    for s, t in zip(student, teacher):
        p, q = (np.exp(v.double().numpy() / temperature) for v in (t, s))
        p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
        total = total + (p * np.log(p / q)).sum(-1)
    return total


@pytest.mark.parametrize('temperature', [1.0, 3.0])
def test_the_value_by_hand(logits, temperature):
    expected = temperature**2 * divergences_by_hand(*logits, temperature)
    assert simcc_logit_kd_loss(*logits, None, temperature).item() == pytest.approx(expected.mean(), rel=1e-5)
    weights = torch.tensor([[1.0, 0.5, 0.0]])
    weighted = (expected * weights.numpy()).sum() / 6
    assert simcc_logit_kd_loss(*logits, weights, temperature).item() == pytest.approx(weighted, rel=1e-5)


def test_the_default_is_mmposes_loss_for_dwpose(logits):
    beta = 10.0
    theirs = KDLoss(name='loss_logit', use_this=True, weight=0.1)(*logits, beta, None).item()
    student, teacher = (outputs(tuple(beta * v for v in network)) for network in logits)
    loss = MODELS.build(dict(type='SimCCLogitKDLoss'))
    assert loss(student, teacher, samples([1.0, 1.0, 0.0], [0.0, 1.0, 1.0])).item() == pytest.approx(theirs, rel=1e-5)


def samples(*keypoint_weights):
    """One sample an instance."""
    return [
        SimpleNamespace(gt_instance_labels=SimpleNamespace(keypoint_weights=torch.tensor([weights])))
        for weights in keypoint_weights
    ]


def test_joints_count_by_their_labels_and_by_the_teacher(logits):
    student, teacher = outputs(logits[0]), outputs(logits[1], weights=torch.tensor([[1.0, 1.0, 0.0]]))
    loss = SimCCLogitKDLoss(use_target_weight=True, loss_weight=1.0)
    value = loss(student, teacher, samples([1.0, 0.0, 1.0], [0.0, 0.5, 0.0])).item()
    factors = np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.0]])
    assert value == pytest.approx((divergences_by_hand(*logits, 1) * factors).mean(), rel=1e-5)


def test_the_same_logits_cost_nothing_and_a_constant_changes_nothing(logits):
    moved = tuple(v + 7 for v in logits[0])
    assert simcc_logit_kd_loss(moved, logits[0]).item() == pytest.approx(0, abs=1e-5)


def test_the_gradient_is_the_difference_of_the_distributions(logits):
    """And so is the cross entropy's of DWPose's text; the temperature leaves its size."""
    student = tuple(v.clone().requires_grad_() for v in logits[0])
    simcc_logit_kd_loss(student, logits[1]).backward()
    for s, t in zip(student, logits[1]):
        torch.testing.assert_close(s.grad, (s.detach().softmax(-1) - t.softmax(-1)) / 6)


def test_certain_networks_have_finite_gradients():
    student = tuple(torch.tensor([[[1e4, 0.0, 0.0]]]).requires_grad_() for _ in 'xy')
    loss = simcc_logit_kd_loss(student, tuple(torch.tensor([[[0.0, 0.0, 1e4]]]) for _ in 'xy'))
    loss.backward()
    assert loss.isfinite() and all(s.grad.isfinite().all() for s in student)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_it_is_fp32_for_half_precision(dtype, logits):
    half = [tuple(v.to(dtype) for v in network) for network in logits]
    assert simcc_logit_kd_loss(*half).dtype == torch.float32


def test_a_temperature_is_positive():
    with pytest.raises(UserError, match='temperature must be positive, not 0'):
        SimCCLogitKDLoss(temperature=0)


def bins(x, y):
    return outputs((torch.zeros(1, 3, x), torch.zeros(1, 3, y)))


MAPS = outputs(heatmaps=torch.zeros(1, 3, 4, 5))


@pytest.mark.parametrize(
    'student, teacher, message',
    [
        (MAPS, bins(6, 8), 'SimCC bins, but the student offers heatmaps: use PoseL1Loss'),
        (bins(6, 8), MAPS, 'SimCC bins, but the teacher offers heatmaps: use PoseL1Loss'),
        (MAPS, MAPS, 'use HeatmapMSELoss, or PoseL1Loss'),
        (bins(6, 8), bins(12, 16), r'the student has \(6, 8\) of them .* the teacher \(12, 16\): .*simcc_split_ratio'),
    ],
)
def test_it_compares_bins_of_one_number(student, teacher, message):
    loss = SimCCLogitKDLoss()
    loss.check(bins(6, 8), bins(6, 8))
    with pytest.raises(UserError, match=f'^SimCCLogitKDLoss .*{message}'):
        loss.check(student, teacher)


def test_bins_that_encode_a_joint_differently_are_not_compared():
    """Equal poses would cost something: 3.35 between a label-smoothed teacher and RTMPose's Gaussian."""
    smoothed, gaussian = ((torch.zeros(1, 3, 6), torch.zeros(1, 3, 8)) for _ in range(2))
    teacher = outputs(smoothed, smoothing_type='standard', sigma=6.0, label_smooth_weight=0.1)
    student = outputs(gaussian, smoothing_type='gaussian', sigma=6.0, label_smooth_weight=0.0)
    SimCCLogitKDLoss().check(student, student)
    with pytest.raises(UserError, match="keypoint by .*gaussian.*, the teacher's by .*standard.*use PoseL1Loss"):
        SimCCLogitKDLoss().check(student, teacher)
