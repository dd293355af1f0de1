import math
from dataclasses import replace
from functools import lru_cache
from typing import List, Optional, Sequence, Tuple, Union

import cv2
import torch
import torch.nn.functional as F
from mmpose.codecs import MSRAHeatmap, UDPHeatmap
from mmpose.models.heads.base_head import BaseHead
from mmpose.models.utils.tta import flip_heatmaps
from torch import Tensor

from .outputs import PoseOutputs
from .reader import HeadReader


class HeatmapReader(HeadReader):
    """Reads heads with a Gaussian heatmap codec (:class:`MSRAHeatmap`, :class:`UDPHeatmap` in its Gaussian form).

    Heatmaps are trained by regression, not by softmax, and a mean over the map is pulled inwards where the image cuts
    the Gaussian off. ``coords`` instead fits a Gaussian of the codec's σ to the pixels next to the peak x0. Its center
    is ``x = x0 + σ²/2 · ln(m(x0+1) / m(x0−1))``, with m(x) the sum of relu(h) over the rows within 3σ of the peak, plus
    a small constant (see :meth:`_center`); y alike. The gradient is local to the peak: it moves a peak by pixels, not
    across the image.

    ``peaks`` is the highest pixel, moved as the codec does. :class:`MSRAHeatmap` moves it a quarter of a pixel towards
    its higher neighbor in x and y, which MMPose itself does not do in column or row 1.
    ``MSRAHeatmap(unbiased=True)``, which is `DARK <https://arxiv.org/abs/1910.06278>`_, and
    `UDP <https://arxiv.org/abs/1911.07524>`_ move it to the top of a parabola through the logarithm of the blurred map.

    A pixel of a UDP map is (W-1)/(w-1) input pixels wide, as in the encoding. MMPose's decode takes W/(w-1), which puts
    a keypoint at the far border up to one pixel further out.
    """

    best_score = 1.0

    def __init__(self, head: BaseHead):
        self.head = head
        self.codec = codec = head.decoder
        self.input_size = tuple(codec.input_size)
        self.scale_factor = tuple(float(s) for s in codec.scale_factor)
        self.is_udp = isinstance(codec, UDPHeatmap)

    @property
    def sigma(self) -> float:
        """Of the Gaussian that the codec draws, in pixels of the heatmap."""
        return float(self.codec.sigma)

    @property
    def blur(self) -> Optional[int]:
        """The size of the kernel that the codec's decode blurs with before it refines; None where it does not."""
        return self.codec.blur_kernel_size if self.is_udp or self.codec.unbiased else None

    def __call__(self, feats: Tuple[Tensor, ...], output: Union[Tensor, List[Tensor]]) -> PoseOutputs:
        if isinstance(output, list):  # one for each stage; CPMHead, too, predicts with the last
            output = output[-1]
        return PoseOutputs(feats=feats, reader=self, heatmaps=output)

    def labels(self, data_samples: Sequence) -> PoseOutputs:
        """A batch's targets, as if a network had put them out."""
        heatmaps = torch.stack([s.gt_fields.heatmaps for s in data_samples])
        return PoseOutputs(feats=(), reader=self, heatmaps=heatmaps)

    def merge_flipped(self, outputs: PoseOutputs, mirrored: PoseOutputs, flip_indices: List[int]) -> PoseOutputs:
        """The heatmaps averaged with those for the mirrored image (moved by a pixel where the codec rounds)."""
        flipped = flip_heatmaps(mirrored.require_heatmaps(), flip_indices, shift_heatmap=self.shifts_flipped)
        return replace(outputs, heatmaps=(outputs.require_heatmaps().float() + flipped.float()) / 2)

    def decoded(self, coords: Tensor) -> Tensor:
        """The pose as the codec's ``decode`` would return it: for UDP, input pixels times W/(W-1) and H/(H-1).

        MMPose expects that of it on the way back to the image.
        """
        if not self.is_udp:
            return coords
        width, height = self.input_size
        return torch.stack([coords[..., 0] * (width / (width - 1)), coords[..., 1] * (height / (height - 1))], dim=-1)

    @property
    def shifts_flipped(self) -> bool:
        """Whether a keypoint in the mirrored image is drawn one pixel right of its counterpart: MSRA rounds it."""
        return isinstance(self.codec, MSRAHeatmap)

    def _heights(self, outputs: PoseOutputs) -> Tensor:
        """The heatmaps, fp32, of which a perfect peak is 1 high."""
        return outputs.require_heatmaps().float()

    def _to_input(self, xy: Tensor) -> Tensor:
        scale_x, scale_y = self.scale_factor
        return torch.stack([xy[..., 0] * scale_x, xy[..., 1] * scale_y], dim=-1)

    def coords(self, outputs: PoseOutputs) -> Tensor:
        heat = self._heights(outputs).clamp(min=0)
        h, w = heat.shape[-2:]
        index = heat.flatten(2).argmax(-1)
        peak_x, peak_y = index % w, index // w
        x = self._center((heat * self._near(peak_y, h)[..., None]).sum(-2), peak_x)
        y = self._center((heat * self._near(peak_x, w)[..., None, :]).sum(-1), peak_y)
        return self._to_input(torch.stack([x, y], dim=-1))

    def _near(self, peak: Tensor, size: int) -> Tensor:
        """N×K to N×K×size: True within 3σ of the peak."""
        return (torch.arange(size, device=peak.device) - peak[..., None]).abs() <= 3 * self.sigma

    def _center(self, marginal: Tensor, peak: Tensor) -> Tensor:
        """N×K×size and the peak's index N×K to the Gaussian's center, at most 1.5 pixels from it.

        A fiftieth of a perfect peak's height is added on both sides of it: it moves the center by about a
        hundredth of a pixel there, and keeps the gradient finite where the map is empty still.
        """
        inside = peak.clamp(1, marginal.shape[-1] - 2)[..., None]
        log = (marginal + 0.02 * self.sigma * math.sqrt(2 * math.pi)).log()
        slope = (log.gather(-1, inside + 1) - log.gather(-1, inside - 1)) / 2
        return (inside + (self.sigma**2 * slope).clamp(-1.5, 1.5)).squeeze(-1)

    def peaks(self, outputs: PoseOutputs) -> Tensor:
        heat = self._heights(outputs)
        h, w = heat.shape[-2:]
        index = heat.flatten(2).argmax(-1)
        x, y = index % w, index // w
        move = self._quarter_pixel(heat, x, y) if self.blur is None else self._taylor(heat, x, y, self.blur)
        return self._to_input(torch.stack([x, y], dim=-1) + move)

    def _quarter_pixel(self, heat: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """N×K×2: a quarter of a pixel towards the higher neighbor."""
        h, w = heat.shape[-2:]
        inside_x, inside_y = (x > 0) & (x < w - 1), (y > 0) & (y < h - 1)
        dx = (_at(heat, x + 1, y) - _at(heat, x - 1, y)) * inside_x
        dy = (_at(heat, x, y + 1) - _at(heat, x, y - 1)) * inside_y
        return 0.25 * torch.stack([dx, dy], dim=-1).sign()

    def _taylor(self, heat: Tensor, x: Tensor, y: Tensor, blur: int) -> Tensor:
        """N×K×2: from the highest pixel to the top of the second-order Taylor expansion of log(blurred heatmap).

        By 1.5 pixels at most, as in ``coords``: on a map of noise MMPose's expansion can lead out of the image.
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
        move = move / determinant.masked_fill(~moves, 1.0)[..., None]
        return move.masked_fill(~moves[..., None], 0.0).clamp(-1.5, 1.5)

    def scores(self, outputs: PoseOutputs) -> Tensor:
        return self._heights(outputs).amax((-2, -1))


def _at(heat: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """N×K: the values of the maps N×K×h×w at pixels (x, y), N×K each; one outside of the map is moved to its border."""
    h, w = heat.shape[-2:]
    index = y.clamp(0, h - 1) * w + x.clamp(0, w - 1)
    return heat.flatten(2).gather(-1, index.unsqueeze(-1)).squeeze(-1)


@lru_cache
def gaussian_kernel(size: int, device: torch.device) -> Tensor:
    """OpenCV's kernel of a size, one row of it."""
    return torch.from_numpy(cv2.getGaussianKernel(size, 0)).float().flatten().to(device)


def gaussian_blur(heatmaps: Tensor, kernel_size: int) -> Tensor:
    """N×K×h×w, each map blurred, with zeros around it, and scaled to its former maximum, as MMPose's codecs do."""
    kernel, half = gaussian_kernel(kernel_size, heatmaps.device), kernel_size // 2
    with torch.autocast(heatmaps.device.type, enabled=False):
        maps = heatmaps.float().flatten(0, 1).unsqueeze(1)
        blurred = F.conv2d(maps, kernel.view(1, 1, 1, -1), padding=(0, half))
        blurred = F.conv2d(blurred, kernel.view(1, 1, -1, 1), padding=(half, 0)).reshape(heatmaps.shape)
    return blurred * (heatmaps.amax((-2, -1), keepdim=True) / blurred.amax((-2, -1), keepdim=True).clamp(min=1e-12))
