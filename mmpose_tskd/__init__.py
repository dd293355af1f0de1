"""Two-stage knowledge distillation for MMPose.

Importing the package registers its models, losses and hooks with MMPose; in a config, write
``custom_imports = dict(imports=['mmpose_tskd'])``.
"""

__version__ = '0.2.0'


def _check_environment() -> None:
    """Imports MMPose; where that fails, raises an ImportError with the cause and the command that repairs it."""
    try:
        from . import mmcv_ops

        mmcv_ops.provide()
        import mmpose  # noqa: F401
        import xtcocotools.mask  # noqa: F401
    except Exception as error:
        from .apis.environment_doctor import mend

        raise ImportError(f'mmpose_tskd needs a working MMPose: {error}: {mend(error)}') from error


_check_environment()

from . import engine, evaluation, models  # noqa: E402
from .errors import UserError  # noqa: E402
from .poses import PoseOutputs  # noqa: E402

__all__ = ['PoseOutputs', 'UserError', 'distill', 'engine', 'evaluation', 'models']


def __getattr__(name: str) -> object:
    """:func:`distill`, which imports more than configs need."""
    if name == 'distill':
        from .apis.distill import distill

        return distill
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
