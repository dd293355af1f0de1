"""Which operators a training step spends its time in, beside those of the parts that it consists of."""

from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from torch.profiler import ProfilerActivity, profile

from ...apis.complexity import errors_only
from ...apis.environment import write_json
from .measuring import Call, Setting, circumstances, print_rows
from .networks import STAGE1, STAGE2, build_subjects, load_stage
from .step import LIMITS

Operators = Dict[str, Tuple[int, float]]  # by name: calls, and milliseconds without what they call


def profile_steps(
    setting: Setting,
    folder: str,
    stage1: str = STAGE1,
    stage2: str = STAGE2,
    top: int = 12,
    out: Optional[str] = None,
) -> Dict[str, List[Dict[str, Any]]]:
    """Writes a trace of a step of either stage, and prints its operators beside those of its limit.

    Args:
        setting: Device, batch size, precision, memory format and seed.
        folder: Where the traces go, for ``chrome://tracing`` or https://ui.perfetto.dev.
        stage1, stage2: Configs.
        top: Operators to print, by their time.
        out: A JSON file to write as well.

    Returns:
        By stage, the rows that it prints; the file holds also what it was measured with.

    Raises:
        UserError: A config is missing, or no distiller's between SimCC heads.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    limits = {name: LIMITS[name] for name in ('stage1', 'stage2')}
    names = [f'{name}_step' for name in limits] + sorted({part for parts in limits.values() for part in parts})
    with errors_only():
        subjects = build_subjects(load_stage(stage1), load_stage(stage2), setting, names)
        operators = {k: _profile(subject.call, setting, Path(folder, f'{k}.json')) for k, subject in subjects.items()}
    tables = {}
    for name, parts in limits.items():
        limit_calls: Dict[str, int] = defaultdict(int)
        limit_ms: Dict[str, float] = defaultdict(float)
        for part in parts:
            for operator, (calls, milliseconds) in operators[part].items():
                limit_calls[operator] += calls
                limit_ms[operator] += milliseconds
        step = operators[f'{name}_step']
        ranked = sorted(step, key=lambda operator: -step[operator][1])
        tables[name] = [
            {
                'operator': operator,
                'calls': step[operator][0],
                'ms': step[operator][1],
                'calls, limit': limit_calls[operator],
                'ms, limit': limit_ms[operator],
            }
            for operator in ranked[:top]
        ]
        total = {
            'operator': 'all',
            'calls': sum(calls for calls, _ in step.values()),
            'ms': sum(milliseconds for _, milliseconds in step.values()),
            'calls, limit': sum(limit_calls.values()),
            'ms, limit': sum(limit_ms.values()),
        }
        tables[name].append(total)
        print_rows(f'{name}: operators of a step, and of its limit', tables[name])
    write_json(dict(operators=tables, **circumstances(setting)), out)
    return tables


def _profile(call: Call, setting: Setting, trace: Path) -> Operators:
    call()
    on_gpu = setting.device.type == 'cuda'
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
        call()
    profiler.export_chrome_trace(str(trace))
    own = 'self_device_time_total' if on_gpu else 'self_cpu_time_total'
    return {event.key: (event.count, getattr(event, own) / 1000) for event in profiler.key_averages()}
