"""How a pose is read off each kind of head, on the device: its coordinates, its decode, its scores.

The letters are those of :mod:`mmpose_tskd.structures`.
"""

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any, List, Optional, Sequence, Tuple, Union

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmpose.codecs import MSRAHeatmap, UDPHeatmap
from mmpose.models.utils.tta import flip_heatmaps, flip_vectors
from torch import Tensor

from .errors import UserError
from .structures import PoseOutputs


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


def merge_flipped_simcc(
    simcc: Tuple[Tensor, Tensor],
    flipped: Optional[Tuple[Tensor, Tensor]],
    smoothing_type: str,
    split_ratio: float,
) -> Tuple[Tensor, Tensor]:
    """Probabilities of a picture and of its mirror image, averaged as the official SimCC code does.

    The label-smoothed form averages the two softmaxes, the Gaussian form the logits before one softmax. The mirrored x
    vector is moved left by one bin first (``SHIFT_HEATMAP``): with a split ratio of 2, bin j of a mirrored picture lies
    one bin right of its counterpart, with another the ratio less one (1.5 as with 2, like the official code).

    Args:
        simcc: Logits, N×K×Wx and N×K×Wy.
        flipped: Those of the mirrored picture, already mirrored back, or None.
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
        self.codec: Any = head.decoder
        codec, loss = self.codec, head.loss_module
        self.input_size: Tuple[int, int] = tuple(codec.input_size)
        self.split_ratio = codec.simcc_split_ratio
        self.smoothing_type = codec.smoothing_type
        self.beta = getattr(loss, 'beta', 1.0)
        self.temperature = temperature
        centre = np.array([[self.input_size]], dtype=np.float32) / 2
        target = codec.encode(centre)
        prob_x, prob_y = (self._distribution(target[f'keypoint_{axis}_labels'], loss) for axis in 'xy')
        self.best_score = float(simcc_scores(prob_x, prob_y, self.smoothing_type))
        softened = [prob ** (1 / temperature) for prob in (prob_x, prob_y)]
        self.floors = [float(prob.min() / prob.sum()) for prob in softened]

    def _distribution(self, target: np.ndarray, loss: Any) -> Tensor:
        """The distribution that the loss asks for: the codec's target, normalised or soft-maxed."""
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
        simcc = tuple(torch.cat([getattr(s, f'keypoint_{axis}_labels') for s in labels]) for axis in 'xy')
        return PoseOutputs(feats=(), reader=self, simcc=simcc)

    def merge_flipped(self, outputs: PoseOutputs, mirrored: PoseOutputs, flip_indices: List[int]) -> PoseOutputs:
        """The distributions averaged with those for the mirrored picture."""
        flipped = flip_vectors(*(v.float() for v in mirrored.simcc), flip_indices=flip_indices)
        probs = merge_flipped_simcc(outputs.simcc, flipped, self.smoothing_type, self.split_ratio)
        x, y = (prob.clamp(min=1e-30).log() for prob in probs)
        return replace(outputs, simcc=(x, y))

    def decoded(self, coords: Tensor) -> Tensor:
        """N×K×2 in input pixels to what the codec's decode returns for them: the same."""
        return coords

    def probabilities(self, outputs: PoseOutputs) -> Tuple[Tensor, Tensor]:
        x, y = outputs.simcc
        return x.float().softmax(-1), y.float().softmax(-1)

    def coords(self, outputs: PoseOutputs) -> Tensor:
        means = []
        for logits, floor in zip(outputs.simcc, self.floors):
            prob = (logits.float() / self.temperature).softmax(-1)
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
    rows within 3σ of the peak, and a little more (see :meth:`_centre`); y alike.
    Its gradient is local to the peak: it moves a peak by pixels, not across the picture.
    ``peaks`` is the highest pixel, moved as the codec does: a quarter of a pixel towards its higher neighbour in x and
    y (:class:`MSRAHeatmap`; MMPose does not move what is in column or row 1), or to the top of a parabola through the
    logarithm of the blurred map (``MSRAHeatmap(unbiased=True)``, which is
    `DARK <https://arxiv.org/abs/1910.06278>`_, and `UDP <https://arxiv.org/abs/1911.07524>`_). A pixel of a UDP map is
    (W-1)/(w-1) input pixels, as it was encoded; MMPose's decode takes W/(w-1), up to one pixel more at the far border.
    """

    best_score = 1.0

    def __init__(self, head: Any):
        self.codec: Any = head.decoder
        codec = self.codec
        self.input_size: Tuple[int, int] = tuple(codec.input_size)
        self.scale_factor = tuple(float(s) for s in codec.scale_factor)
        self.sigma = float(codec.sigma)
        self.is_udp = hasattr(codec, 'heatmap_type')
        self.blur: Optional[int] = codec.blur_kernel_size if self.is_udp or codec.unbiased else None

    def __call__(self, feats: Tuple[Tensor, ...], output: Union[Tensor, List[Tensor]]) -> PoseOutputs:
        if isinstance(output, list):  # of a stack of networks, of which CPMHead, too, predicts with the last
            output = output[-1]
        return PoseOutputs(feats=feats, reader=self, heatmaps=output)

    def labels(self, data_samples: Sequence) -> PoseOutputs:
        """A batch's targets, as if a network had put them out."""
        heatmaps = torch.stack([s.gt_fields.heatmaps for s in data_samples])
        return PoseOutputs(feats=(), reader=self, heatmaps=heatmaps)

    def merge_flipped(self, outputs: PoseOutputs, mirrored: PoseOutputs, flip_indices: List[int]) -> PoseOutputs:
        """The heatmaps averaged with those for the mirrored picture (moved by a pixel, but for UDP)."""
        flipped = flip_heatmaps(mirrored.heatmaps, flip_indices, shift_heatmap=not self.is_udp)
        return replace(outputs, heatmaps=(outputs.heatmaps.float() + flipped.float()) / 2)

    def decoded(self, coords: Tensor) -> Tensor:
        """N×K×2 in input pixels to what the codec's decode returns for them: for UDP, times W/(W-1) and H/(H-1).

        MMPose's way from there to the picture expects that of it.
        """
        if not self.is_udp:
            return coords
        width, height = self.input_size
        return torch.stack([coords[..., 0] * (width / (width - 1)), coords[..., 1] * (height / (height - 1))], dim=-1)

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
        """N×K×size and the peak's index N×K to the Gaussian's centre, at most 1.5 pixels from it.

        A fiftieth of a perfect peak's height is added on both sides of it: it moves the centre by about a
        hundredth of a pixel there, and keeps the gradient finite where the map is empty still.
        """
        inside = peak.clamp(1, marginal.shape[-1] - 2)[..., None]
        log = (marginal + 0.02 * self.sigma * math.sqrt(2 * math.pi)).log()
        slope = (log.gather(-1, inside + 1) - log.gather(-1, inside - 1)) / 2
        return (inside + (self.sigma**2 * slope).clamp(-1.5, 1.5)).squeeze(-1)

    def peaks(self, outputs: PoseOutputs) -> Tensor:
        heat = outputs.heatmaps.float()
        h, w = heat.shape[-2:]
        index = heat.flatten(2).argmax(-1)
        x, y = index % w, index // w
        move = self._quarter_pixel(heat, x, y) if self.blur is None else self._taylor(heat, x, y, self.blur)
        return self._to_input(torch.stack([x, y], dim=-1) + move)

    def _quarter_pixel(self, heat: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """N×K×2: a quarter of a pixel towards the higher neighbour."""
        h, w = heat.shape[-2:]
        inside_x, inside_y = (x > 0) & (x < w - 1), (y > 0) & (y < h - 1)
        dx = (_at(heat, x + 1, y) - _at(heat, x - 1, y)) * inside_x
        dy = (_at(heat, x, y + 1) - _at(heat, x, y - 1)) * inside_y
        return 0.25 * torch.stack([dx, dy], dim=-1).sign()

    def _taylor(self, heat: Tensor, x: Tensor, y: Tensor, blur: int) -> Tensor:
        """N×K×2: from the highest pixel to the top of the second-order Taylor expansion of log(blurred heatmap).

        By 1.5 pixels at most, as in ``coords``: on a map of noise MMPose's expansion can lead out of the picture.
        """
        floor = 1e-3 if self.is_udp else 1e-10
        log = gaussian_blur(heat, blur).clamp(min=floor, max=50.0).log()
        gap = 1 if self.is_udp else 2  # of the second differences
        here = _at(log, x, y)
        dx, dy = (_at(log, x + 1, y) - _at(log, x - 1, y)) / 2, (_at(log, x, y + 1) - _at(log, x, y - 1)) / 2
        dxx = (_at(log, x + gap, y) - 2 * here + _at(log, x - gap, y)) / gap**2
        dyy = (_at(log, x, y + gap) - 2 * here + _at(log, x, y - gap)) / gap**2
        corners = _at(log, x + 1, y + 1) + _at(log, x - 1, y - 1)
        if self.is_udp:
            sides = sum(_at(log, x + i, y + j) for i, j in ((1, 0), (-1, 0), (0, 1), (0, -1)))
            dxy = (corners - sides + 2 * here) / 2
        else:
            dxy = (corners - _at(log, x + 1, y - 1) - _at(log, x - 1, y + 1)) / 4
        determinant = dxx * dyy - dxy**2
        moves = determinant.abs() > 1e-9
        if not self.is_udp:
            h, w = heat.shape[-2:]
            moves = moves & (x > 1) & (x < w - 2) & (y > 1) & (y < h - 2)
        move = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], dim=-1)
        move = move / torch.where(moves, determinant, 1.0)[..., None]
        return torch.where(moves[..., None], move, 0.0).clamp(-1.5, 1.5)

    def scores(self, outputs: PoseOutputs) -> Tensor:
        return outputs.heatmaps.float().amax((-2, -1))


def _at(heat: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """N×K: the maps N×K×h×w at pixels N×K, which are moved into the map."""
    h, w = heat.shape[-2:]
    index = y.clamp(0, h - 1) * w + x.clamp(0, w - 1)
    return heat.flatten(2).gather(-1, index.unsqueeze(-1)).squeeze(-1)


@lru_cache
def _gaussian_kernel(size: int, device: torch.device) -> Tensor:
    return torch.from_numpy(cv2.getGaussianKernel(size, 0)).float().flatten().to(device)


def gaussian_blur(heatmaps: Tensor, kernel_size: int) -> Tensor:
    """N×K×h×w, each map blurred, with zeros around it, and scaled to its former maximum, as MMPose's codecs do."""
    kernel, half = _gaussian_kernel(kernel_size, heatmaps.device), kernel_size // 2
    with torch.autocast(heatmaps.device.type, enabled=False):
        maps = heatmaps.float().flatten(0, 1).unsqueeze(1)
        blurred = F.conv2d(maps, kernel.view(1, 1, 1, -1), padding=(0, half))
        blurred = F.conv2d(blurred, kernel.view(1, 1, -1, 1), padding=(half, 0)).reshape(heatmaps.shape)
    return blurred * (heatmaps.amax((-2, -1), keepdim=True) / blurred.amax((-2, -1), keepdim=True).clamp(min=1e-12))


class RefinerReader:
    """Reads :class:`IGPGCNHead`: the pose is the last refined one, the confidence its base head's."""

    def __init__(self, head: Any, temperature: float = 1.0):
        self.head = head
        self.base: Any = build_reader(head.base_head, temperature)
        self.input_size: Tuple[int, int] = self.base.input_size
        self.best_score: float = self.base.best_score
        self.codec: Any = self.base.codec

    def __call__(self, feats: Tuple[Tensor, ...], output: Any) -> PoseOutputs:
        refined, base_output = output
        base = self.base(feats, base_output)
        return PoseOutputs(feats=feats, reader=self, simcc=base.simcc, heatmaps=base.heatmaps, refined=refined)

    def labels(self, data_samples: Sequence) -> PoseOutputs:
        """A batch's targets, as if the base head had put them out."""
        return self.base.labels(data_samples)

    def merge_flipped(self, outputs: PoseOutputs, mirrored: PoseOutputs, flip_indices: List[int]) -> PoseOutputs:
        """The base head's output averaged with that for the mirrored picture, and its pose refined in both."""
        merged = self.base.merge_flipped(outputs, mirrored, flip_indices)
        initial = replace(merged, reader=self.base)
        views = (outputs.feats, mirrored.feats)
        return replace(merged, refined=self.head.refine_flipped(views, initial.peaks, initial.confidence, flip_indices))

    def decoded(self, coords: Tensor) -> Tensor:
        """As the base head's codec decodes."""
        return self.base.decoded(coords)

    def coords(self, outputs: PoseOutputs) -> Tensor:
        return outputs.refined[-1].float()

    def peaks(self, outputs: PoseOutputs) -> Tensor:
        return outputs.refined[-1].detach().float()

    def scores(self, outputs: PoseOutputs) -> Tensor:
        return self.base.scores(outputs)


class RescaledReader:
    """Reads the outputs of one network in the input pixels of another, which sees the same picture in another size.

    Pixel i covers [i - 1/2, i + 1/2], as in :func:`torch.nn.functional.interpolate`: ``x' = (x + 1/2)·W'/W - 1/2``.

    Args:
        reader: Reads the network's head.
        input_size: (W', H') of the other one.
    """

    def __init__(self, reader: Any, input_size: Tuple[int, int]):
        self.reader = reader
        self.input_size = input_size
        self.best_score: float = reader.best_score
        self.codec: Any = reader.codec

    def _rescale(self, coords: Tensor) -> Tensor:
        scale_x, scale_y = (own / other for own, other in zip(self.input_size, self.reader.input_size))
        x, y = coords.unbind(-1)
        return torch.stack([(x + 0.5) * scale_x - 0.5, (y + 0.5) * scale_y - 0.5], dim=-1)

    def coords(self, outputs: PoseOutputs) -> Tensor:
        return self._rescale(self.reader.coords(outputs))

    def peaks(self, outputs: PoseOutputs) -> Tensor:
        return self._rescale(self.reader.peaks(outputs))

    def scores(self, outputs: PoseOutputs) -> Tensor:
        return self.reader.scores(outputs)


def flip_coords(coords: Tensor, flip_indices: List[int], width: int) -> Tensor:
    """N×K×2, input pixels of a mirrored picture, to those of the picture itself."""
    coords = coords[:, flip_indices]
    return torch.stack([width - 1 - coords[..., 0], coords[..., 1]], dim=-1)


HeadReader = Union[SimCCReader, HeatmapReader, RefinerReader]
Reader = Union[HeadReader, RescaledReader]


def build_reader(head: Any, temperature: float = 1.0, where: str = 'model.head') -> HeadReader:
    """The reader for a head, chosen by its codec.

    Args:
        head: An MMPose head.
        temperature: Of the softmax in ``coords``, for SimCC heads.
        where: The head's config key, for the message.

    Raises:
        UserError: No reader knows the head's codec.
    """
    if hasattr(head, 'base_head'):
        return RefinerReader(head, temperature)
    codec = getattr(head, 'decoder', None)
    if hasattr(codec, 'simcc_split_ratio'):
        return SimCCReader(head, temperature)
    if isinstance(codec, (MSRAHeatmap, UDPHeatmap)) and getattr(codec, 'heatmap_type', 'gaussian') == 'gaussian':
        return HeatmapReader(head)
    raise UserError(
        f'{where}.decoder: no reader knows the codec {type(codec).__name__} of the head {type(head).__name__}: '
        'distillation reads heads whose `decoder` is SimCCLabel, MSRAHeatmap or UDPHeatmap (heatmap_type="gaussian")'
    )
