from typing import Sequence, Tuple

import torch
from mmpose.registry import MODELS
from torch import Tensor, nn

from ...errors import UserError
from ...poses import PoseOutputs, labeled_joints
from .checks import check_shapes


def normalize_coords(coords: Tensor, input_size: Tuple[int, int]) -> Tensor:
    """Input pixels to [-1, 1] across the input: (x / (W-1))·2 - 1, (y / (H-1))·2 - 1."""
    width, height = input_size
    return torch.stack([coords[..., 0] * (2 / (width - 1)) - 1, coords[..., 1] * (2 / (height - 1)) - 1], dim=-1)


def denormalize_coords(coords: Tensor, input_size: Tuple[int, int]) -> Tensor:
    """[-1, 1] across the input to input pixels, the inverse of :func:`normalize_coords`."""
    width, height = input_size
    return torch.stack([(coords[..., 0] + 1) * ((width - 1) / 2), (coords[..., 1] + 1) * ((height - 1) / 2)], dim=-1)


def progressive_pose_loss(
    preds: Sequence[Tensor],
    target: Tensor,
    mask: Tensor,
    input_size: Tuple[int, int],
    stage_weights: Sequence[float] = (0.3, 0.5, 1.0),
) -> Tensor:
    r"""Weighted sum of the L1 distances of the progressive poses to one target (Eq. 6 and 7 of the paper).

    .. math::
        L_{s2} = \sum_i \lambda_i L_i, \qquad
        L_i = \frac{1}{N} \sum_n \sum_k M_{nk} \left\| P_{nk} - \hat P^i_{nk} \right\|_1

    with both poses normalized to [-1, 1] and :math:`M` 1 for keypoints with a label.

    Args:
        preds: The poses, coarse to fine, each N×K×2 in input pixels.
        target: N×K×2, input pixels.
        mask: N×K.
        input_size: (W, H) in pixels.
        stage_weights: :math:`\lambda_i`, one a pose.

    Returns:
        Scalar, fp32.

    Raises:
        ValueError: The shapes differ, or there is not one weight a pose.
    """
    if len(preds) != len(stage_weights):
        raise ValueError(f'progressive_pose_loss weighs {len(stage_weights)} poses, got {len(preds)}')
    for pred in preds:
        check_shapes('progressive_pose_loss', pred, target, mask)
    target = normalize_coords(target.float(), input_size)
    total = target.new_zeros(())
    for weight, pred in zip(stage_weights, preds):
        distance = (target - normalize_coords(pred.float(), input_size)).abs().sum(-1)
        total = total + weight * (distance * mask).sum() / len(mask)
    return total


@MODELS.register_module()
class ProgressivePoseLoss(nn.Module):
    """:func:`progressive_pose_loss` of a refiner against the teacher's decoded pose.

    Args:
        stage_weights: λ of Eq. 7, coarse to fine.
        labeled_only: Eq. 6's mask M. False teaches every keypoint.
        loss_weight: Factor on the sum.
    """

    def __init__(
        self,
        stage_weights: Sequence[float] = (0.3, 0.5, 1.0),
        labeled_only: bool = True,
        loss_weight: float = 1.0,
    ):
        super().__init__()
        self.stage_weights = tuple(stage_weights)
        self.labeled_only = labeled_only
        self.loss_weight = loss_weight

    def forward(self, student: PoseOutputs, teacher: PoseOutputs, data_samples: Sequence) -> Tensor:
        """Scalar."""
        mask = self.mask(data_samples, teacher.peaks)
        if teacher.weights is not None:
            mask = mask * teacher.weights
        return self.loss_weight * progressive_pose_loss(
            student.refined, teacher.peaks, mask, student.input_size, self.stage_weights
        )

    def mask(self, data_samples: Sequence, coords: Tensor) -> Tensor:
        if self.labeled_only:
            return labeled_joints(data_samples, coords.device)
        return torch.ones_like(coords[..., 0])

    def check(self, student: PoseOutputs, teacher: PoseOutputs) -> None:
        """Raises UserError if the student's head refines no pose, or the stages and their weights differ in number."""
        if len(student.refined) != len(self.stage_weights):
            raise UserError(
                f'ProgressivePoseLoss weighs {len(self.stage_weights)} poses, the student refines '
                f'{len(student.refined)}: its head must be an IGPGCNHead, and stage_weights hold one number for each '
                'of in_channels'
            )
