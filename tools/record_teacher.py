"""Asks a teacher once for the poses of a data set: a record to distill from, and labels for images without any.

Run it again after it was stopped, and it goes on.
"""

import argparse
import warnings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', metavar='OUT.json', help='the record, in COCO format')
    parser.add_argument(
        '--teacher',
        nargs='+',
        action='append',
        required=True,
        metavar=('SOURCE', 'CHECKPOINT'),
        help='an MMPose config and its checkpoint; an ONNX file; hf:NAME_OR_FOLDER; or a config with '
        'teacher=dict(...). Give it again to join several',
    )
    parser.add_argument('--labels', required=True, help='images and, without --boxes, instances, in COCO format')
    parser.add_argument('--images', required=True, help="the images' folder")
    parser.add_argument('--boxes', help="a detector's results instead of the labels' boxes")
    parser.add_argument('--box-score', type=float, default=0.3, help="that a detector's box must have (%(default)s)")
    parser.add_argument(
        '--metainfo',
        action='append',
        help="a teacher's keypoints (CocoDataset, ...), if not its config's; once a teacher",
    )
    parser.add_argument('--flip-test', action='store_true', help='average with the mirrored image')
    parser.add_argument(
        '--min-confidence', type=float, default=0.3, help='a keypoint below it is no label (default: %(default)s)'
    )
    parser.add_argument('--batch-size', type=int, default=64, help='default: %(default)s')
    parser.add_argument('--num-workers', type=int, default=2, help='processes that read images (%(default)s)')
    parser.add_argument('--device', default='auto', choices=['auto', 'cpu', 'cuda'], help='auto: a GPU where one is')
    args = parser.parse_args()

    warnings.simplefilter('ignore')  # of the libraries about one another
    import torch

    from mmpose_tskd.apis.record_teacher import open_teacher, record_teacher
    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.errors import UserError

    with reporting_mistakes():
        if args.device == 'cuda' and not torch.cuda.is_available():
            raise UserError('--device cuda: torch finds no GPU here')
        joints = args.metainfo or [None]
        joints = joints * len(args.teacher) if len(joints) == 1 else joints
        if any(len(teacher) > 2 for teacher in args.teacher) or len(joints) != len(args.teacher):
            parser.error('--teacher takes a source and a checkpoint, and --metainfo is given once, or once a teacher')
        device = 'cuda' if args.device != 'cpu' and torch.cuda.is_available() else 'cpu'
        teachers = [
            open_teacher(*teacher, metainfo=names, flip_test=args.flip_test, device=device)
            for teacher, names in zip(args.teacher, joints)
        ]
        record_teacher(
            teachers,
            args.labels,
            args.images,
            args.out,
            args.boxes,
            args.box_score,
            args.min_confidence,
            args.batch_size,
            args.num_workers,
        )


if __name__ == '__main__':
    main()
