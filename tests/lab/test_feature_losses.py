import pytest
import torch

from mmpose_tskd.lab.losses import ChannelWiseLoss, CorrelationLoss
from mmpose_tskd.poses import PoseOutputs


def outputs(feat):
    return PoseOutputs(feats=(feat,), reader=None)


@pytest.fixture(params=[CorrelationLoss, ChannelWiseLoss])
def loss(request):
    made = request.param(student_channels=3, teacher_channels=3, loss_weight=2.0)
    torch.nn.init.dirac_(made.adapter.weight)
    torch.nn.init.zeros_(made.adapter.bias)
    return made


def test_equal_features_cost_nothing_and_others_do(loss):
    feat, other = torch.randn(2, 4, 3, 6, 5)
    assert loss(outputs(feat), outputs(feat), []).item() == pytest.approx(0, abs=1e-5)
    assert loss(outputs(feat), outputs(other), []) > 0.01


def test_the_correlation_does_not_see_the_scale_of_a_channel():
    loss = CorrelationLoss(student_channels=3, teacher_channels=3)
    torch.nn.init.dirac_(loss.adapter.weight)
    torch.nn.init.zeros_(loss.adapter.bias)
    feat = torch.randn(4, 3, 6, 5)
    scaled = 7 * feat + torch.tensor([1.0, -2.0, 3.0])[:, None, None]
    assert loss(outputs(feat), outputs(scaled), []).item() == pytest.approx(0, abs=1e-5)
    opposite = loss(outputs(feat), outputs(-feat), [])
    assert opposite.item() == pytest.approx(loss.loss_weight * 2, rel=0.02)  # (1 + 1)² / 2
