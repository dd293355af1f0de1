from typing import Any, Dict, Optional, Union

from mmpose.registry import MODELS

from ...errors import UserError
from .frozen_teacher import FrozenTeacher
from .teacher import Teacher


def build_teacher(
    teacher: Union[str, dict],
    checkpoint: Optional[str],
    temperature: float,
    forward_pass: str = 'plain',
    **options: Any,
) -> Teacher:
    """The teacher that a distiller's config describes.

    Args:
        teacher: A dict with the ``type`` of a :class:`Teacher`; or a model dict, a config file or ``'mmpose::path'`` of
            an MMPose network, which :class:`FrozenTeacher` holds.
        checkpoint: The weights of an MMPose network.
        temperature: Of an MMPose network, see :func:`build_reader`.
        forward_pass: Of an MMPose network, see :class:`FrozenTeacher`.
        options: Of every teacher: ``metainfo``, ``flip_test`` and ``confidence_power``.

    Raises:
        UserError: An option is wrong, missing, or not this teacher's.
    """
    given: Dict[str, Any] = dict(teacher) if isinstance(teacher, dict) else {}
    kind = given.pop('type', None)
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(kind, type) and issubclass(kind, Teacher)):
        return FrozenTeacher(teacher, checkpoint, temperature, forward_pass, **options)
    if checkpoint is not None:
        raise UserError(f'model.teacher_checkpoint is for MMPose networks: model.teacher={kind.__name__} has none')
    if forward_pass != 'plain':
        raise UserError(f'model.teacher_pass is for MMPose networks: model.teacher={kind.__name__} has none to fold')
    try:
        return kind(**given, **options)
    except (TypeError, UserError) as error:
        raise UserError(f'model.teacher={kind.__name__}: {error}') from error
