"""Times the teacher's backbone in several memory formats, with batch norm folded, and compiled."""

import argparse
import warnings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', metavar='OUT.json', help='what to write')
    parser.add_argument(
        '--config',
        default='configs/simcc/coco/simcc_hrnet-w48_4xb32-210e_coco-256x192.py',
        help='of the network; default: %(default)s',
    )
    parser.add_argument('--rounds', type=int, default=5, help='default: %(default)s')
    args = parser.parse_args()

    warnings.simplefilter('ignore')  # of the libraries about one another
    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.lab.benchmark.memory_formats import time_memory_formats

    with reporting_mistakes():
        time_memory_formats(args.config, args.rounds, args.out)


if __name__ == '__main__':
    main()
