"""How fast training, inference, data, evaluation and exported files are, and how much memory training takes."""

from .data import benchmark_data
from .deployment import benchmark_deploy
from .evaluation import benchmark_eval
from .inference import benchmark_infer
from .measuring import Setting, find_device
from .profiling import profile_steps
from .scaling import benchmark_scaling
from .step import benchmark_step

__all__ = [
    'Setting',
    'benchmark_data',
    'benchmark_deploy',
    'benchmark_eval',
    'benchmark_infer',
    'benchmark_scaling',
    'benchmark_step',
    'find_device',
    'profile_steps',
]
