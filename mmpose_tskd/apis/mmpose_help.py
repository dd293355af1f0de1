"""Prints the help of MMPose's tools without the wait for torch, which they import before they parse the command line.

Our tools run this file by its path, since importing the package would import torch.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from unittest import mock


def print_help(name: str) -> None:
    """Prints the options of MMPose's ``name`` tool and of ours, and ends the program."""
    origin = find_spec('mmpose').origin  # type: ignore[union-attr]
    tool = Path(origin).parent / '.mim' / 'tools' / f'{name}.py'  # type: ignore[arg-type]
    print(
        '--trust-checkpoint: load checkpoints in full, with any code that they hold; for those whose maker you trust. '
        'An option of this package; those of MMPose follow.\n'
    )
    with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in ('mmengine.hooks', 'mmengine.runner')}):
        run_path(str(tool), run_name='__main__')
