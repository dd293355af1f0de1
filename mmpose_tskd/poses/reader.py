from abc import ABC, abstractmethod
from typing import Any, List, Sequence, Tuple

import torch
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.models.heads.base_head import BaseHead
from torch import Tensor

from .outputs import PoseOutputs


class HeadReader(ABC):
    """Turns the output of one kind of head into :class:`PoseOutputs`.

    A new kind of head needs one subclass, chosen in :func:`find_reader`. ``head`` is the module whose ``forward`` is
    read; it may be a part of the model's head.
    """

    head: BaseHead
    codec: BaseKeypointCodec
    input_size: Tuple[int, int]
    best_score: float
    least_score: float = 0.0
    is_udp: bool = False  # whether it takes crops of UDP

    @property
    def num_keypoints(self) -> int:
        """K."""
        return self.head.out_channels

    @abstractmethod
    def __call__(self, feats: Tuple[Tensor, ...], output: Any) -> PoseOutputs:
        """Wraps ``output``, which ``head.forward`` returned for ``feats``."""

    @abstractmethod
    def labels(self, data_samples: Sequence) -> PoseOutputs:
        """A batch's targets, as if the head had put them out."""

    @abstractmethod
    def merge_flipped(self, outputs: PoseOutputs, mirrored: PoseOutputs, flip_indices: List[int]) -> PoseOutputs:
        """The outputs for an image averaged with those for the mirrored image (flip test)."""

    def unmerged(self, feats: Tuple[Tensor, ...]) -> Any:
        """The part of the head's output for ``feats`` that :meth:`merge_flipped` needs."""
        return self.head.forward(feats)

    def decoded(self, coords: Tensor) -> Tensor:
        """The pose as the codec's ``decode`` would return it, from N×K×2 in input pixels."""
        return coords

    @abstractmethod
    def coords(self, outputs: PoseOutputs) -> Tensor:
        """See :attr:`PoseOutputs.coords`."""

    @abstractmethod
    def peaks(self, outputs: PoseOutputs) -> Tensor:
        """See :attr:`PoseOutputs.peaks`."""

    @abstractmethod
    def scores(self, outputs: PoseOutputs) -> Tensor:
        """See :attr:`PoseOutputs.scores`."""


def flip_coords(coords: Tensor, flip_indices: List[int], width: int) -> Tensor:
    """N×K×2, input pixels of a mirrored image, to those of the image itself."""
    coords = coords[:, flip_indices]
    return torch.stack([width - 1 - coords[..., 0], coords[..., 1]], dim=-1)
