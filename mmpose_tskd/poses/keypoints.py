from dataclasses import replace
from typing import List, Optional, Tuple

import torch
from mmpose.codecs.base import BaseKeypointCodec
from torch import Tensor

from .outputs import PoseOutputs
from .reader import flip_coords


class KeypointReader:
    """Reads poses of which only coordinates and scores are known: from a record, a function, or a file that decodes.

    ``coords`` and ``peaks`` are the same pose. There are no features, bins or heatmaps, and no codec.

    Args:
        input_size: (W, H) in pixels.
        is_udp: Whether the network that the poses come from takes crops of UDP.
    """

    best_score = 1.0
    least_score = 0.0
    codec: Optional[BaseKeypointCodec] = None

    def __init__(self, input_size: Tuple[int, int], is_udp: bool = False):
        self.input_size = input_size
        self.is_udp = is_udp

    def __call__(self, feats: Tuple[Tensor, ...], output: Tensor) -> PoseOutputs:
        """``output``: N×K×3, x and y in input pixels, and the score in [0, 1]."""
        return PoseOutputs(feats=feats, reader=self, keypoints=output.float())

    def merge_flipped(self, outputs: PoseOutputs, mirrored: PoseOutputs, flip_indices: List[int]) -> PoseOutputs:
        """The two poses joined (:func:`join_keypoints`)."""
        own, other = self.coords(outputs), self.coords(mirrored)
        other = flip_coords(other, flip_indices, self.input_size[0])
        scores = mirrored.scores[:, flip_indices]
        flipped = torch.cat([other, scores[..., None]], dim=-1)
        reach = own.new_full((len(own),), 0.1 * max(self.input_size))
        return replace(outputs, keypoints=join_keypoints(torch.stack([outputs.require_keypoints(), flipped]), reach))

    def coords(self, outputs: PoseOutputs) -> Tensor:
        return outputs.require_keypoints()[..., :2]

    def peaks(self, outputs: PoseOutputs) -> Tensor:
        return outputs.require_keypoints()[..., :2]

    def scores(self, outputs: PoseOutputs) -> Tensor:
        return outputs.require_keypoints()[..., 2]


def join_keypoints(keypoints: Tensor, reach: Tensor) -> Tensor:
    """Joins several answers for the same instances into one.

    For each keypoint, only the most confident answer and those within ``reach`` of it agree. The place is the mean of
    these answers, weighted by their scores. The score is the mean over all answers, where those that do not agree count
    as 0. A negative score marks an answer without this keypoint, which is left out of both.

    Args:
        keypoints: T×N×K×3: x, y and score of T answers.
        reach: N, in the unit of x and y.

    Returns:
        N×K×3; the score is -1 for a keypoint that is in no answer.
    """
    xy, score = keypoints[..., :2], keypoints[..., 2]
    best = score.argmax(0)[None, ..., None].expand(1, *xy.shape[1:])
    near = (xy - xy.gather(0, best)).norm(dim=-1) <= reach[:, None]
    known = score >= 0
    weight = score.clamp(min=0) * near
    total = weight.sum(0)
    place = (xy * weight[..., None]).sum(0) / total.clamp(min=1e-12)[..., None]
    place = torch.where(total[..., None] > 0, place, xy.gather(0, best)[0])
    joined = torch.where(known.any(0), total / known.sum(0).clamp(min=1), -1.0)
    return torch.cat([place, joined[..., None]], dim=-1)
