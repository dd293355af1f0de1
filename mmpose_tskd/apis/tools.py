import os
import pickle
import runpy
import sys
from pathlib import Path

import mmpose

from ..checkpoint import mmengines_globals
from ..errors import UserError


def run_mmpose_tool(name: str) -> None:
    """Runs one of the tools that MMPose ships, with the command line as it stands.

    A :class:`UserError`, a missing file and a checkpoint that safe loading refuses end it with a message alone. Every
    checkpoint is loaded tensors-only, unless ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD`` is set.

    Args:
        name: The tool's file name without its ending: ``'train'`` or ``'test'``.
    """
    tool = Path(mmpose.__file__).parent / '.mim' / 'tools' / f'{name}.py'
    if not tool.is_file():
        sys.exit(f'error: MMPose\'s own {name} tool is not at {tool}: reinstall mmpose ("mim install mmpose")')
    if not os.environ.get('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'):
        os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'  # for URLs too, which torch.hub unpickles otherwise
    try:
        with mmengines_globals():
            runpy.run_path(str(tool), run_name='__main__')
    except UserError as error:
        sys.exit(f'error: {error}')
    except pickle.UnpicklingError as error:
        sys.exit(
            f'error: a checkpoint holds more than tensors and plain values; loading it could run its code: {error}\n'
            'A file that MMPose or mmpose_tskd wrote loads as it is. If you trust where this one came from, set '
            'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 for this run.'
        )
    except FileNotFoundError as error:
        sys.exit(f'error: {error}')
    except AssertionError as error:  # how MMPose says that an annotation file does not exist
        if 'does not exist' not in str(error):
            raise
        sys.exit(
            f"error: {error}\nPaths are relative to the current folder. The data sets' are data_root, ann_file, "
            'data_prefix and bbox_file of each dataloader.dataset, and ann_file of the evaluators: change them in the '
            'config or by --cfg-options.'
        )
