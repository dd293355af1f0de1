"""Inference of a student, and of the same student with its refiner, with and without feature adaption."""

from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import torch
from mmengine.config import Config
from mmpose.registry import MODELS

from ...apis.complexity import errors_only, plain_student
from ...apis.environment import write_json
from ...paths import config_folder
from .measuring import Call, Setting, circumstances, print_rows, quartiles, ratio, take_turns
from .measuring import seconds as seconds_of
from .networks import load_plain, noise_batch

STUDENT = str(config_folder() / 'simcc' / 'coco' / 'simcc_hrnet-w32_4xb32-210e_coco-256x192.py')
REFINED = str(config_folder() / 'tskd' / 'coco' / 'simcc_hrnet-w32-igpgcn_coco-256x192.py')


def benchmark_infer(
    setting: Setting,
    rounds: int = 7,
    compiled: bool = False,
    student: str = STUDENT,
    refined: str = REFINED,
    batch_sizes: Sequence[int] = (1, 32),
    out: Optional[str] = None,
) -> Dict[str, Any]:
    """Times ``predict``, forward pass and decode without flip test, of a student and of its refined form, in turns.

    Args:
        setting: Device, precision, memory format and seed; its batch size does not matter.
        rounds: Rounds at the largest batch size; the smaller ones have more, so that each sees as many instances.
        compiled: Backbone and head through ``torch.compile``.
        student, refined: Plain configs.
        batch_sizes: Instances.
        out: A JSON file to write as well.

    Returns:
        What the file holds: ``refined_over_student_b1`` and ``refined_over_student_b32``, the median over the rounds of
        the refined model's time divided by the student's; ``light_over_student_…``, the same without feature adaption;
        every round's seconds; ``parts_ms``, the refined model's parts, median milliseconds in calls of their own; and
        what it was measured with.

    Raises:
        UserError: A config is missing or has no model.
    """
    torch.manual_seed(setting.seed)
    configs = dict(student=load_plain(student), refined=load_plain(refined), light=load_plain(refined))
    configs['light'].model.head.feature_adaption = False
    with errors_only():
        models = {name: _build(cfg, setting, compiled) for name, cfg in configs.items()}
    params = {f'{name}_params_m': sum(p.numel() for p in model.parameters()) / 1e6 for name, model in models.items()}
    rows: List[Dict[str, Any]] = []
    seconds: Dict[str, Any] = {}
    ratios: Dict[str, Any] = {}
    parts: Dict[str, Any] = {}
    for batch_size in batch_sizes:
        batch = noise_batch(configs['student'], batch_size, setting.seed)
        calls = {name: partial(_predict, model, batch, setting) for name, model in models.items()}
        count = rounds * max(1, max(batch_sizes) // batch_size)
        times = seconds[f'b{batch_size}'] = take_turns(calls, count, setting.device)
        for name in ('refined', 'light'):
            ratios[f'{name}_over_student_b{batch_size}'] = ratio(times, name, ['student'])
        parts[f'b{batch_size}'] = _time_parts(models['refined'], calls['refined'], count, setting.device)
        for name in models:
            spread = quartiles(times[name])
            rows.append(
                {
                    'model': name,
                    'batch': batch_size,
                    's': spread['median'],
                    'quartiles': f'{spread["q1"]:.3f}-{spread["q3"]:.3f}',
                    'people/s': batch_size / spread['median'],
                    '× student': ratios.get(f'{name}_over_student_b{batch_size}', {}).get('median'),
                }
            )
    print_rows(f'predict, {"compiled" if compiled else "eager"}, {setting.precision}', rows)
    columns = {part: {batch: by[part] for batch, by in parts.items()} for part in next(iter(parts.values()))}
    print_rows('parts of the refined model, ms', [{'part': part, **by} for part, by in columns.items()])
    result = dict(
        **{name: value['median'] for name, value in ratios.items()},
        ratios=ratios,
        seconds=seconds,
        parts_ms=parts,
        **circumstances(
            setting,
            batch_size=list(batch_sizes),
            rounds=rounds,
            compiled=compiled,
            student=Path(student).stem,
            refined=Path(refined).stem,
            input_size=list(configs['student'].codec.input_size),
            **params,
        ),
    )
    write_json(result, out)
    return result


def _build(cfg: Config, setting: Setting, compiled: bool) -> Any:
    model: Any = MODELS.build({**plain_student(cfg.model), 'test_cfg': dict(flip_test=False)})
    model.init_weights()
    model = setting.prepare(model).eval()
    if compiled:
        model.backbone = torch.compile(model.backbone)
        head = getattr(model.head, 'base_head', model.head)
        head.forward = torch.compile(head.forward)
        if head is not model.head:
            model.head.refine = torch.compile(model.head.refine)
    return model


def _time_parts(model: Any, call: Call, rounds: int, device: torch.device) -> Dict[str, float]:
    """Median milliseconds of a refined model's parts. From here on, the model times them in each call."""
    head = model.head
    methods = {
        'data preprocessor': (model.data_preprocessor, 'forward'),
        'backbone': (model.backbone, 'forward'),
        'base head': (head.base_head, 'forward'),
        'feature adaption': (head.feature_adaption, 'forward'),
        'graph network': (head, 'refine'),  # adapts the features, too
    }
    times: Dict[str, List[float]] = {part: [] for part, (owner, _) in methods.items() if owner is not None}
    for part in times:
        owner, method = methods[part]
        setattr(owner, method, partial(_timed, getattr(owner, method), times[part], device))
    times['all'] = [1000 * seconds_of(call, device) for _ in range(rounds)]
    if head.feature_adaption is not None:
        pairs = zip(times['graph network'], times['feature adaption'])
        times['graph network'] = [whole - adaption for whole, adaption in pairs]
    return {part: quartiles(values)['median'] for part, values in times.items()}


def _timed(function: Call, times: List[float], device: torch.device, *args: Any, **kwargs: Any) -> Any:
    answers: List[Any] = []
    times.append(1000 * seconds_of(lambda: answers.append(function(*args, **kwargs)), device))
    return answers[0]


@torch.no_grad()
def _predict(model: Any, batch: Dict[str, Any], setting: Setting) -> None:
    with setting.autocast():
        model.test_step(batch)
