"""Checks the environment, or, with --data, a data set's files, labels and images, and says what mends them.

With --labels and --images it checks any labels in COCO format. With --record it shows how confident a recorded teacher
is, and, with labels, how right.
"""

import argparse
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--data', choices=['coco', 'crowdpose', 'mpii'], help='a data set in place of the environment')
    what.add_argument('--record', help='a record of a teacher, of tools/record_teacher.py, likewise')
    parser.add_argument('--root', help="the data set's folder: data_root in the configs")
    parser.add_argument('--coco-root', help="COCO's folder: looks for images of COCO val in CrowdPose trainval")
    parser.add_argument('--labels', help="labels in COCO format, to check; with --record, of the record's instances")
    parser.add_argument('--images', help='the folder of the images of --labels')
    parser.add_argument('--metainfo', default='CocoDataset', help="the labels' data set (default: %(default)s)")
    args = parser.parse_args()
    if (args.data is None) != (args.root is None):
        parser.error('--data and --root go together')
    if args.record is None and (args.labels is None) != (args.images is None):
        parser.error('--labels and --images go together')

    warnings.simplefilter('ignore')  # of the libraries about one another
    spec = find_spec('mmpose_tskd')
    if spec is None:
        sys.exit(
            f'error: {sys.executable} has no mmpose_tskd. In the source tree: make env, then source '
            '.venv/bin/activate; elsewhere: pip install'
        )
    if args.data is None and args.record is None and args.labels is None:
        # by its path: the package cannot be imported where MMPose is broken
        run_path(str(Path(spec.origin).parent / 'apis/environment_doctor.py'))['main']()

    from mmpose_tskd.apis.doctor import examine, examine_labels, print_findings
    from mmpose_tskd.apis.record_report import examine_record, print_record
    from mmpose_tskd.apis.tools import reporting_mistakes

    with reporting_mistakes():
        if args.record is not None:
            print_record(examine_record(args.record, args.labels, args.metainfo))
        else:
            one = args.labels is not None
            findings = (
                examine_labels(args.labels, args.images) if one else examine(args.data, args.root, args.coco_root)
            )
            sys.exit(0 if print_findings(findings) else 1)


if __name__ == '__main__':
    main()
