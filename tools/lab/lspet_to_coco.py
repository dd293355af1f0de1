"""Converts Leeds Sports Pose Extended (images/, joints.mat) to COCO's format with CrowdPose's keypoints."""

import argparse
import warnings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('archive', help='the folder that holds images/ and joints.mat')
    parser.add_argument('out', help='the folder to write images/ and annotations/lspet_{train,val}.json to')
    parser.add_argument('--as-is', action='store_true', help='do not turn the people upright')
    parser.add_argument('--num-val', type=int, default=1000, help='instances set apart for validation')
    parser.add_argument('--seed', type=int, default=0, help='of their draw')
    args = parser.parse_args()

    warnings.simplefilter('ignore')  # of the libraries about one another
    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.lab.lspet import convert_lspet

    with reporting_mistakes():
        sets = convert_lspet(args.archive, args.out, not args.as_is, args.num_val, args.seed)
    for split, labels in sets.items():
        print(f'{labels.file}: {len(labels.read()["annotations"])} instances ({split})')


if __name__ == '__main__':
    main()
