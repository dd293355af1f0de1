"""Feature losses of others that were tried in place of Eq. 1, by their published forms."""

import torch.nn.functional as F
from torch import Tensor

from ..models.losses import FeatureMSELoss
from ..poses import PoseOutputs


class CorrelationLoss(FeatureMSELoss):
    r"""Features compared by their correlation, whatever their scale (Eq. 4 of PKD).

    .. math:: L = \frac{1}{2CNHW} \sum \big(\hat F^t - \hat F^s\big)^2

    :math:`\hat F`: each channel less its mean, over its standard deviation, both over the batch and all places
    (`PKD <https://arxiv.org/abs/2207.02039>`_, Cao et al., NeurIPS 2022).
    """

    def forward(self, student: PoseOutputs, teacher: PoseOutputs, data_samples) -> Tensor:
        own, other = (standardized(feat) for feat in self.features(student, teacher))
        return self.loss_weight * F.mse_loss(own, other) / 2


class ChannelWiseLoss(FeatureMSELoss):
    r"""Each channel's distribution over the places (Eq. 2 and 4 of channel-wise distillation).

    .. math:: L = \frac{\tau^2}{NC} \sum_{n,c} KL\big(\phi(F^t_{nc}) \,\|\, \phi(F^s_{nc})\big)

    with :math:`\phi` the softmax over H·W at the temperature τ = 4
    (`CWD <https://arxiv.org/abs/2011.13256>`_, Shu et al., ICCV 2021).
    """

    temperature = 4.0

    def forward(self, student: PoseOutputs, teacher: PoseOutputs, data_samples) -> Tensor:
        own, other = (feat.flatten(2) / self.temperature for feat in self.features(student, teacher))
        channels = own.shape[0] * own.shape[1]
        divergence = F.kl_div(own.log_softmax(-1), other.log_softmax(-1), reduction='sum', log_target=True)
        return self.loss_weight * self.temperature**2 * divergence / channels


def standardized(feat: Tensor) -> Tensor:
    """N×C×H×W, fp32: every channel with mean 0 and deviation 1 over N, H and W."""
    flat = feat.float().transpose(0, 1).flatten(1)
    flat = (flat - flat.mean(1, keepdim=True)) / (flat.std(1, keepdim=True) + 1e-6)
    return flat.unflatten(1, (feat.shape[0], *feat.shape[2:])).transpose(0, 1)
