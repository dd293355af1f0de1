from typing import Sequence

import torch
from torch import Tensor

from .heatmap import HeatmapReader, gaussian_blur
from .outputs import PoseOutputs


class MegviiReader(HeatmapReader):
    """Reads heads with :class:`MegviiHeatmap` (MSPN, RSN); only the last unit of the last stage counts.

    The codec draws a keypoint, 255 high, onto the pixel that it lies in, so the pixel's middle stands for it. (Within a
    kernel of the border the codec folds the Gaussian back, and its top is up to two pixels off.) ``peaks`` and
    ``scores`` are as in the codec's decode: the highest pixel of the blurred map plus half a pixel, moved a quarter
    towards its higher neighbors (at the border neither is done); and the map's height over 255, plus a half.
    """

    best_score, least_score = 1.5, 0.5

    @property
    def kernel_size(self) -> int:
        return self.codec.kernel_size

    @property
    def sigma(self) -> float:
        """The σ that OpenCV takes for the codec's kernel size, in pixels of the heatmap."""
        return 0.3 * ((self.kernel_size - 1) * 0.5 - 1) + 0.8

    def labels(self, data_samples: Sequence) -> PoseOutputs:
        """A batch's targets for the last unit, as if a network had put them out."""
        heatmaps = torch.stack([s.gt_fields[self.head.level_indices[-1]].heatmaps for s in data_samples])
        return PoseOutputs(feats=(), reader=self, heatmaps=heatmaps)

    def _heights(self, outputs: PoseOutputs) -> Tensor:
        return super()._heights(outputs) / 255

    def coords(self, outputs: PoseOutputs) -> Tensor:
        return super().coords(outputs) + outputs.require_heatmaps().new_tensor(self.scale_factor).float() / 2

    def peaks(self, outputs: PoseOutputs) -> Tensor:
        heat = gaussian_blur(self._heights(outputs), self.kernel_size)
        h, w = heat.shape[-2:]
        index = heat.flatten(2).argmax(-1)
        x, y = index % w, index // w
        inside = ((x > 1) & (x < w - 1) & (y > 1) & (y < h - 1))[..., None]
        move = (self._quarter_pixel(heat, x, y) + 0.5).masked_fill(~inside, 0.0)
        return self._to_input(torch.stack([x, y], dim=-1) + move)

    def scores(self, outputs: PoseOutputs) -> Tensor:
        return super().scores(outputs) + 0.5
