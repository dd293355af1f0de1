"""Looks into a distiller: what each loss pulls at, and what the refiner changes; prints a table, writes JSON."""

import argparse
import warnings


def main() -> None:
    warnings.simplefilter('ignore')  # of the libraries about one another
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest='kind', required=True)
    gradients = kinds.add_parser('gradients', help="each loss's gradient: its share, and its angle to the labels'")
    gradients.add_argument('config', help="a distiller's, such as the one that its run has left in its work folder")
    gradients.add_argument('checkpoints', nargs='*', help='of its run; the student as it starts where none is given')
    gradients.add_argument('--part', default='backbone', help='of the student; default: %(default)s')
    gradients.add_argument('--batches', type=int, default=4, help='default: %(default)s')
    gradients.add_argument('--seed', type=int, default=0)
    refinement = kinds.add_parser('refinement', help='which keypoints the refiner moves, and whether for the better')
    refinement.add_argument('config', help='of a refined model; of a distiller, its teacher is compared, too')
    refinement.add_argument('checkpoint')
    for kind in (gradients, refinement):
        kind.add_argument(
            '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='what differs from the config'
        )
        kind.add_argument('--device', default='auto', choices=['auto', 'cpu', 'cuda'], help='auto: a GPU where one is')
        kind.add_argument('--json', dest='out', metavar='OUT', help='write the result as well')
    options = vars(parser.parse_args())

    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.lab import analysis

    with reporting_mistakes():
        getattr(analysis, f'analyze_{options.pop("kind")}')(**options)


if __name__ == '__main__':
    main()
