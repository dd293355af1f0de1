"""From labels to a small pose estimator that ships: teacher, student, refiner, tests, ONNX files and a report.

    python tools/distill.py --labels train.json val.json --images images --student hrnet-w32 --out work_dirs/mine

Run it again after it was stopped, and it goes on.
"""

import argparse
import os
import sys
import warnings


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument('--labels', nargs='+', required=True, help='COCO format: training set [validation set]')
    parser.add_argument('--images', nargs='+', required=True, help='the folder of the images, or one a label file')
    parser.add_argument('--out', required=True, help='the folder to write to')
    parser.add_argument(
        '--teacher',
        default='none',
        help="mmpose::..., a config, a run's work folder, file.onnx, hf:NAME, or none: a larger network of the "
        "student's family is trained first (default)",
    )
    parser.add_argument('--teacher-checkpoint', help='the weights of a config: a file, a URL, a work folder')
    parser.add_argument('--teacher-metainfo', help="the teacher's keypoints, if it does not say them: CocoDataset, ...")
    parser.add_argument(
        '--student',
        default='tiny',
        help='tiny or small (for a CPU), mobilenetv2 or rtmpose-t (phones), resnet-18 or rtmpose-s (laptops), '
        'hrnet-w32 (servers), or a config (default: %(default)s)',
    )
    parser.add_argument('--unlabelled', metavar='DIR', help='images without keypoints, which the teacher labels')
    parser.add_argument('--boxes', metavar='FILE', help='the instances in them, as tools/detect_people.py writes them')
    parser.add_argument(
        '--losses',
        default='none',
        choices=['none', 'features', 'pose', 'bins', 'paper'],
        help='what stage 1 compares of student and teacher beside the labels (default: %(default)s)',
    )
    parser.add_argument('--no-refine', action='store_true', help='no refiner')
    parser.add_argument('--compare', action='store_true', help='train the student without a teacher, too')
    parser.add_argument(
        '--epochs', nargs=3, type=int, metavar=('TEACHER', 'STUDENT', 'REFINER'), help="default: the student's config's"
    )
    parser.add_argument('--budget', type=float, default=1.0, help='factor on the epochs of every run')
    parser.add_argument('--seed', type=int, default=0, help='of the training runs')
    parser.add_argument('--gpus', type=int, default=1, help='processes of a training, one a GPU')
    parser.add_argument('--metainfo', help="a metainfo file or a data set's class, in place of the labels' keypoints")
    parser.add_argument('--device', default='auto', choices=['auto', 'cpu', 'cuda'], help='auto: a GPU where one is')
    parser.add_argument('--dry-run', action='store_true', help='show configs, commands and an estimate of the time')
    args = parser.parse_args()
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''  # before anything looks for a GPU

    warnings.simplefilter('ignore')  # of the libraries about one another
    import torch

    from mmpose_tskd.apis.distill import distill
    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.errors import UserError

    options = dict(vars(args), refine=not args.no_refine)
    for name in ('device', 'no_refine'):
        options.pop(name)
    try:
        with reporting_mistakes():
            if args.device == 'cuda' and not torch.cuda.is_available():
                raise UserError('--device cuda: torch finds no GPU here')
            distill(**options)
    except KeyboardInterrupt:
        sys.exit('stopped; the same command goes on from the last epoch that was finished')


if __name__ == '__main__':
    main()
