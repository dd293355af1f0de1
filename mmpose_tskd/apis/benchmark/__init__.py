"""How fast training, inference, data and evaluation are, and how much memory they take."""

from .networks import Setting
from .step import benchmark_step

__all__ = ['Setting', 'benchmark_step']
