from ...errors import UserError
from ...poses import PoseOutputs

_NAMES = dict(heatmaps='heatmaps', simcc='SimCC bins')
_COMPARES = dict(heatmaps='HeatmapMSELoss', simcc='SimCCLogitKDLoss')


def check_both_offer(kind: str, loss: str, student: PoseOutputs, teacher: PoseOutputs) -> None:
    """That the heads of both networks put out what a loss compares.

    Args:
        kind: ``'heatmaps'`` or ``'simcc'``.
        loss: The loss's name, for the message.
        student: The student's outputs.
        teacher: The teacher's.

    Raises:
        UserError: One of them does not; with a loss that would fit.
    """
    other = 'simcc' if kind == 'heatmaps' else 'heatmaps'
    for who, outputs in (('student', student), ('teacher', teacher)):
        if getattr(outputs, kind) is None:
            both = getattr(student, other) is not None and getattr(teacher, other) is not None
            only = getattr(outputs, other) is None
            offers = ' offers no more than a pose' if only else f"'s head offers {_NAMES[other]}"
            fits = f'{_COMPARES[other]}, or ' if both else ''
            raise UserError(
                f'{loss} compares {_NAMES[kind]}, but the {who}{offers}: '
                f'use {fits}PoseL1Loss, which compares the poses of any two heads'
            )
