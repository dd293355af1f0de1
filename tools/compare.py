"""Shows what several models say of the same labeled instances: one page, and one image."""

import argparse
import warnings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'models',
        nargs='+',
        metavar='NAME=MODEL',
        help='MODEL: CONFIG,CHECKPOINT, or a FILE.onnx of tools/export_onnx.py, or results in COCO format, FILE.json',
    )
    parser.add_argument('--labels', required=True, help='in COCO format')
    parser.add_argument('--images', required=True, help='the folder of the images')
    parser.add_argument('--out', default='work_dirs/comparison', help='the folder to write to; default: %(default)s')
    parser.add_argument('--count', type=int, default=24, help='how many; default: %(default)s')

    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load checkpoints in full, with any code that they hold; for those whose maker you trust',
    )
    args = parser.parse_args()
    warnings.simplefilter('ignore')  # of the libraries about one another

    from mmpose_tskd.apis.compare import compare_models
    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.checkpoints import trusting_checkpoints
    from mmpose_tskd.errors import UserError

    with reporting_mistakes(), trusting_checkpoints(args.trust_checkpoint):
        models = dict(model.split('=', 1) if '=' in model else (model, model) for model in args.models)
        if len(models) < len(args.models):
            raise UserError('two models have the same name: write NAME=MODEL')
        page = compare_models(models, args.labels, args.images, args.out, args.count)
        print(f'{page}: open it in a browser; beside it comparison.png')


if __name__ == '__main__':
    main()
