"""Trains the schemes of an ablation with several seeds, at equal budgets, and compares them with intervals.

Run it again after it was stopped, and it goes on; what is finished is not done again.
"""

import argparse
import sys
import warnings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('spec', help='the ablation, such as configs/ablation/lspet.yaml')
    parser.add_argument('--families', nargs='+', help="these of the YAML's families alone (networks and data)")
    parser.add_argument(
        '--schemes', nargs='+', help="these of the YAML's schemes alone, and what they build on, or teacher"
    )
    parser.add_argument('--seeds', nargs='+', type=int, help="in place of the YAML's")
    parser.add_argument('--jobs', type=int, default=1, help='runs at once, each with its share of the machine')
    parser.add_argument('--budget', type=float, default=1.0, help='factor on the epochs of every run')
    parser.add_argument(
        '--test', action='store_true', help='measure on the test set, too, and report on it: at the end'
    )
    parser.add_argument('--report-only', action='store_true', help='start nothing; report on what is finished')
    parser.add_argument('--work-dir', help="for data and checkpoints, in place of the YAML's")
    parser.add_argument('--results', help="for what is kept, in place of the YAML's")
    args = parser.parse_args()

    warnings.simplefilter('ignore')  # of the libraries about one another
    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.lab.ablation import run_ablation

    try:
        with reporting_mistakes():
            run_ablation(**vars(args))
    except KeyboardInterrupt:
        sys.exit('stopped; the same command goes on from the last epochs that were finished')


if __name__ == '__main__':
    main()
