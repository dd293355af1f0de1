"""Converts a SimCC HRNet checkpoint of the official SimCC code into an MMPose checkpoint."""

import argparse
import warnings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='model_best.pth or checkpoint.pth of the official code (file or URL)')
    parser.add_argument('out', help='the checkpoint to write')
    parser.add_argument('--config', help='the config that it must fit; by default it is found by the shapes')
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load it in full, with any code that it holds; for one whose maker you trust',
    )
    args = parser.parse_args()

    warnings.simplefilter('ignore')  # of the libraries about one another
    from mmpose_tskd.apis.convert import convert_simcc_checkpoint
    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.checkpoints import trusting_checkpoints

    with reporting_mistakes(), trusting_checkpoints(args.trust_checkpoint):
        config = convert_simcc_checkpoint(args.source, args.out, args.config and [args.config])
        print(f'{args.out}: a checkpoint of {config}')


if __name__ == '__main__':
    main()
