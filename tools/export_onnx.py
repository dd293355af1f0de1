"""Writes a trained pose estimator as an ONNX file that was checked against PyTorch."""

import argparse
import warnings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('checkpoint', help="a file, a URL, or a run's work folder")
    parser.add_argument('--out', required=True, help='the file to write; with --format mmdeploy, the folder')
    parser.add_argument('--format', default='coords', choices=['coords', 'rtmlib', 'mmdeploy'], help='%(default)s')
    parser.add_argument('--flip-test', action='store_true', help='average over the mirror image, at twice the cost')
    parser.add_argument(
        '--input', default='normalized', choices=['normalized', 'uint8'], help='uint8: BGR pixels, normalized inside'
    )
    parser.add_argument('--precision', default='fp32', choices=['fp32', 'fp16', 'int8'], help='default: %(default)s')
    parser.add_argument(
        '--max-drop',
        type=float,
        help="evaluate on the test set and refuse a file whose metric is lower than PyTorch's by more points of 100",
    )
    parser.add_argument('--metric', default='coco/AP', help='that counts for --max-drop; default: %(default)s')

    from mmengine.config import DictAction

    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help="changes to the config, as MMPose's tools")
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load checkpoints in full, with any code that they hold; for those whose maker you trust',
    )
    args = parser.parse_args()
    warnings.simplefilter('ignore')  # of the libraries about one another

    from mmpose_tskd.apis.export import export_onnx, print_exported
    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.checkpoints import trusting_checkpoints

    with reporting_mistakes(), trusting_checkpoints(args.trust_checkpoint):
        exported = export_onnx(
            args.config,
            args.checkpoint,
            args.out,
            form=args.format,
            flip_test=args.flip_test,
            pixels=args.input == 'uint8',
            precision=args.precision,
            max_drop=args.max_drop,
            metric=args.metric,
            cfg_options=args.cfg_options,
        )
        print_exported(exported, args.metric)


if __name__ == '__main__':
    main()
