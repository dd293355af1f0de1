"""Where the package's configs and tools are, in a source tree and installed."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

from mmengine.config import Config
from mmengine.hub import get_config

from .errors import UserError

PACKAGE = Path(__file__).resolve().parent
INSTALLED = PACKAGE / '.mim'


def config_folder() -> Path:
    """The folder of the configs."""
    return INSTALLED / 'configs' if INSTALLED.is_dir() else PACKAGE.parent / 'configs'


def load_config(source: str) -> Config:
    """A config file, or, as ``'mmpose::path'``, one of an installed OpenMMLab package.

    Raises:
        UserError: There is none.
    """
    if '::' not in source:
        if not Path(source).is_file():
            raise UserError(
                f'there is no config {source}; a path is relative to the current folder, or, written in a config as '
                '{{ fileDirname }}/..., to that config'
            )
        return Config.fromfile(source)
    try:
        return get_config(source)
    except (FileNotFoundError, PackageNotFoundError, AssertionError, ValueError) as error:
        raise UserError(
            f'there is no config {source} ({error}): it is written as package::path, the path below the configs folder '
            'of an installed package, such as mmpose::body_2d_keypoint/...'
        ) from error


def tool_command(name: str) -> str:
    """The shell command that starts one of our tools."""
    if not INSTALLED.is_dir():
        return f'python tools/{name}.py'
    return 'mim train mmpose_tskd' if name == 'train' else f'mim run mmpose_tskd {name}'
