"""What every pose network says about a batch of instances.

Letters in the shapes: N instances, K keypoints, (W, H) input size in pixels, (Wx, Wy) SimCC bins, (w, h) heatmap size.
Coordinates are (x, y) in pixels of the network's input image.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Iterator, Optional, Protocol, Sequence, Tuple, TypeVar

import torch
from mmpose.codecs.base import BaseKeypointCodec
from torch import Tensor

from ..errors import UserError

SimCC = Tuple[Tensor, Tensor]
Part = TypeVar('Part')


class PoseReader(Protocol):
    """What :class:`PoseOutputs` asks of the reader that made it: how the head encodes a pose."""

    input_size: Tuple[int, int]
    best_score: float  # the score of the head's own target, so that the scores of all heads compare
    least_score: float  # and that of a keypoint that it does not find at all
    codec: Optional[BaseKeypointCodec]  # of a head that encodes poses

    def coords(self, outputs: 'PoseOutputs') -> Tensor: ...

    def peaks(self, outputs: 'PoseOutputs') -> Tensor: ...

    def scores(self, outputs: 'PoseOutputs') -> Tensor: ...


@dataclass(eq=False)
class PoseOutputs:
    """The outputs of one pose network for one batch; coordinates and scores are computed when first asked for.

    Args:
        feats: The backbone's (or neck's) feature maps, each N×C×H×W. A pooled one, N×C, becomes N×C×1×1; the nested
            lists of a backbone with several stages become one tuple.
        reader: The reader that made this.
        simcc: SimCC logits, N×K×Wx and N×K×Wy; their softmax is the distribution that the head means.
        heatmaps: Heatmaps, N×K×h×w.
        keypoints: A pose known by its coordinates alone, N×K×3: x and y in input pixels, and the score in [0, 1].
        refined: A refiner's progressive poses, coarse to fine, each N×K×2 in input pixels.
        weights: For a teacher: the weight of each keypoint in the losses, N×K or 1×K. None counts each as 1.
    """

    feats: Tuple[Tensor, ...]
    reader: PoseReader
    simcc: Optional[SimCC] = None
    heatmaps: Optional[Tensor] = None
    keypoints: Optional[Tensor] = None
    refined: Tuple[Tensor, ...] = ()
    weights: Optional[Tensor] = None

    def __post_init__(self) -> None:
        self.feats = tuple(_maps(self.feats))

    @cached_property
    def coords(self) -> Tensor:
        """N×K×2, input pixels, fp32, differentiable: a soft decode, for SimCC an expectation.

        For the head's own target it is unbiased.
        """
        return self.reader.coords(self)

    @cached_property
    def peaks(self) -> Tensor:
        """N×K×2, input pixels, fp32, no gradient: the hard decode by the highest bin or pixel, on the device."""
        with torch.no_grad():
            return self.reader.peaks(self)

    @cached_property
    def scores(self) -> Tensor:
        """N×K, fp32, no gradient: the confidence of each keypoint, on the head's own scale."""
        with torch.no_grad():
            return self.reader.scores(self)

    @property
    def confidence(self) -> Tensor:
        """N×K, in [0, 1]: the scores, scaled so that the reader's ``least_score`` is 0 and its ``best_score`` 1.

        Confidences of different heads can therefore be compared.
        """
        least, best = self.reader.least_score, self.reader.best_score
        return ((self.scores - least) / (best - least)).clamp(0, 1)

    def require_simcc(self) -> SimCC:
        """``simcc``, or a UserError where the outputs have none."""
        return _required(self.simcc, 'SimCC bins are asked of a network whose head has none')

    def require_heatmaps(self) -> Tensor:
        """``heatmaps``, or a UserError where the outputs have none."""
        return _required(self.heatmaps, 'heatmaps are asked of a network whose head has none')

    def require_keypoints(self) -> Tensor:
        """``keypoints``, or a UserError where the outputs have none."""
        return _required(self.keypoints, 'coordinates are asked of a network whose head puts out none')

    def select_joints(self, indices: Tensor) -> 'PoseOutputs':
        """The outputs for a selection of the keypoints, in the order of ``indices``; ``weights`` stay as they are.

        Args:
            indices: The keypoints to take, int64.
        """
        return replace(
            self,
            simcc=None if self.simcc is None else (self.simcc[0][:, indices], self.simcc[1][:, indices]),
            heatmaps=None if self.heatmaps is None else self.heatmaps[:, indices],
            keypoints=None if self.keypoints is None else self.keypoints[:, indices],
            refined=tuple(pose[:, indices] for pose in self.refined),
        )

    @property
    def codec(self) -> Optional[BaseKeypointCodec]:
        """The codec of the head, None where coordinates are all that is known."""
        return self.reader.codec

    @property
    def input_size(self) -> Tuple[int, int]:
        """(W, H) of the network's input, in pixels."""
        return self.reader.input_size


def _required(value: Optional[Part], message: str) -> Part:
    if value is None:
        raise UserError(message)
    return value


def _maps(feats: Sequence) -> Iterator[Tensor]:
    for feat in feats:
        if not isinstance(feat, Tensor):
            yield from _maps(feat)
        else:
            yield feat[..., None, None] if feat.ndim == 2 else feat
