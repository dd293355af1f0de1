from typing import Optional, Sequence

import torch.nn.functional as F
from mmpose.registry import MODELS
from torch import Tensor, nn

from ...errors import UserError
from ...poses import PoseOutputs
from .checks import check_both_offer, check_drawn_alike, check_shapes
from .joint_weights import joint_weights


def simcc_logit_kd_loss(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    joint_weights: Optional[Tensor] = None,
    temperature: float = 1.0,
) -> Tensor:
    r"""Kullback-Leibler divergence of two networks' SimCC bins, summed over bins, averaged over N·K keypoints.

    .. math::
        L_{logit} = \frac{\tau^2}{NK} \sum_n \sum_k w_{nk} \sum_{a \in \{x, y\}}
        KL\left( \mathrm{softmax}(t^a_{nk} / \tau) \,\|\, \mathrm{softmax}(s^a_{nk} / \tau) \right)

    With τ = 1 and no weights its value is that of DWPose's code, MMPose's ``KDLoss``. DWPose's text has the cross
    entropy, whose gradient is the same, and no division by K.

    Args:
        student: Logits, N×K×Wx and N×K×Wy.
        teacher: Logits of the same shapes.
        joint_weights: N×K or 1×K; None counts every keypoint as 1.
        temperature: τ; the factor τ² keeps the gradient's size.

    Returns:
        Scalar, fp32.

    Raises:
        ValueError: The shapes differ.
    """
    for s, t in zip(student, teacher):
        check_shapes('simcc_logit_kd_loss', s, t, joint_weights)
    divergence_x, divergence_y = (
        F.kl_div(
            F.log_softmax(s.float() / temperature, dim=-1),
            F.log_softmax(t.float() / temperature, dim=-1),
            reduction='none',
            log_target=True,
        ).sum(-1)
        for s, t in zip(student, teacher)
    )
    divergence = divergence_x + divergence_y
    if joint_weights is not None:
        divergence = divergence * joint_weights
    return temperature**2 * divergence.mean()


@MODELS.register_module()
class SimCCLogitKDLoss(nn.Module):
    """:func:`simcc_logit_kd_loss`: the teacher's bins as soft targets, after `DWPose <https://arxiv.org/abs/2307.15880>`_.

    Each network's logits are multiplied by its own head's β, where ``KDLoss`` takes the student's for both.

    Args:
        temperature: τ.
        use_target_weight: Weigh the keypoints by the batch's ``keypoint_weights``. DWPose does not: what the teacher
            makes of a keypoint without a label is to be learned, too.
        loss_weight: DWPose's is 0.1 in its first stage.

    Raises:
        UserError: The temperature is not positive.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        use_target_weight: bool = False,
        loss_weight: float = 0.1,
    ):
        super().__init__()
        if temperature <= 0:
            raise UserError(f'SimCCLogitKDLoss.temperature must be positive, not {temperature}')
        self.temperature = temperature
        self.use_target_weight = use_target_weight
        self.loss_weight = loss_weight

    def forward(self, student: PoseOutputs, teacher: PoseOutputs, data_samples: Sequence) -> Tensor:
        """Scalar."""
        weight = joint_weights(teacher, data_samples, self.use_target_weight)
        bins, target = student.require_simcc(), teacher.require_simcc()
        return self.loss_weight * simcc_logit_kd_loss(bins, target, weight, self.temperature)

    def check(self, student: PoseOutputs, teacher: PoseOutputs) -> None:
        """Raises UserError if one of the two has no SimCC bins, or they differ in number or in what they encode."""
        check_both_offer('simcc', 'SimCCLogitKDLoss', student, teacher)
        own, other = (tuple(v.shape[-1] for v in outputs.require_simcc()) for outputs in (student, teacher))
        if own != other:
            raise UserError(
                f'SimCCLogitKDLoss compares bin by bin, but the student has {own} of them in x and y, and the teacher '
                f'{other}: give both codecs one input_size and simcc_split_ratio, or use PoseL1Loss'
            )
        options = ('smoothing_type', 'sigma', 'label_smooth_weight', 'normalize')
        check_drawn_alike('SimCCLogitKDLoss', student, teacher, options)
