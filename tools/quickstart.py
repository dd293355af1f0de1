"""Draws data and distills on them, in minutes: teacher, plain student, stage 1, refiner, tests, report, ONNX files.

It is tools/distill.py on the synthetic crowd. Run it again after it was stopped, and it goes on.
"""

import argparse
import os
import sys
import warnings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data-root', help='where the synthetic crowd is drawn; in --work-dir without it')
    parser.add_argument('--work-dir', default='work_dirs/quickstart', help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='of the training runs; the data are the same for each')
    parser.add_argument('--budget', type=float, default=1.0, help='factor on the epochs of every run')
    parser.add_argument(
        '--device', default='auto', choices=['auto', 'cpu', 'cuda'], help='auto takes a GPU where one is'
    )
    args = parser.parse_args()
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''  # before anything looks for a GPU

    warnings.simplefilter('ignore')  # of the libraries about one another
    import torch

    from mmpose_tskd.apis.quickstart import run_quickstart
    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.errors import UserError

    try:
        with reporting_mistakes():
            if args.device == 'cuda' and not torch.cuda.is_available():
                raise UserError('--device cuda: torch finds no GPU here')
            run_quickstart(args.data_root, args.work_dir, args.seed, args.budget)
    except KeyboardInterrupt:
        sys.exit('stopped; the same command goes on from the last epoch that was finished')


if __name__ == '__main__':
    main()
