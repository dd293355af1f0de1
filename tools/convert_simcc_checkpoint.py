"""Converts a SimCC HRNet checkpoint of the official SimCC code into an MMPose checkpoint."""

import argparse
import sys

from mmpose_tskd.apis.convert import convert_simcc_checkpoint
from mmpose_tskd.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='model_best.pth or checkpoint.pth of the official code (file or URL)')
    parser.add_argument('out', help='the checkpoint to write')
    parser.add_argument('--config', help='the config that it must fit; by default it is found by the shapes')
    args = parser.parse_args()
    try:
        config = convert_simcc_checkpoint(args.source, args.out, args.config and [args.config])
    except UserError as error:
        sys.exit(f'error: {error}')
    print(f'{args.out}: a checkpoint of {config}')


if __name__ == '__main__':
    main()
