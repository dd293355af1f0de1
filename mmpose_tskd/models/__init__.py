from . import backbones, distillers, heads, losses  # noqa: F401
from .teachers import FrozenTeacher, RecordedTeacher

__all__ = ['FrozenTeacher', 'RecordedTeacher']
