"""Checks a data set's files, counts, labels, pictures and detections, and says what to do about what is wrong."""

import argparse
import sys

from mmpose_tskd.apis.doctor import examine, print_findings
from mmpose_tskd.apis.tools import reporting_mistakes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', required=True, choices=['coco', 'crowdpose', 'mpii'])
    parser.add_argument('--root', required=True, help="the data set's folder: data_root in the configs")
    parser.add_argument('--coco-root', help="COCO's folder: looks for pictures of COCO val in CrowdPose trainval")
    args = parser.parse_args()
    with reporting_mistakes():
        sys.exit(0 if print_findings(examine(args.data, args.root, args.coco_root)) else 1)


if __name__ == '__main__':
    main()
