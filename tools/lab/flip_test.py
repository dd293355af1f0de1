"""Evaluates a plain student's flip test: its bins averaged, or the poses of the two views averaged; or none."""

import argparse
import warnings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='of a run; its validation set is taken')
    parser.add_argument('checkpoint')
    parser.add_argument('out', metavar='OUT.json', help='what to write')
    args = parser.parse_args()

    warnings.simplefilter('ignore')  # of the libraries about one another
    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.lab.flip_test import compare_flip_tests

    with reporting_mistakes():
        compare_flip_tests(args.config, args.checkpoint, args.out)


if __name__ == '__main__':
    main()
