from typing import Tuple

import torch
from torch import Tensor

from .outputs import PoseOutputs, PoseReader


class RescaledView:
    """The poses of one network in the input pixels of another, which sees the same image in another size.

    A view of a reader, for :class:`PoseOutputs` alone: it reads no head.

    Pixel i covers [i - 1/2, i + 1/2], as in :func:`torch.nn.functional.interpolate`: ``x' = (x + 1/2)·W'/W - 1/2``.

    Args:
        reader: Reads the network's head.
        input_size: (W', H') of the other one.
    """

    def __init__(self, reader: PoseReader, input_size: Tuple[int, int]):
        self.reader = reader
        self.input_size = input_size
        self.best_score = reader.best_score
        self.least_score = reader.least_score
        self.codec = reader.codec

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
