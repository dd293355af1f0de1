from .command import distill
from .configs import PRESETS

__all__ = ['PRESETS', 'distill']
