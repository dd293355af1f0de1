from typing import Sequence, Tuple

import torch
import torch.nn.functional as F
from mmpose.registry import MODELS
from torch import Tensor, nn

from ...errors import UserError
from ...poses import PoseOutputs
from .checks import check_option, check_shapes


def feature_mse_loss(student: Tensor, teacher: Tensor, reduction: str = 'sum') -> Tensor:
    r"""Squared distance of two feature maps (Eq. 1 of the paper, the student's already adapted).

    .. math::
        L_{fea} = \frac{1}{N} \sum_n \sum_{c,h,w} (F^t - f(F^s))^2 \quad (\text{'sum'}), \qquad
        L_{fea} = \frac{1}{NCHW} \sum_{n,c,h,w} (F^t - f(F^s))^2 \quad (\text{'mean'})

    ``'mean'`` is Eq. 1 to the letter; with the paper's weight of 5e-5 it has no effect. ``'sum'`` is how DWPose, whose
    weight this is, computes it.

    Args:
        student: N×C×H×W.
        teacher: N×C×H×W.
        reduction: ``'sum'`` or ``'mean'`` over C, H and W; the batch is always averaged.

    Returns:
        Scalar, fp32.

    Raises:
        ValueError: The shapes differ, or ``reduction`` is neither.

    Example:
        >>> student = torch.zeros(2, 32, 64, 48)
        >>> feature_mse_loss(student, student + 0.1, reduction='mean')
        tensor(0.0100)
    """
    check_option('reduction', reduction, ('sum', 'mean'))
    check_shapes('feature_mse_loss', student, teacher)
    squares = (student.float() - teacher.float()).square()
    return squares.mean() if reduction == 'mean' else squares.sum() / len(squares)


@MODELS.register_module()
class FeatureMSELoss(nn.Module):
    """:func:`feature_mse_loss` with the 1×1 convolution that adapts the student's channels to the teacher's.

    Maps of different sizes are compared at the smaller one, to which the larger is resampled (bilinear, antialiased).

    Args:
        student_channels: C of the student's map.
        teacher_channels: C of the teacher's map.
        student_index: Which of the student's maps; the last, for HRNet, is the fused 1/4 resolution.
        teacher_index: Which of the teacher's maps.
        reduction: ``'sum'`` (over C, H and W) or ``'mean'``.
        loss_weight: α of Eq. 5.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        student_index: int = -1,
        teacher_index: int = -1,
        reduction: str = 'sum',
        loss_weight: float = 5e-5,
    ):
        super().__init__()
        check_option('FeatureMSELoss.reduction', reduction, ('sum', 'mean'))
        self.adapter = nn.Conv2d(student_channels, teacher_channels, kernel_size=1)
        self.student_index = student_index
        self.teacher_index = teacher_index
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(self, student: PoseOutputs, teacher: PoseOutputs, data_samples: Sequence) -> Tensor:
        """Scalar."""
        return self.loss_weight * feature_mse_loss(*self.features(student, teacher), self.reduction)

    def features(self, student: PoseOutputs, teacher: PoseOutputs) -> Tuple[Tensor, Tensor]:
        """The student's adapted map and the teacher's, of one size, each N×C×H×W."""
        feat, target = student.feats[self.student_index], teacher.feats[self.teacher_index]
        with torch.autocast(feat.device.type, enabled=False):
            feat = self.adapter(feat.to(self.adapter.weight.dtype))
        if feat.shape[-2:] != target.shape[-2:]:
            size = [min(own, other) for own, other in zip(feat.shape[-2:], target.shape[-2:])]
            feat, target = resample(feat, size), resample(target, size)
        return feat, target

    def check(self, student: PoseOutputs, teacher: PoseOutputs) -> None:
        """Raises UserError if a backbone has no such map, or one of other channels."""
        for who, outputs, channels in (
            ('student', student, self.adapter.in_channels),
            ('teacher', teacher, self.adapter.out_channels),
        ):
            index = getattr(self, f'{who}_index')
            if not outputs.feats:
                raise UserError(
                    f'FeatureMSELoss compares feature maps, but the {who} offers none: set this loss to None, or let '
                    'an MMPose network teach in each step'
                )
            maps = ', '.join(f'{i}: {_size(feat)}' for i, feat in enumerate(outputs.feats))
            if not -len(outputs.feats) <= index < len(outputs.feats):
                raise UserError(f'{who}_index={index} is none of the feature maps of the {who} ({maps})')
            if outputs.feats[index].shape[1] != channels:
                raise UserError(
                    f'{who}_channels={channels}, but map {index} of the {who} has {_size(outputs.feats[index])} '
                    f'(its maps are {maps}): set {who}_channels={outputs.feats[index].shape[1]}, or choose another map '
                    f'by {who}_index'
                )


def resample(feat: Tensor, size: Sequence[int]) -> Tensor:
    """N×C×H×W to N×C×size, fp32; as it is where it has that size."""
    if list(feat.shape[-2:]) == list(size):
        return feat
    return F.interpolate(feat.float(), size=tuple(size), mode='bilinear', antialias=True)


def _size(feat: Tensor) -> str:
    return f'{feat.shape[1]} channels of {feat.shape[2]}×{feat.shape[3]}'
