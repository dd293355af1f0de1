"""Where the package's configs and tools are, in a source tree and installed."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
INSTALLED = PACKAGE / '.mim'


def config_folder() -> Path:
    """The folder of the configs."""
    return INSTALLED / 'configs' if INSTALLED.is_dir() else PACKAGE.parent / 'configs'


def tool_command(name: str) -> str:
    """The shell command that starts one of our tools."""
    if not INSTALLED.is_dir():
        return f'python tools/{name}.py'
    return 'mim train mmpose_tskd' if name == 'train' else f'mim run mmpose_tskd {name}'
