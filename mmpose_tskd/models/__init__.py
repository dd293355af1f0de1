from . import backbones, distillers, heads, losses  # noqa: F401
from .teachers import FrozenTeacher

__all__ = ['FrozenTeacher']
