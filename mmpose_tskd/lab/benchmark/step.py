"""Times training steps, and the forward passes and steps that they cannot do without."""

from pathlib import Path
from typing import Any, Dict, List, Optional

from rich.console import Console

from ...apis.complexity import errors_only
from ...apis.environment import write_json
from .measuring import Setting, circumstances, peak_memory, print_rows, quartiles, ratio, take_turns
from .networks import STAGE1, STAGE2, build_subjects, load_stage, sizes

# By step, the parts that it consists of
LIMITS = dict(
    stage1=('student_step', 'teacher_forward'),
    dwpose=('student_step', 'teacher_forward'),
    stage2=('student_forward', 'teacher_forward'),
    record=('student_forward',),
    record_light=('student_forward',),
)
TITLES = dict(
    student_step='student, a step',
    teacher_forward='teacher, forward',
    student_forward='student, forward',
    stage1_step='stage 1, a step',
    dwpose_step='DWPoseDistiller, a step',
    stage2_step='stage 2, a step',
    record_step='stage 2 from a record, a step',
    record_light_step='the same without feature adaption',
)
MIB = 1 << 20


def benchmark_step(
    setting: Setting,
    rounds: int = 7,
    stage1: str = STAGE1,
    stage2: str = STAGE2,
    out: Optional[str] = None,
) -> Dict[str, Any]:
    """Times training steps of both stages and of MMPose's ``DWPoseDistiller``, and what limits them, in turns.

    Args:
        setting: Device, batch size, precision, memory format and seed.
        rounds: Rounds that count, after one that does not.
        stage1, stage2: Configs; their student and teacher are to be the same.
        out: A JSON file to write as well.

    Returns:
        What the file holds. Each ``..._over_limit`` is the median over the rounds of a step's time divided by that of
        the parts that it cannot do without. These are, for ``stage1_over_limit`` and ``dwpose_over_limit``, the
        student's own step and the teacher's forward pass; for ``stage2_over_limit``, the two forward passes; for
        ``record_over_limit`` and ``record_light_over_limit`` (without feature adaption), the student's forward pass.
        ``record_to_live`` is the time of stage 2 from a record divided by that of stage 2. Further ``memory_mib`` and
        ``memory_of_limit_mib``; every round's seconds; and what it was measured with.

    Raises:
        UserError: A config is missing, or no distiller's between SimCC heads.
    """
    configs = load_stage(stage1), load_stage(stage2)
    with errors_only():
        subjects = build_subjects(*configs, setting)
        times = take_turns({name: subject.call for name, subject in subjects.items()}, rounds, setting.device)
    peaks = {name: peak_memory(subject.call, setting.device) / MIB for name, subject in subjects.items()}
    held = {name: subject.held / MIB for name, subject in subjects.items()}
    ratios = {name: ratio(times, f'{name}_step', limit) for name, limit in LIMITS.items()}
    ratios['record_to_live'] = ratio(times, 'record_step', ['stage2_step'])

    rows: List[Dict[str, Any]] = []
    for name, title in TITLES.items():
        spread = quartiles(times[name])
        limit = ratios.get(name[: -len('_step')])
        rows.append(
            {
                'what': title,
                's': spread['median'],
                'quartiles': f'{spread["q1"]:.3f}-{spread["q3"]:.3f}',
                'people/s': setting.batch_size / spread['median'],
                '× limit': limit and limit['median'],
                'its quartiles': limit and f'{limit["q1"]:.3f}-{limit["q3"]:.3f}',
                'MiB held': round(held[name]),
                'MiB peak': round(held[name] + peaks[name]),
            }
        )
    sums = {name: sum(held[part] + peaks[part] for part in LIMITS[name]) for name in ('stage1', 'dwpose', 'stage2')}
    memory = {name: dict(held=held[name], peak=held[name] + peaks[name]) for name in subjects}
    print_rows(f'{setting.precision}, batch {setting.batch_size}, {rounds} rounds', rows)
    Console(width=140).print(
        "limit: the student's step (stage 2: its forward pass) and the teacher's forward pass, of the same round "
        "(from a record: the student's forward pass alone).\n"
        f'From a record, a step of stage 2 takes {ratios["record_to_live"]["median"]:.2f} of its time.\n'
        f"Peak memory of stage 1: {memory['stage1_step']['peak']:.0f} MiB; of the student's step and the teacher's "
        f'forward pass together: {sums["stage1"]:.0f} MiB',
        highlight=False,
    )
    result = dict(
        **{f'{name}_over_limit': ratios[name]['median'] for name in LIMITS},
        record_to_live=ratios['record_to_live']['median'],
        ratios=ratios,
        memory_mib=memory,
        memory_of_limit_mib=sums,
        seconds=times,
        **circumstances(
            setting,
            rounds=rounds,
            stage1=Path(stage1).stem,
            stage2=Path(stage2).stem,
            **sizes(configs[0]),
        ),
    )
    write_json(result, out)
    return result
