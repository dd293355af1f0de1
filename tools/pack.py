"""Puts what one publishes of a trained estimator into a folder: weights, plain config, ONNX files and a model card."""

import argparse
import shlex
import sys
import warnings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work_dir', help="a run's work folder: its best checkpoint, else its last, is taken")
    parser.add_argument('--out', required=True, help='the folder to write; its name becomes that of the model')
    parser.add_argument('--config', help="the plain config; by default the run's own")
    parser.add_argument('--results', help='metrics for the card: the JSON file that tools/test.py --out writes')
    forms = ['coords', 'rtmlib', 'mmdeploy']
    parser.add_argument('--formats', nargs='+', default=forms, choices=forms, help='what to export; all by default')

    from mmengine.config import DictAction

    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help="changes to the config, as MMPose's tools")
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load checkpoints in full, with any code that they hold; for those whose maker you trust',
    )
    args = parser.parse_args()
    warnings.simplefilter('ignore')  # of the libraries about one another

    from mmpose_tskd.apis.pack import pack
    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.checkpoints import trusting_checkpoints

    with reporting_mistakes(), trusting_checkpoints(args.trust_checkpoint):
        command = shlex.join(['python', *sys.argv])
        for path in pack(args.work_dir, args.out, args.config, args.results, command, args.cfg_options, args.formats):
            print(path)


if __name__ == '__main__':
    main()
