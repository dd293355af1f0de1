from dataclasses import replace
from typing import List, Sequence, Tuple, Union

import numpy as np
import torch
import torch.nn.functional as F
from mmpose.models.heads.base_head import BaseHead
from mmpose.models.utils.tta import flip_heatmaps
from torch import Tensor

from .heatmap import HeatmapReader, gaussian_kernel
from .outputs import PoseOutputs


class CombinedReader(HeatmapReader):
    """Reads heads with ``UDPHeatmap(heatmap_type='combined')``: for each keypoint a disc, and x and y offsets to it.

    The three maps of a keypoint stand one below the other in ``heatmaps``, N×K×3h×w. ``peaks`` is the pixel where the
    blurred disc is highest, plus the offset there, as the codec decodes. ``coords`` is the mean of pixel plus offset
    over the pixels within the disc's radius of that one, weighted by the disc's height in each. It is exact for the
    head's own target, and has a gradient in all these pixels.
    """

    def __init__(self, head: BaseHead):
        codec = head.decoder
        super().__init__(head)
        self.radius = codec.radius_factor * max(codec.heatmap_size)
        self.kernel_size = 2 * codec.blur_kernel_size + 1
        target = codec.encode(np.array([[self.input_size]], dtype=np.float32) / 2)['heatmaps']
        self.best_score = float(self._blurred(torch.from_numpy(target)[None, :1]).max())

    @property
    def num_keypoints(self) -> int:
        return self.head.out_channels // 3

    def __call__(self, feats: Tuple[Tensor, ...], output: Union[Tensor, List[Tensor]]) -> PoseOutputs:
        outputs = super().__call__(feats, output)
        return replace(outputs, heatmaps=_stacked(outputs.require_heatmaps()))

    def labels(self, data_samples: Sequence) -> PoseOutputs:
        """A batch's targets, as if a network had put them out."""
        return self((), torch.stack([s.gt_fields.heatmaps for s in data_samples]))

    def merge_flipped(self, outputs: PoseOutputs, mirrored: PoseOutputs, flip_indices: List[int]) -> PoseOutputs:
        """The maps averaged with those for the mirrored image, whose x offsets change their sign."""
        maps = mirrored.require_heatmaps().float()
        n, k, height, w = maps.shape
        flipped = flip_heatmaps(maps.reshape(n, 3 * k, height // 3, w), flip_indices, 'udp_combined', False)
        return replace(outputs, heatmaps=(outputs.require_heatmaps().float() + _stacked(flipped)) / 2)

    def _read(self, outputs: PoseOutputs) -> Tuple[Tensor, Tensor, Tensor]:
        """Splits the maps of each keypoint.

        Returns:
            The discs, N×K×h×w; the place that each pixel's offset points to, N×K×2×h×w, in pixels of the heatmap; and
            the index of the blurred disc's highest pixel, N×K.
        """
        maps = outputs.require_heatmaps().float().unflatten(2, (3, -1))
        disc, ways = maps[:, :, 0], maps[:, :, 1:]
        return disc, _grid(disc) + self.radius * ways, self._blurred(disc).flatten(2).argmax(-1)

    def _blurred(self, disc: Tensor) -> Tensor:
        kernel, half = gaussian_kernel(self.kernel_size, disc.device), self.kernel_size // 2
        with torch.autocast(disc.device.type, enabled=False):
            maps = F.pad(disc.detach().flatten(0, 1).unsqueeze(1), (half,) * 4, mode='reflect')
            blurred = F.conv2d(F.conv2d(maps, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
        return blurred.reshape(disc.shape)

    def coords(self, outputs: PoseOutputs) -> Tensor:
        disc, said, index = self._read(outputs)
        w = disc.shape[-1]
        top = torch.stack([index % w, index // w], dim=-1)[..., None, None]
        near = (_grid(disc) - top).square().sum(2) <= self.radius**2
        weight = ((disc.clamp(min=0) + 0.02) * near).unsqueeze(2)  # in an empty disc all count alike
        return self._to_input((said * weight).sum((-2, -1)) / weight.sum((-2, -1)))

    def peaks(self, outputs: PoseOutputs) -> Tensor:
        _, said, index = self._read(outputs)
        return self._to_input(said.flatten(3).gather(-1, index[..., None, None].expand(-1, -1, 2, -1)).squeeze(-1))

    def scores(self, outputs: PoseOutputs) -> Tensor:
        disc, _, _ = self._read(outputs)
        return self._blurred(disc).amax((-2, -1))


def _stacked(maps: Tensor) -> Tensor:
    """N×3K×h×w to N×K×3h×w."""
    return maps.unflatten(1, (-1, 3)).flatten(2, 3)


def _grid(maps: Tensor) -> Tensor:
    """2×h×w: x and y of each pixel."""
    h, w = maps.shape[-2:]
    x, y = torch.arange(w, device=maps.device), torch.arange(h, device=maps.device)
    return torch.stack([x.expand(h, w), y[:, None].expand(h, w)])
