import pickle
import runpy
import sys
from pathlib import Path

import mmpose

from ..errors import UserError


def run_mmpose_tool(name: str) -> None:
    """Runs one of the tools that MMPose ships, with the command line as it stands.

    A :class:`UserError` ends it with its message alone; a checkpoint that safe loading refuses, with what to do.

    Args:
        name: The tool's file name without its ending: ``'train'`` or ``'test'``.
    """
    tool = Path(mmpose.__file__).parent / '.mim' / 'tools' / f'{name}.py'
    if not tool.is_file():
        sys.exit(f'MMPose\'s own {name} tool is not at {tool}: reinstall mmpose ("mim install mmpose")')
    try:
        runpy.run_path(str(tool), run_name='__main__')
    except UserError as error:
        sys.exit(f'error: {error}')
    except pickle.UnpicklingError as error:
        sys.exit(
            f'error: a checkpoint holds more than tensors and plain values; loading it could run its code: {error}\n'
            'A file that mmpose_tskd wrote loads as it is. If you trust where this one came from, set '
            'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 for this run.'
        )
