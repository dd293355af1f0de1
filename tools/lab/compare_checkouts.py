"""Runs the benchmarks of several checkouts or settings in turns, such as before and after a change; writes JSON."""

import argparse
import warnings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', metavar='OUT.json', help='what to write')
    parser.add_argument(
        'commands',
        nargs='+',
        metavar='NAME=COMMAND',
        help='such as "before=env PYTHONPATH=old python old/tools/lab/benchmark.py step --rounds 1"; the first name is '
        'what the others are compared with, and commands of one name add up',
    )
    parser.add_argument('--rounds', type=int, default=3, help='default: %(default)s')
    args = parser.parse_args()

    warnings.simplefilter('ignore')  # of the libraries about one another
    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.lab.benchmark.checkouts import compare_commands

    with reporting_mistakes():
        compare_commands(args.commands, args.rounds, args.out)


if __name__ == '__main__':
    main()
