from typing import Optional, Sequence

from mmpose.registry import MODELS
from torch import Tensor, nn

from ...errors import UserError
from ...poses import PoseOutputs
from .checks import check_both_offer, check_drawn_alike, check_shapes
from .joint_weights import joint_weights


def heatmap_mse_loss(student: Tensor, teacher: Tensor, joint_weights: Optional[Tensor] = None) -> Tensor:
    r"""Mean squared distance of two networks' heatmaps.

    .. math::
        L_{logit} = \frac{1}{NKhw} \sum_n \sum_k w_{nk} \sum_{x,y} (H^t_{nkyx} - H^s_{nkyx})^2

    MMPose's ``KeypointMSELoss`` has the same normalization: keypoints without weight count in K, too.

    Args:
        student: N×K×h×w.
        teacher: N×K×h×w.
        joint_weights: N×K or 1×K; None counts every keypoint as 1.

    Returns:
        Scalar, fp32.

    Raises:
        ValueError: The shapes differ.
    """
    check_shapes('heatmap_mse_loss', student, teacher, joint_weights)
    squares = (student.float() - teacher.float()).square().mean((-2, -1))
    if joint_weights is not None:
        squares = squares * joint_weights
    return squares.mean()


@MODELS.register_module()
class HeatmapMSELoss(nn.Module):
    """:func:`heatmap_mse_loss`: the teacher's heatmaps as soft targets.

    The logit distillation of IKD and of `FPD <https://arxiv.org/abs/1811.05419>`_. FPD's
    ``(1 - a)·MSE(labels) + a·MSE(teacher)`` is ``loss_weight=1 - a`` in the head's ``KeypointMSELoss`` and
    ``loss_weight=a`` here. Both codecs must draw a keypoint alike: with the same σ, and both or neither by UDP, whose
    pixels lie elsewhere.

    Args:
        use_target_weight: Weigh the keypoints by the batch's ``keypoint_weights``, as the head's loss does. False
            counts the teacher's guess for a keypoint without a label, too.
        loss_weight: Factor on the mean.
    """

    def __init__(self, use_target_weight: bool = False, loss_weight: float = 1.0):
        super().__init__()
        self.use_target_weight = use_target_weight
        self.loss_weight = loss_weight

    def forward(self, student: PoseOutputs, teacher: PoseOutputs, data_samples: Sequence) -> Tensor:
        """Scalar."""
        weight = joint_weights(teacher, data_samples, self.use_target_weight)
        return self.loss_weight * heatmap_mse_loss(student.require_heatmaps(), teacher.require_heatmaps(), weight)

    def check(self, student: PoseOutputs, teacher: PoseOutputs) -> None:
        """Raises UserError if one of the two has no heatmaps, or they differ in size or in how a keypoint is drawn."""
        check_both_offer('heatmaps', 'HeatmapMSELoss', student, teacher)
        own, other = (tuple(outputs.require_heatmaps().shape[:-3:-1]) for outputs in (student, teacher))
        if own != other:
            raise UserError(
                f"HeatmapMSELoss compares heatmaps pixel by pixel, but the student's are {own} (w, h) and the "
                f"teacher's {other}: give both codecs one heatmap_size, or use PoseL1Loss or JointAffinityLoss"
            )
        options = ('sigma', 'unbiased', 'heatmap_type', 'radius_factor', 'kernel_size')
        check_drawn_alike('HeatmapMSELoss', student, teacher, options)
