"""Checks a data set's files, counts, labels, pictures and detections, and says what to do about what is wrong.

Of a record of a teacher it shows how confident the teacher is, and, with labels, how right.
"""

import argparse
import sys

from mmpose_tskd.apis.doctor import examine, print_findings
from mmpose_tskd.apis.record_report import examine_record, print_record
from mmpose_tskd.apis.tools import reporting_mistakes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', choices=['coco', 'crowdpose', 'mpii'])
    parser.add_argument('--root', help="the data set's folder: data_root in the configs")
    parser.add_argument('--coco-root', help="COCO's folder: looks for pictures of COCO val in CrowdPose trainval")
    parser.add_argument('--record', help='a record of a teacher, of tools/record_teacher.py, instead of a data set')
    parser.add_argument('--labels', help="labels of the record's people, in COCO format")
    parser.add_argument('--metainfo', default='CocoDataset', help="the labels' data set (default: %(default)s)")
    args = parser.parse_args()
    if args.record:
        with reporting_mistakes():
            print_record(examine_record(args.record, args.labels, args.metainfo))
        return
    if not (args.data and args.root):
        parser.error('give --data and --root, or --record')
    with reporting_mistakes():
        findings = examine(args.data, args.root, args.coco_root)
    sys.exit(0 if print_findings(findings) else 1)


if __name__ == '__main__':
    main()
