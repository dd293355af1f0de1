from dataclasses import replace
from typing import List, Optional, Sequence, Tuple

import numpy as np
import torch
from mmpose.models.heads.base_head import BaseHead
from mmpose.models.utils.tta import flip_vectors
from torch import Tensor, nn

from .outputs import PoseOutputs
from .reader import HeadReader


def simcc_peaks(prob_x: Tensor, prob_y: Tensor, split_ratio: float) -> Tensor:
    """Hard decode of SimCC: the highest bin over the split ratio.

    Args:
        prob_x: N×K×Wx, logits or probabilities.
        prob_y: N×K×Wy.
        split_ratio: Bins per input pixel.

    Returns:
        N×K×2, input pixels, fp32.
    """
    return torch.stack([prob_x.argmax(-1), prob_y.argmax(-1)], dim=-1).float() / split_ratio


def simcc_scores(prob_x: Tensor, prob_y: Tensor, smoothing_type: str) -> Tensor:
    """Confidence of each keypoint by the official SimCC code's two rules.

    Args:
        prob_x: N×K×Wx, probabilities.
        prob_y: N×K×Wy.
        smoothing_type: The codec's: ``'standard'`` takes the larger of the two maxima, ``'gaussian'`` the smaller.

    Returns:
        N×K, in [0, 1].
    """
    pick = torch.maximum if smoothing_type == 'standard' else torch.minimum
    return pick(prob_x.amax(-1), prob_y.amax(-1))


def merge_flipped_simcc(
    simcc: Tuple[Tensor, Tensor],
    flipped: Optional[Tuple[Tensor, Tensor]],
    smoothing_type: str,
    split_ratio: float,
) -> Tuple[Tensor, Tensor]:
    """Averages the probabilities for an image and for its mirror image as the official SimCC code does.

    With label smoothing it averages the two softmaxes, with Gaussian targets the logits before one softmax. Before
    that, it moves the mirrored x vector left by ``round(split_ratio) - 1`` bins (``SHIFT_HEATMAP``), since a bin of the
    mirrored image lies that many bins right of its counterpart. For a ratio of 1.5 this is one bin, as in the official
    code.

    Args:
        simcc: Logits, N×K×Wx and N×K×Wy.
        flipped: Those of the mirrored image, already mirrored back, or None.
        smoothing_type: The codec's, ``'standard'`` or ``'gaussian'``.
        split_ratio: Bins a pixel.

    Returns:
        Probabilities of the same shapes, fp32.
    """
    x, y = (v.float() for v in simcc)
    if flipped is None:
        return x.softmax(-1), y.softmax(-1)
    flipped_x, flipped_y = (v.float() for v in flipped)
    shift = round(split_ratio) - 1
    flipped_x = torch.cat([flipped_x[..., shift:], *[flipped_x[..., -1:]] * shift], dim=-1)
    if smoothing_type == 'standard':
        return (x.softmax(-1) + flipped_x.softmax(-1)) / 2, (y.softmax(-1) + flipped_y.softmax(-1)) / 2
    return ((x + flipped_x) / 2).softmax(-1), ((y + flipped_y) / 2).softmax(-1)


class SimCCReader(HeadReader):
    """Reads heads with a SimCC codec (:class:`SimCCHead`, :class:`RTMCCHead`).

    Many target distributions have a floor: ε/(Wx−1) with label smoothing, 1/Z with a soft-maxed target. A perfect
    network puts out the target, whose mean lies between the keypoint and the image's center. ``coords`` therefore
    subtracts the floor: ``coords = Σ_j j·relu(p_j − floor) / Σ_j relu(p_j − floor) / split_ratio``. This is exact for
    the target itself, except for a Gaussian within 3σ of the border, which cuts it off: at σ = 4 bins a keypoint on the
    border is read 1.4 pixels inside.

    Args:
        head: The head; its ``decoder`` (codec) is read, and ``beta`` and ``label_softmax`` of its ``loss_module``.
        temperature: Divides the logits before the softmax of ``coords``.
    """

    def __init__(self, head: BaseHead, temperature: float = 1.0):
        self.head = head
        self.codec = head.decoder
        codec, loss = self.codec, head.loss_module
        self.input_size = tuple(codec.input_size)
        self.split_ratio = codec.simcc_split_ratio
        self.smoothing_type = codec.smoothing_type
        self.beta = getattr(loss, 'beta', 1.0)
        self.temperature = temperature
        center = np.array([[self.input_size]], dtype=np.float32) / 2
        target = codec.encode(center)
        prob_x, prob_y = (self._distribution(target[f'keypoint_{axis}_labels'], loss) for axis in 'xy')
        # A sure network goes beyond a smoothed label's 0.9: cut off there, all instances that it is sure of would tie.
        smoothed = self.smoothing_type == 'standard'
        self.best_score = 1.0 if smoothed else float(simcc_scores(prob_x, prob_y, self.smoothing_type))
        softened = [prob ** (1 / temperature) for prob in (prob_x, prob_y)]
        self.floors = [float(prob.min() / prob.sum()) for prob in softened]

    def _distribution(self, target: np.ndarray, loss: nn.Module) -> Tensor:
        """The distribution that the loss asks for: the codec's target, normalized or soft-maxed."""
        prob = torch.from_numpy(target).double().flatten()
        if getattr(loss, 'label_softmax', False):
            return (prob * getattr(loss, 'label_beta', self.beta)).softmax(0)
        return prob / prob.sum()

    def __call__(self, feats: Tuple[Tensor, ...], output: Tuple[Tensor, Tensor]) -> PoseOutputs:
        if self.beta != 1:
            output = (output[0].float() * self.beta, output[1].float() * self.beta)  # beyond fp16's range
        return PoseOutputs(feats=feats, reader=self, simcc=output)

    def labels(self, data_samples: Sequence) -> PoseOutputs:
        """A batch's targets, as if a network had put them out."""
        labels = [s.gt_instance_labels for s in data_samples]
        x, y = (torch.cat([getattr(s, f'keypoint_{axis}_labels') for s in labels]) for axis in 'xy')
        return PoseOutputs(feats=(), reader=self, simcc=(x, y))

    def merge_flipped(self, outputs: PoseOutputs, mirrored: PoseOutputs, flip_indices: List[int]) -> PoseOutputs:
        """The distributions averaged with those for the mirrored image."""
        flipped = flip_vectors(*(v.float() for v in mirrored.require_simcc()), flip_indices=flip_indices)
        probs = merge_flipped_simcc(outputs.require_simcc(), flipped, self.smoothing_type, self.split_ratio)
        x, y = (prob.clamp(min=1e-30).log() for prob in probs)
        return replace(outputs, simcc=(x, y))

    def probabilities(self, outputs: PoseOutputs) -> Tuple[Tensor, Tensor]:
        x, y = outputs.require_simcc()
        return x.float().softmax(-1), y.float().softmax(-1)

    def coords(self, outputs: PoseOutputs) -> Tensor:
        means = []
        for logits, floor in zip(outputs.require_simcc(), self.floors):
            prob = (logits.float() / self.temperature).softmax(-1)
            if floor > 1e-8:
                prob = (prob - floor).clamp(min=0)
                prob = prob / prob.sum(-1, keepdim=True)
            bins = torch.arange(prob.shape[-1], device=prob.device, dtype=prob.dtype)
            means.append((prob * bins).sum(-1))
        return torch.stack(means, dim=-1) / self.split_ratio

    def peaks(self, outputs: PoseOutputs) -> Tensor:
        x, y = outputs.require_simcc()
        return simcc_peaks(x, y, self.split_ratio)

    def scores(self, outputs: PoseOutputs) -> Tensor:
        return simcc_scores(*self.probabilities(outputs), self.smoothing_type)
