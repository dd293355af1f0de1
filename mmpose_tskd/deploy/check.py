"""Whether an exported file says what PyTorch says."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .formats import Format
from .network import PoseNetwork
from .onnx_file import OnnxSession

SCORE_TOLERANCE = 0.01


class Agreement(NamedTuple):
    """The largest differences between a file and PyTorch."""

    pixels: float  # of a keypoint's x or y, input pixels
    score: float  # of a confidence
    people: int  # that were compared


def compare(session: OnnxSession, reference: PoseNetwork, form: Format, crops: Tensor, batch: int = 16) -> Agreement:
    """Compares what a file says of instances with what PyTorch does.

    PyTorch predicts each keypoint three times: for the pixels, and for pixels that are brighter and darker by a
    ten-thousandth. The prediction nearest to the file's counts, since where two bins are equally high but for rounding,
    a runtime may choose either. Confidences are compared with the first prediction.

    Args:
        session: The file.
        reference: The network in PyTorch, in fp32, which takes pixels.
        form: The file's format.
        crops: BGR pixels, N×3×H×W, uint8.
        batch: How many instances at a time.
    """
    pixels, score = [], []
    for people in crops.split(batch):
        keypoints, scores = form.decode(session(session.prepare(people)))
        with torch.no_grad():
            said = [reference.read(people.float() * factor) for factor in (1.0, 0.9999, 1.0001)]
        places = [form.expected(outputs).numpy() for outputs in said]
        apart = [np.where(np.isnan(place), 0, np.abs(keypoints - place)) for place in places]
        pixels.append(np.min(apart, axis=0).max())
        score.append(np.abs(scores - said[0].confidence.numpy()).max())
    return Agreement(float(np.max(pixels)), float(np.max(score)), len(crops))


def check(agreement: Agreement, tolerance: float, what: str) -> None:
    """Refuses a file that differs.

    Raises:
        UserError: A keypoint differs by more than ``tolerance`` input pixels, or a confidence by more than 0.01.
    """
    if not (agreement.pixels <= tolerance and agreement.score <= SCORE_TOLERANCE):
        raise UserError(
            f'the exported file is not kept: on {agreement.people} {what} its keypoints differ from those of PyTorch '
            f'by up to {agreement.pixels:.3g} input pixels (allowed: {tolerance}), its confidences by up to '
            f'{agreement.score:.2g} (allowed: {SCORE_TOLERANCE})'
        )
