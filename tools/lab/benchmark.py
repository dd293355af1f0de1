"""Times training steps, inference, data, metrics and exported files, and profiles steps; prints tables, writes JSON."""

import argparse
import os
import warnings


def positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest='kind', required=True)
    step = kinds.add_parser(
        'step', help="steps of both stages and of MMPose's DWPoseDistiller, beside what limits them"
    )
    profile = kinds.add_parser('profile', help='operators of a step of either stage; writes traces')
    scaling = kinds.add_parser('scaling', help='steps against batch size, input size, keypoints and processes')
    infer = kinds.add_parser('infer', help='inference of a student, and of the same student refined')
    data = kinds.add_parser('data', help='training pipeline and data loader')
    evaluation = kinds.add_parser('eval', help='metrics')
    deploy = kinds.add_parser('deploy', help='exported files beside PyTorch: accuracy, size and time')

    for kind in (step, profile, scaling, infer):
        kind.add_argument('--device', default='auto', choices=['auto', 'cpu', 'cuda'], help='auto: a GPU where one is')
        kind.add_argument('--precision', default='fp32', choices=['fp32', 'bf16'], help='bf16: under autocast')
        kind.add_argument('--channels-last', action='store_true', help='networks in that memory format')
    for kind in (step, profile, scaling):
        kind.add_argument('--stage1', metavar='CONFIG', help='instead of configs/stage1_structure.py')
        kind.add_argument('--stage2', metavar='CONFIG', help='instead of configs/stage2_igpgcn.py')
        kind.add_argument('--batch-size', type=positive, default=8, help='default: %(default)s')
        kind.add_argument('--teacher-pass', default='plain', help="the distillers' model.teacher_pass; default: plain")
    infer.add_argument('--student', metavar='CONFIG', help='instead of the one of HRNet-W32 at 256x192')
    infer.add_argument('--refined', metavar='CONFIG', help='instead of the one of HRNet-W32 with IGP-GCN')
    infer.add_argument('--compile', action='store_true', help='through torch.compile')
    for kind, rounds in ((step, 7), (scaling, 3), (infer, 7), (deploy, 7)):
        kind.add_argument('--rounds', type=positive, default=rounds, help='default: %(default)s')
    profile.add_argument('folder', help='where the traces go')
    data.add_argument('config', nargs='?', help='instead of configs/stage1_structure.py')
    data.add_argument('--own-data', action='store_true', help="the config's data set, instead of drawn images")
    data.add_argument('--people', type=positive, default=400, help='to load; default: %(default)s')
    evaluation.add_argument('--detections', type=positive, default=100_000, help='default: %(default)s')
    deploy.add_argument(
        'models', nargs='+', metavar='NAME=CONFIG,CHECKPOINT', help='the first is what others are set beside'
    )
    deploy.add_argument('--people', type=positive, default=200, help='to compare keypoints of; default: %(default)s')
    deploy.add_argument('--metric', default='coco/AP', help='default: %(default)s')
    deploy.add_argument(
        '--files',
        nargs='+',
        metavar='FILE',
        help='of "coords", "coords, flip test", "rtmlib", "fp16" and "int8"; default: all',
    )
    for kind in kinds.choices.values():
        kind.add_argument('--json', metavar='OUT', help='write the result as well')
        kind.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()

    warnings.simplefilter('ignore')  # of the libraries about one another
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # torch's profiler
    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.lab import benchmark

    given = {name: value for name, value in vars(args).items() if value is not None}
    options = {
        name: given[name] for name in ('stage1', 'stage2', 'student', 'refined', 'config', 'rounds') if name in given
    }
    with reporting_mistakes():
        if args.kind == 'data':
            benchmark.benchmark_data(
                own_data=args.own_data, people=args.people, seed=args.seed, out=args.json, **options
            )
            return
        if args.kind == 'eval':
            benchmark.benchmark_eval(args.detections, args.seed, args.json)
            return
        if args.kind == 'deploy':
            setting = benchmark.Setting(benchmark.find_device('cpu'), seed=args.seed)
            more = dict(files=args.files) if args.files else {}
            benchmark.benchmark_deploy(
                setting, args.models, args.people, args.rounds, args.metric, out=args.json, **more
            )
            return
        device = benchmark.find_device(args.device)
        setting = benchmark.Setting(device, given.get('batch_size', 0), args.precision, args.channels_last, args.seed)
        setting = setting._replace(teacher_pass=given.get('teacher_pass', 'plain'))
        if args.kind == 'step':
            benchmark.benchmark_step(setting, out=args.json, **options)
        elif args.kind == 'profile':
            benchmark.profile_steps(setting, args.folder, out=args.json, **options)
        elif args.kind == 'scaling':
            benchmark.benchmark_scaling(setting, out=args.json, **options)
        else:
            benchmark.benchmark_infer(setting, compiled=args.compile, out=args.json, **options)


if __name__ == '__main__':
    main()
