from typing import Optional, Sequence

from mmpose.registry import MODELS
from torch import Tensor, nn

from ...poses import PoseOutputs
from .checks import check_shapes
from .joint_weights import joint_weights


def pose_l1_loss(student: Tensor, teacher: Tensor, target_weight: Optional[Tensor] = None) -> Tensor:
    r"""L1 distance of two poses (Eq. 2 of the paper), summed over keypoints, averaged over the batch.

    .. math::
        L_1 = \frac{1}{N} \sum_n \sum_k w_{nk} \left\| P^t_{nk} - P^s_{nk} \right\|_1

    Args:
        student: N×K×2, input pixels.
        teacher: N×K×2, input pixels.
        target_weight: N×K or 1×K; None counts every keypoint, hidden and unlabelled ones too.

    Returns:
        Scalar, fp32, pixels.

    Raises:
        ValueError: The shapes differ.
    """
    check_shapes('pose_l1_loss', student, teacher, target_weight)
    distance = (student.float() - teacher.float()).abs().sum(-1)
    if target_weight is not None:
        distance = distance * target_weight
    return distance.sum(-1).mean()


@MODELS.register_module()
class PoseL1Loss(nn.Module):
    """:func:`pose_l1_loss` between the student's and the teacher's ``coords``.

    Args:
        use_target_weight: Weigh the keypoints by the batch's ``keypoint_weights``. The paper does not: the teacher's
            guess for a hidden keypoint is what is to be learned.
        hard_teacher: Compare with the teacher's decoded pose (``peaks``) instead of its expectation.
        loss_weight: β of Eq. 5.
    """

    def __init__(self, use_target_weight: bool = False, hard_teacher: bool = False, loss_weight: float = 0.1):
        super().__init__()
        self.use_target_weight = use_target_weight
        self.hard_teacher = hard_teacher
        self.loss_weight = loss_weight

    def forward(self, student: PoseOutputs, teacher: PoseOutputs, data_samples: Sequence) -> Tensor:
        """Scalar."""
        target = teacher.peaks if self.hard_teacher else teacher.coords
        weight = joint_weights(teacher, data_samples, self.use_target_weight)
        return self.loss_weight * pose_l1_loss(student.coords, target, weight)
