"""Splits a COCO label file by images, drawn at random with a fixed seed: few labels, and the rest."""

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('labels', metavar='LABELS.json', help='in COCO format')
    parser.add_argument('out', help='the folder to write labeled.json and rest.json to')
    parser.add_argument('--images', type=int, default=1000, help='how many go into labeled.json; default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    args = parser.parse_args()

    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.lab.labels import Labels, split_labels

    with reporting_mistakes():
        rest, drawn = split_labels(Labels(Path(args.labels), Path()), Path(args.out), args.images, args.seed)
        drawn.file.rename(Path(args.out, 'labeled.json'))
        rest.file.rename(Path(args.out, 'rest.json'))


if __name__ == '__main__':
    main()
