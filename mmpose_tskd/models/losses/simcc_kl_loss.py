from typing import Sequence, Tuple

import torch.nn.functional as F
from mmpose.registry import MODELS
from torch import Tensor, nn

from .checks import check_shapes


def simcc_kl_loss(pred: Sequence[Tensor], target: Sequence[Tensor], target_weight: Tensor) -> Tensor:
    r"""Kullback-Leibler divergence of SimCC bins, summed over bins and keypoints, averaged over the batch.

    .. math::
        L_{KL} = \frac{1}{N} \sum_n \sum_k w_{nk} \left[ KL(t^x_{nk} \| p^x_{nk}) + KL(t^y_{nk} \| p^y_{nk}) \right]

    This is the loss of the official SimCC code for label-smoothed targets (``NMTCritierion``). MMPose's
    ``KLDiscretLoss`` differs: it averages over the bins, so x weighs Wy/Wx times y, and sums over the batch.

    Args:
        pred: Logits, N×K×Wx and N×K×Wy.
        target: Target distributions of the same shapes.
        target_weight: N×K.

    Returns:
        Scalar, fp32.

    Raises:
        ValueError: The shapes differ.
    """
    for p, t in zip(pred, target):
        check_shapes('simcc_kl_loss', p, t, target_weight)
    divergence = sum(
        F.kl_div(F.log_softmax(p.float(), dim=-1), t, reduction='none').sum(-1) for p, t in zip(pred, target)
    )
    return (divergence * target_weight).sum() / len(target_weight)


@MODELS.register_module()
class SimCCKLLoss(nn.Module):
    """:func:`simcc_kl_loss` as the ``loss`` of a SimCC head.

    Args:
        use_target_weight: Weigh the keypoints by ``keypoint_weights``. False counts each as 1; a keypoint without a
            label still adds nothing, since its target is all zero.
    """

    def __init__(self, use_target_weight: bool = True):
        super().__init__()
        self.use_target_weight = use_target_weight

    def forward(self, pred: Tuple[Tensor, Tensor], target: Tuple[Tensor, Tensor], target_weight: Tensor) -> Tensor:
        if not self.use_target_weight:
            target_weight = target_weight.new_ones(target_weight.shape)
        return simcc_kl_loss(pred, target, target_weight)
