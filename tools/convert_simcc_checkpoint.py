"""Converts a SimCC HRNet checkpoint of the official SimCC code into an MMPose checkpoint."""

import argparse

from mmpose_tskd.apis.convert import convert_simcc_checkpoint
from mmpose_tskd.apis.tools import TRUST, TRUST_HELP, reporting_mistakes
from mmpose_tskd.checkpoints import trusting_checkpoints


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='model_best.pth or checkpoint.pth of the official code (file or URL)')
    parser.add_argument('out', help='the checkpoint to write')
    parser.add_argument('--config', help='the config that it must fit; by default it is found by the shapes')
    parser.add_argument(TRUST, action='store_true', help=TRUST_HELP)
    args = parser.parse_args()
    with reporting_mistakes(), trusting_checkpoints(args.trust_checkpoint):
        config = convert_simcc_checkpoint(args.source, args.out, args.config and [args.config])
        print(f'{args.out}: a checkpoint of {config}')


if __name__ == '__main__':
    main()
