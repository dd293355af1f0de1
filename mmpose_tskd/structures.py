"""What every pose network says about a batch of people, and how it is read off its head.

Letters in the shapes: N people, K key points, (W, H) input size in pixels, (Wx, Wy) SimCC bins, (w, h) heatmap size.
Coordinates are (x, y) in pixels of the network's input image.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Iterator, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from .errors import UserError


@dataclass(eq=False)
class PoseOutputs:
    """The outputs of one pose network for one batch; coordinates and scores are worked out when first asked for.

    Args:
        feats: The backbone's (or neck's) feature maps, each N×C×H×W.
        reader: The reader that made this, which knows how the head encodes a pose.
        simcc: SimCC logits, N×K×Wx and N×K×Wy.
        heatmaps: Heatmaps, N×K×h×w.
        refined: A refiner's progressive poses, coarse to fine, each N×K×2 in input pixels.
    """

    feats: Tuple[Tensor, ...]
    reader: 'Reader'
    simcc: Any = None
    heatmaps: Any = None
    refined: Tuple[Tensor, ...] = ()

    @cached_property
    def coords(self) -> Tensor:
        """N×K×2, input pixels, fp32, differentiable: an expectation that is unbiased for the head's own target."""
        return self.reader.coords(self)

    @cached_property
    def peaks(self) -> Tensor:
        """N×K×2, input pixels, fp32, no gradient: the hard decode by the highest bin or pixel, on the device."""
        with torch.no_grad():
            return self.reader.peaks(self)

    @cached_property
    def scores(self) -> Tensor:
        """N×K, fp32, no gradient: the confidence of each key point."""
        with torch.no_grad():
            return self.reader.scores(self)

    @property
    def input_size(self) -> Tuple[int, int]:
        """(W, H) of the network's input, in pixels."""
        return self.reader.input_size


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
    """Confidence of each key point by the official SimCC code's two rules.

    Args:
        prob_x: N×K×Wx, probabilities.
        prob_y: N×K×Wy.
        smoothing_type: The codec's: ``'standard'`` takes the larger of the two maxima, ``'gaussian'`` the smaller.

    Returns:
        N×K, in [0, 1].
    """
    pick = torch.maximum if smoothing_type == 'standard' else torch.minimum
    return pick(prob_x.amax(-1), prob_y.amax(-1))


class SimCCReader:
    """Reads heads with a SimCC codec (:class:`SimCCHead`, :class:`RTMCCHead`).

    A network trained to a target distribution with a floor (label smoothing's ε/(Wx−1); the 1/Z of a soft-maxed target)
    answers, when perfect, with that distribution, whose mean lies between the joint and the picture's centre. The floor
    is therefore taken off before the mean, which is then exact for the target itself (but for a Gaussian within 3σ of
    the border, which is cut off there: at σ = 4 bins a joint on the border reads as 1.4 pixels inside):
    ``coords = Σ_j j·relu(p_j − floor) / Σ_j relu(p_j − floor) / split_ratio``.

    Args:
        head: The head; its ``decoder`` (codec) is read, and ``beta`` and ``label_softmax`` of its ``loss_module``.
        temperature: Divides the logits before the softmax of ``coords``.
    """

    def __init__(self, head: Any, temperature: float = 1.0):
        codec, loss = head.decoder, head.loss_module
        self.input_size: Tuple[int, int] = tuple(codec.input_size)
        self.split_ratio = codec.simcc_split_ratio
        self.smoothing_type = codec.smoothing_type
        self.beta = getattr(loss, 'beta', 1.0)
        self.temperature = temperature
        centre = np.array([[self.input_size]], dtype=np.float32) / 2
        target = codec.encode(centre)
        self.floors = [self._floor(target[f'keypoint_{axis}_labels'], loss) for axis in 'xy']

    def _floor(self, target: np.ndarray, loss: Any) -> float:
        prob = torch.from_numpy(target).double().flatten()
        if getattr(loss, 'label_softmax', False):
            prob = (prob * getattr(loss, 'label_beta', self.beta)).softmax(0)
        prob = prob ** (1 / self.temperature)
        return float(prob.min() / prob.sum())

    def __call__(self, feats: Tuple[Tensor, ...], output: Tuple[Tensor, Tensor]) -> PoseOutputs:
        return PoseOutputs(feats=feats, reader=self, simcc=output)

    def probabilities(self, outputs: PoseOutputs) -> Tuple[Tensor, Tensor]:
        x, y = outputs.simcc
        return (x.float() * self.beta).softmax(-1), (y.float() * self.beta).softmax(-1)

    def coords(self, outputs: PoseOutputs) -> Tensor:
        means = []
        for logits, floor in zip(outputs.simcc, self.floors):
            prob = (logits.float() * (self.beta / self.temperature)).softmax(-1)
            if floor > 1e-8:
                prob = (prob - floor).clamp(min=0)
                prob = prob / prob.sum(-1, keepdim=True)
            bins = torch.arange(prob.shape[-1], device=prob.device, dtype=prob.dtype)
            means.append((prob * bins).sum(-1))
        return torch.stack(means, dim=-1) / self.split_ratio

    def peaks(self, outputs: PoseOutputs) -> Tensor:
        x, y = outputs.simcc
        return simcc_peaks(x, y, self.split_ratio)

    def scores(self, outputs: PoseOutputs) -> Tensor:
        return simcc_scores(*self.probabilities(outputs), self.smoothing_type)


class HeatmapReader:
    """Reads heads with a Gaussian heatmap codec (:class:`MSRAHeatmap`, :class:`UDPHeatmap` in its Gaussian form).

    Heatmaps are trained by regression, not by softmax, and a mean over them is pulled inwards where the picture cuts
    the Gaussian off. ``coords`` is instead the centre of the Gaussian of the codec's σ through the pixels next to the
    peak x0, ``x = x0 + σ²/2 · ln(m(x0+1) / m(x0−1))``, with m(x) the sum of relu(h) over the
    rows within 3σ of the peak; y alike.
    Its gradient is local to the peak: it moves a peak by pixels, not across the picture.
    ``peaks`` is the highest pixel moved a quarter of a pixel towards its higher neighbour, in x and y, as MSRAHeatmap
    decodes without ``unbiased``; the Taylor refinement of DARK and UDP is not applied.
    """

    def __init__(self, head: Any):
        codec = head.decoder
        self.input_size: Tuple[int, int] = tuple(codec.input_size)
        self.scale_factor = tuple(float(s) for s in codec.scale_factor)
        self.sigma = float(codec.sigma)

    def __call__(self, feats: Tuple[Tensor, ...], output: Tensor) -> PoseOutputs:
        return PoseOutputs(feats=feats, reader=self, heatmaps=output)

    def _to_input(self, xy: Tensor) -> Tensor:
        scale_x, scale_y = self.scale_factor
        return torch.stack([xy[..., 0] * scale_x, xy[..., 1] * scale_y], dim=-1)

    def coords(self, outputs: PoseOutputs) -> Tensor:
        heat = outputs.heatmaps.float().clamp(min=0)
        h, w = heat.shape[-2:]
        index = heat.flatten(2).argmax(-1)
        peak_x, peak_y = index % w, index // w
        x = self._centre((heat * self._near(peak_y, h)[..., None]).sum(-2), peak_x)
        y = self._centre((heat * self._near(peak_x, w)[..., None, :]).sum(-1), peak_y)
        return self._to_input(torch.stack([x, y], dim=-1))

    def _near(self, peak: Tensor, size: int) -> Tensor:
        """N×K to N×K×size: True within 3σ of the peak."""
        return (torch.arange(size, device=peak.device) - peak[..., None]).abs() <= 3 * self.sigma

    def _centre(self, marginal: Tensor, peak: Tensor) -> Tensor:
        """N×K×size and the peak's index N×K to the Gaussian's centre, at most 1.5 pixels from it."""
        inside = peak.clamp(1, marginal.shape[-1] - 2)[..., None]
        log = marginal.clamp(min=1e-6).log()
        slope = (log.gather(-1, inside + 1) - log.gather(-1, inside - 1)) / 2
        return (inside + (self.sigma**2 * slope).clamp(-1.5, 1.5)).squeeze(-1)

    def peaks(self, outputs: PoseOutputs) -> Tensor:
        heat = outputs.heatmaps.float()
        h, w = heat.shape[-2:]
        index = heat.flatten(2).argmax(-1)
        x, y = index % w, index // w

        def at(x, y):
            return heat.flatten(2).gather(-1, (y * w + x).unsqueeze(-1)).squeeze(-1)

        right, left = at((x + 1).clamp(max=w - 1), y), at((x - 1).clamp(min=0), y)
        below, above = at(x, (y + 1).clamp(max=h - 1)), at(x, (y - 1).clamp(min=0))
        inside_x, inside_y = (x > 0) & (x < w - 1), (y > 0) & (y < h - 1)
        step = torch.stack([(right - left).sign() * inside_x, (below - above).sign() * inside_y], dim=-1)
        return self._to_input(torch.stack([x, y], dim=-1) + 0.25 * step)

    def scores(self, outputs: PoseOutputs) -> Tensor:
        return outputs.heatmaps.float().amax((-2, -1))


class RefinerReader:
    """Reads :class:`IGPGCNHead`: the pose is the last refined one, the confidence its base head's."""

    def __init__(self, head: Any, temperature: float = 1.0):
        self.base: Any = build_reader(head.base_head, temperature)
        self.input_size: Tuple[int, int] = self.base.input_size

    def __call__(self, feats: Tuple[Tensor, ...], output: Any) -> PoseOutputs:
        refined, base_output = output
        base = self.base(feats, base_output)
        return PoseOutputs(feats=feats, reader=self, simcc=base.simcc, heatmaps=base.heatmaps, refined=refined)

    def coords(self, outputs: PoseOutputs) -> Tensor:
        return outputs.refined[-1].float()

    def peaks(self, outputs: PoseOutputs) -> Tensor:
        return outputs.refined[-1].detach().float()

    def scores(self, outputs: PoseOutputs) -> Tensor:
        return self.base.scores(outputs)


Reader = Union[SimCCReader, HeatmapReader, RefinerReader]


def build_reader(head: Any, temperature: float = 1.0) -> Reader:
    """The reader for a head, chosen by its codec.

    Args:
        head: An MMPose head.
        temperature: Of the softmax in ``coords``, for SimCC heads.

    Raises:
        UserError: No reader knows the head's codec.
    """
    if hasattr(head, 'base_head'):
        return RefinerReader(head, temperature)
    codec = getattr(head, 'decoder', None)
    if hasattr(codec, 'simcc_split_ratio'):
        return SimCCReader(head, temperature)
    if hasattr(codec, 'heatmap_size') and getattr(codec, 'heatmap_type', 'gaussian') == 'gaussian':
        return HeatmapReader(head)
    raise UserError(
        f'no reader knows the codec {type(codec).__name__} of the head {type(head).__name__}: '
        'distillation reads heads whose `decoder` is SimCCLabel, MSRAHeatmap or UDPHeatmap (heatmap_type="gaussian")'
    )


@contextmanager
def replay_forward(head: Any, *known: Tuple[Any, Any]) -> Iterator[None]:
    """Lets a head's ``loss`` or ``predict`` use outputs that are worked out already.

    MMPose's heads call ``self.forward`` inside both, so a head whose output is needed elsewhere would run twice.

    Args:
        head: An MMPose head.
        known: Pairs of features and the output of ``head.forward`` for them.
    """
    head.forward = lambda feats: next(output for seen, output in known if seen is feats)
    try:
        yield
    finally:
        del head.forward


def labelled_joints(data_samples: Sequence, device: torch.device) -> Tensor:
    """N×K, fp32: 1 where a joint has a label (visible or hidden), else 0.

    Unlike ``keypoint_weights`` it holds for joints that lie outside the crop, too.
    """
    visible = np.concatenate([s.gt_instances.keypoints_visible for s in data_samples])
    if visible.ndim == 3:  # (N, K, 2): visibility and weight
        visible = visible[..., 0]
    return torch.from_numpy((visible > 0).astype(np.float32)).to(device, non_blocking=True)


def labelled_coords(data_samples: Sequence, device: torch.device) -> Tensor:
    """N×K×2, fp32, input pixels: the labels of a training batch.

    Raises:
        UserError: The pipeline did not pack them.
    """
    if 'transformed_keypoints' not in data_samples[0].gt_instances:
        raise UserError(
            'the batch holds no key points in input pixels: '
            'write dict(type="PackPoseInputs", pack_transformed=True) at the end of the training pipeline'
        )
    coords = np.concatenate([s.gt_instances.transformed_keypoints for s in data_samples])
    return torch.from_numpy(coords[..., :2].astype(np.float32)).to(device, non_blocking=True)
