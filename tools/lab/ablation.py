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
    parser.add_argument(
        '--keep-checkpoints', action='store_true', help="keep every epoch's, for tools/lab/analyze.py, not the last"
    )
    parser.add_argument(
        '--write-configs',
        metavar='DIR',
        help='write a config for each of --families and --schemes, at its --budget, and start nothing',
    )
    parser.add_argument('--work-dir', help="for data and checkpoints, in place of the YAML's")
    parser.add_argument('--results', help="for what is kept, in place of the YAML's")
    options = vars(parser.parse_args())
    folder = options.pop('write_configs')

    warnings.simplefilter('ignore')  # of the libraries about one another
    from mmpose_tskd.apis.tools import reporting_mistakes
    from mmpose_tskd.lab.ablation import run_ablation, write_configs

    try:
        with reporting_mistakes():
            if folder is None:
                run_ablation(**options)
                return
            chosen = {name: options[name] for name in ('families', 'schemes', 'budget')}
            for file in write_configs(options['spec'], folder, **chosen):
                print(file)
    except KeyboardInterrupt:
        sys.exit('stopped; the same command goes on from the last epochs that were finished')


if __name__ == '__main__':
    main()
