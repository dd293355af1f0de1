from . import backbones, distillers, heads, losses  # noqa: F401
from .teacher import FrozenTeacher

__all__ = ['FrozenTeacher']
