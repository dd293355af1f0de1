"""Checks the environment, or, with --data, a data set's files, labels and pictures, and says what mends them."""

import argparse
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', choices=['coco', 'crowdpose', 'mpii'], help='a data set in place of the environment')
    parser.add_argument('--root', help="the data set's folder: data_root in the configs")
    parser.add_argument('--coco-root', help="COCO's folder: looks for pictures of COCO val in CrowdPose trainval")
    args = parser.parse_args()
    if (args.data is None) != (args.root is None):
        parser.error('--data and --root go together')

    warnings.simplefilter('ignore')  # of the libraries about one another
    if args.data is None:  # by its path: the package cannot be imported where MMPose is broken
        package = Path(find_spec('mmpose_tskd').origin).parent
        run_path(str(package / 'apis/environment_doctor.py'))['main']()

    from mmpose_tskd.apis.doctor import examine, print_findings
    from mmpose_tskd.apis.tools import reporting_mistakes

    with reporting_mistakes():
        sys.exit(0 if print_findings(examine(args.data, args.root, args.coco_root)) else 1)


if __name__ == '__main__':
    main()
