"""Finds the people in a folder of images without labels, for tools/record_teacher.py."""

import argparse
import warnings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('images', help='the folder')
    parser.add_argument('out', metavar='OUT.json', help='images and boxes, in COCO format')
    parser.add_argument('--checkpoint', help="the weights of torchvision's Faster R-CNN; downloaded without it")
    parser.add_argument('--min-score', type=float, default=0.3, help='that a box must have (default: %(default)s)')
    parser.add_argument('--device', default='auto', choices=['auto', 'cpu', 'cuda'], help='auto: a GPU where one is')
    args = parser.parse_args()

    warnings.simplefilter('ignore')  # of the libraries about one another
    import torch

    from mmpose_tskd.apis.detect_people import detect_people
    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.errors import UserError

    with reporting_mistakes():
        if args.device == 'cuda' and not torch.cuda.is_available():
            raise UserError('--device cuda: torch finds no GPU here')
        device = 'cuda' if args.device != 'cpu' and torch.cuda.is_available() else 'cpu'
        content = detect_people(args.images, args.out, args.checkpoint, args.min_score, device)
    print(f'{len(content["annotations"]):,} instances in {len(content["images"]):,} images: {args.out}')


if __name__ == '__main__':
    main()
