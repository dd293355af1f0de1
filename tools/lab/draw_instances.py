"""Draws the same instances as several models see them, for a page of the docs."""

import argparse
import warnings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'models',
        nargs='+',
        metavar='NAME=MODEL',
        help='as tools/compare.py takes them; the second is held against the first',
    )
    parser.add_argument('--labels', required=True, help='in COCO format')
    parser.add_argument('--images', required=True, help='the folder of the images')
    parser.add_argument('--out', required=True, metavar='OUT.jpg', help='what to write')
    parser.add_argument('--count', type=int, default=6, help='how many instances; default: %(default)s')
    parser.add_argument(
        '--right',
        type=float,
        default=4.0,
        help="the second model's error at most, in percent of the box; default: %(default)s",
    )
    args = parser.parse_args()
    warnings.simplefilter('ignore')  # of the libraries about one another

    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.lab.instances import draw_instances

    with reporting_mistakes():
        models = dict(model.split('=', 1) for model in args.models)
        gains = draw_instances(models, args.labels, args.images, args.out, args.count, args.right)
        print('nearer to the labels by', ', '.join(f'{gain:.1f}' for gain in gains), 'percent of the box')


if __name__ == '__main__':
    main()
