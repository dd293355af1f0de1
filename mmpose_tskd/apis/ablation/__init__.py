from .plan import Plan, Run, make_plan
from .schedule import run_ablation

__all__ = ['Plan', 'Run', 'make_plan', 'run_ablation']
