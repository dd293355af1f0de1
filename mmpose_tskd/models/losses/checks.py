from typing import Optional, Sequence

import numpy as np
from torch import Tensor

from ...errors import UserError
from ...poses import PoseOutputs

_NAMES = dict(heatmaps='heatmaps', simcc='SimCC bins', keypoints='coordinates')
_COMPARES = dict(heatmaps='HeatmapMSELoss', simcc='SimCCLogitKDLoss')


def check_option(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises UserError if an option is none of its choices."""
    if value not in choices:
        raise UserError(f'{name} is one of {", ".join(map(repr, choices))}, not {value!r}')


def check_shapes(name: str, student: Tensor, teacher: Tensor, joint_weights: Optional[Tensor] = None) -> None:
    """Checks that a loss compares tensors of one shape: PyTorch would broadcast 4×17×2 against 1×17×2 without a word.

    Args:
        name: The loss's, for the message.
        student: N×K×...
        teacher: Of the same shape.
        joint_weights: N×K or 1×K, or None.

    Raises:
        ValueError: The shapes differ, or the weights' shape does not fit them.
    """
    if student.shape != teacher.shape:
        raise ValueError(f'{name} compares tensors of one shape, got {tuple(student.shape)} and {tuple(teacher.shape)}')
    if joint_weights is not None and tuple(joint_weights.shape) not in (student.shape[:2], (1, student.shape[1])):
        raise ValueError(
            f'{name} takes weights N×K or 1×K for {tuple(student.shape)}, got {tuple(joint_weights.shape)}'
        )


def check_both_offer(kind: str, loss: str, student: PoseOutputs, teacher: PoseOutputs) -> None:
    """Checks that the heads of both networks put out what a loss compares.

    Args:
        kind: ``'heatmaps'`` or ``'simcc'``.
        loss: The loss's name, for the message.
        student: The student's outputs.
        teacher: The teacher's.

    Raises:
        UserError: One of them does not. The message names a loss that would fit.
    """
    other = 'simcc' if kind == 'heatmaps' else 'heatmaps'
    for who, outputs in (('student', student), ('teacher', teacher)):
        if getattr(outputs, kind) is None:
            offers = next(name for name in _NAMES if getattr(outputs, name) is not None)
            both = getattr(student, other) is not None and getattr(teacher, other) is not None
            fits = f'{_COMPARES[other]}, or ' if both else ''
            raise UserError(
                f'{loss} compares {_NAMES[kind]}, but the {who} offers {_NAMES[offers]}: '
                f'use {fits}PoseL1Loss, which compares the poses of any two heads'
            )


def check_drawn_alike(loss: str, student: PoseOutputs, teacher: PoseOutputs, options: Sequence[str]) -> None:
    """Checks that the codecs of both networks encode a keypoint alike, so that equal poses have equal targets.

    Args:
        loss: The loss's name, for the message.
        student: The student's outputs.
        teacher: The teacher's.
        options: Names of the codec options on which the encoding depends.

    Raises:
        UserError: The codecs are of different classes, or differ in one of these options.
    """
    drawn, others = (
        {name: np.asarray(getattr(outputs.codec, name)).tolist() for name in options if hasattr(outputs.codec, name)}
        for outputs in (student, teacher)
    )
    own_kind, other_kind = type(student.codec).__name__, type(teacher.codec).__name__
    if (own_kind, drawn) != (other_kind, others):
        raise UserError(
            f"{loss} compares what two codecs draw, but the student's draws a keypoint by {own_kind} "
            f"{drawn}, the teacher's by {other_kind} {others}: give the student's codec the teacher's, or use "
            'PoseL1Loss'
        )
