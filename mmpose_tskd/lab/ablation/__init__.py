from .plan import Plan, Run, make_plan, write_configs
from .report import write_report
from .schedule import run_ablation

__all__ = ['Plan', 'Run', 'make_plan', 'run_ablation', 'write_configs', 'write_report']
