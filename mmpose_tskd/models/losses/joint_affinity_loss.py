from typing import Optional, Sequence

import torch
import torch.nn.functional as F
from mmpose.registry import MODELS
from torch import Tensor, nn

from ...poses import PoseOutputs
from .checks import check_both_offer
from .joint_weights import joint_weights


def joint_affinities(heatmaps: Tensor, least_norm: float) -> Tensor:
    """Cosine similarity between the heatmaps of each two keypoints of an instance.

    Args:
        heatmaps: N×K×h×w.
        least_norm: Each heatmap is divided by its L2 norm, or by this where the norm is smaller. A heatmap without a
            response thus has affinity 0 to all.

    Returns:
        N×K×K, fp32, in [-1, 1].
    """
    maps = F.normalize(heatmaps.float().flatten(2), dim=-1, eps=least_norm)
    with torch.autocast(heatmaps.device.type, enabled=False):
        return maps @ maps.transpose(1, 2)


def joint_affinity_loss(
    student: Tensor, teacher: Tensor, joint_weights: Optional[Tensor] = None, least_norm: float = 1.0
) -> Tensor:
    r"""Difference of two networks' affinities between the keypoints of an instance.

    .. math::
        L_{structure} = \frac{1}{NK^2} \sum_n \sum_{i,j} w_{ni} w_{nj} \left( S^t_{nij} - S^s_{nij} \right)^2, \qquad
        S = F F^\top, \quad F_k = \frac{H_k}{\max(\| H_k \|_2, \varepsilon)}

    Args:
        student: N×K×h×w.
        teacher: N×K×h'×w'; an affinity has no resolution, so the sizes may differ.
        joint_weights: N×K or 1×K; a pair counts with the product of its keypoints' weights. None counts each as 1.
        least_norm: ε, see :class:`JointAffinityLoss`.

    Returns:
        Scalar, fp32.

    Raises:
        ValueError: N or K differ.
    """
    if student.shape[:2] != teacher.shape[:2]:
        raise ValueError(
            f'joint_affinity_loss compares heatmaps of the same keypoints, got {tuple(student.shape)} and '
            f'{tuple(teacher.shape)}'
        )
    squares = (joint_affinities(student, least_norm) - joint_affinities(teacher, least_norm)).square()
    if joint_weights is not None:
        squares = squares * joint_weights[:, :, None] * joint_weights[:, None, :]
    return squares.mean()


@MODELS.register_module()
class JointAffinityLoss(nn.Module):
    """:func:`joint_affinity_loss` between the student's and the teacher's heatmaps: IKD's structure distillation.

    IKD's own formula is not public. This is one reading of its abstract: the student's prediction is to have the same
    structure as the teacher's.

    Args:
        least_norm: A heatmap with a smaller L2 norm is divided by this instead of by its norm. Otherwise the noise of a
            nearly empty heatmap would count, and its gradient explode. A Gaussian of σ = 2 has a norm of 3.5.
        use_target_weight: Weigh the keypoints by the batch's ``keypoint_weights``.
        loss_weight: Factor on the mean.
    """

    def __init__(self, least_norm: float = 1.0, use_target_weight: bool = False, loss_weight: float = 1.0):
        super().__init__()
        self.least_norm = least_norm
        self.use_target_weight = use_target_weight
        self.loss_weight = loss_weight

    def forward(self, student: PoseOutputs, teacher: PoseOutputs, data_samples: Sequence) -> Tensor:
        """Scalar."""
        weight = joint_weights(teacher, data_samples, self.use_target_weight)
        return self.loss_weight * joint_affinity_loss(
            student.require_heatmaps(), teacher.require_heatmaps(), weight, self.least_norm
        )

    def check(self, student: PoseOutputs, teacher: PoseOutputs) -> None:
        """Raises UserError if one of the two has no heatmaps."""
        check_both_offer('heatmaps', 'JointAffinityLoss', student, teacher)
