"""The output formats that runtimes expect, and how they decode them."""

from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from ..poses import PoseOutputs
from .network import Normalization

# Mean and std of rtmlib's RTMPose class. They are meant for RGB, but rtmlib applies them to BGR images.
RTMLIB = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), rgb=False)
RTMLIB_BINS = 2.0  # bins a pixel, fixed in rtmlib
Answer = Tuple[Tensor, Tensor]
Pose = Tuple[np.ndarray, np.ndarray]  # keypoints N×K×2 and confidences N×K


class Format(NamedTuple):
    """An output format of exported files.

    Args:
        outputs: The names of the file's two outputs.
        answer: Computes the two outputs from the :class:`PoseOutputs` of a batch.
        decode: Reads them as the runtime does, as keypoints N×K×2 and confidences N×K.
        expected: The keypoints that ``decode`` should give, N×K×2; NaN where it can give none.
        tolerance: By how many input pixels decoded keypoints may differ from the expected ones.
        given: How the runtime normalizes images; None where that can be configured.
        decoded: Whether the keypoints are those of the codec's ``decode``, which are not input pixels for UDP.
    """

    outputs: Tuple[str, str]
    answer: Callable[[PoseOutputs], Answer]
    decode: Callable[[Sequence[np.ndarray]], Pose]
    expected: Callable[[PoseOutputs], Tensor]
    tolerance: float
    given: Optional[Normalization] = None
    decoded: bool = False

    def fits(self, first: Sequence[int], second: Sequence[int]) -> bool:
        """Whether the shapes of its outputs can be read."""
        if self.decode is _by_argmax:
            return len(first) == len(second) == 3 and min(*first, *second) > 0
        return len(first) == 3 and first[2] == 2 and len(second) == 2


def _peaks(outputs: PoseOutputs) -> Tensor:
    return outputs.peaks


def _decoded(outputs: PoseOutputs) -> Tensor:
    """What the codec's ``decode`` returns, which MMPose's (and mmdeploy's) way back to the image expects."""
    reader: Any = outputs.reader  # of a head, since a student's frame is not exported
    return reader.decoded(outputs.peaks)


def _within_bins(outputs: PoseOutputs) -> Tensor:
    """The keypoints as rtmlib's bins can express them: clamped to the last bin, half a pixel before the far border.

    A keypoint of confidence 0 has no highest bin: it is NaN here, and -1 in rtmlib.
    """
    sides = [
        coords.clamp(0, size - 1 / RTMLIB_BINS) for coords, size in zip(outputs.peaks.unbind(-1), outputs.input_size)
    ]
    return torch.stack(sides, dim=-1).masked_fill(outputs.confidence[..., None] <= 0, float('nan'))


def say_coords(outputs: PoseOutputs) -> Answer:
    """Keypoints N×K×2, input pixels, and confidences N×K."""
    return _peaks(outputs), outputs.confidence


def say_decoded(outputs: PoseOutputs) -> Answer:
    """Keypoints N×K×2 as the codec decodes them, and confidences N×K."""
    return _decoded(outputs), outputs.confidence


def say_simcc(outputs: PoseOutputs, sigma: float = 4.0) -> Answer:
    """Two vectors of bins for each keypoint; the highest bin lies at the keypoint and is as high as its confidence.

    Bin j is ``confidence · exp(-(j - b)² / 2σ²)``, where b is the bin nearest to the coordinate. So a coordinate that
    is read back is off by half a bin at most.

    Returns:
        N×K×2W and N×K×2H.
    """
    vectors = []
    for coords, size in zip(outputs.peaks.unbind(-1), outputs.input_size):
        bins = torch.arange(round(RTMLIB_BINS * size), device=coords.device, dtype=coords.dtype)
        nearest = (coords * RTMLIB_BINS).round().clamp(0, len(bins) - 1)[..., None]
        vectors.append(outputs.confidence[..., None] * torch.exp(-((bins - nearest) ** 2) / (2 * sigma**2)))
    return vectors[0], vectors[1]


def _as_they_are(values: Sequence[np.ndarray]) -> Pose:
    return values[0], values[1]


def _by_argmax(values: Sequence[np.ndarray]) -> Pose:
    """As rtmlib does; its score is the mean of the two maxima."""
    x, y = values
    return np.stack([x.argmax(-1), y.argmax(-1)], axis=-1) / RTMLIB_BINS, (x.max(-1) + y.max(-1)) / 2


FORMATS: Dict[str, Format] = dict(
    coords=Format(('keypoints', 'scores'), say_coords, _as_they_are, _peaks, 0.05),
    rtmlib=Format(('simcc_x', 'simcc_y'), say_simcc, _by_argmax, _within_bins, 0.3, given=RTMLIB),
    # its post-processor takes coordinates and scores by these names
    mmdeploy=Format(('simcc_x', 'simcc_y'), say_decoded, _as_they_are, _decoded, 0.05, decoded=True),
)
