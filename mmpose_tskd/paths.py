"""Where the package's configs and tools are, in a source tree and installed."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.utils import import_modules_from_strings

from .errors import UserError

PACKAGE = Path(__file__).resolve().parent
INSTALLED = PACKAGE / '.mim'


def config_folder() -> Path:
    """The folder of the configs."""
    return INSTALLED / 'configs' if INSTALLED.is_dir() else PACKAGE.parent / 'configs'


def load_config(source: str) -> Config:
    """A config file, or, as ``'mmpose::path'``, one of an installed OpenMMLab package.

    Raises:
        UserError: There is none, or it cannot be read. What a module of its ``custom_imports`` raises is let through.
    """
    if '::' not in source:
        if not Path(source).is_file():
            raise UserError(
                f'there is no config {source}; a path is relative to the current folder, or, written in a config as '
                '{{ fileDirname }}/..., to that config'
            )
        try:
            cfg = Config.fromfile(source, import_custom_modules=False)
        except Exception as error:  # whatever its Python code raises
            raise UserError(f'the config {source} cannot be read: {type(error).__name__}: {error}') from error
        if cfg.get('custom_imports'):
            import_modules_from_strings(**cfg.custom_imports)
        return cfg
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
