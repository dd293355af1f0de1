from typing import Sequence

from mmpose.registry import MODELS
from torch import Tensor, nn

from ...errors import UserError
from ...structures import PoseOutputs


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
    """
    squares = (student.float() - teacher.float()).square()
    return squares.mean() if reduction == 'mean' else squares.sum() / len(squares)


@MODELS.register_module()
class FeatureMSELoss(nn.Module):
    """:func:`feature_mse_loss` with the 1×1 convolution that adapts the student's channels to the teacher's.

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
        if reduction not in ('sum', 'mean'):
            raise UserError(f'FeatureMSELoss.reduction is "sum" or "mean", not {reduction!r}')
        self.adapter = nn.Conv2d(student_channels, teacher_channels, kernel_size=1)
        self.student_index = student_index
        self.teacher_index = teacher_index
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(self, student: PoseOutputs, teacher: PoseOutputs, data_samples: Sequence) -> Tensor:
        """Scalar.

        Raises:
            UserError: The maps do not have the channels given, or differ in size.
        """
        feat, target = student.feats[self.student_index], teacher.feats[self.teacher_index]
        wanted = (self.adapter.in_channels, self.adapter.out_channels)
        if (feat.shape[1], target.shape[1]) != wanted or feat.shape[-2:] != target.shape[-2:]:
            raise UserError(
                f'FeatureMSELoss compares student map {self.student_index}, {_size(feat)}, with teacher map '
                f'{self.teacher_index}, {_size(target)}, but is set to student_channels={wanted[0]}, '
                f'teacher_channels={wanted[1]} and one size: choose other maps by student_index and teacher_index'
            )
        return self.loss_weight * feature_mse_loss(self.adapter(feat), target, self.reduction)


def _size(feat: Tensor) -> str:
    return f'{feat.shape[1]} channels of {feat.shape[2]}×{feat.shape[3]}'
