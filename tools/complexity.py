"""Parameters and multiply-accumulates of the models of configs, beside the paper's figures."""

import argparse
import warnings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='+', help="config files, or mmpose::... for MMPose's")
    parser.add_argument('--json', metavar='OUT', help='write a list of {"config", "params_m", "gmacs"} as well')
    args = parser.parse_args()

    warnings.simplefilter('ignore')  # of the libraries about one another
    from mmpose_tskd.apis.complexity import print_complexity
    from mmpose_tskd.apis.tools import reporting_mistakes

    with reporting_mistakes():
        print_complexity(args.configs, args.json)


if __name__ == '__main__':
    main()
