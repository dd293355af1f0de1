"""Trains a model: MMPose's own training tool, with this package's modules registered and readable errors."""

import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path


def main() -> None:
    if {'-h', '--help'} & set(sys.argv):
        package = Path(find_spec('mmpose_tskd').origin).parent
        run_path(str(package / 'apis/mmpose_help.py'))['print_help']('train')

    warnings.simplefilter('ignore')  # of the libraries about one another
    from mmpose_tskd.apis.tools import run_mmpose_tool

    run_mmpose_tool('train')


if __name__ == '__main__':
    main()
