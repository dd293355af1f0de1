"""Throughput against batch size, input size, number of keypoints and number of processes."""

import copy
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel

from ...apis.complexity import errors_only
from ...apis.distill.configs import set_joints
from ...apis.environment import write_json
from ...poses import load_skeleton
from .measuring import Setting, Times, circumstances, print_rows, quartiles, ratio, take_turns
from .networks import STAGE1, STAGE2, build_subjects, load_stage
from .step import LIMITS

STEPS = ('stage1', 'stage2')


def benchmark_scaling(
    setting: Setting,
    rounds: int = 3,
    batch_sizes: Sequence[int] = (1, 4, 8, 16),
    input_sizes: Sequence[Tuple[int, int]] = ((96, 128), (192, 256), (288, 384)),
    datasets: Sequence[str] = ('CrowdPoseDataset', 'CocoDataset', 'CocoWholeBodyDataset'),
    processes: Sequence[int] = (1, 2),
    stage1: str = STAGE1,
    stage2: str = STAGE2,
    out: Optional[str] = None,
) -> Dict[str, Any]:
    """Times both stages' steps and their parts, and varies one size at a time; the others are those of the configs.

    Args:
        setting: Device, precision, memory format and seed; and the batch size where another size changes.
        rounds: Rounds of each, after one that does not count.
        batch_sizes: Instances.
        input_sizes: (w, h) in pixels.
        datasets: Whose keypoints and limbs to take.
        processes: Numbers of processes that train together on one machine. They share its cores, or have a GPU each;
            numbers above that of the GPUs are left out.
        stage1, stage2: Configs.
        out: A JSON file to write as well.

    Returns:
        What the file holds: ``rows``, one for each stage and size, with instances a second, the time divided by
        the limit's (see :func:`benchmark_step`) and every round's seconds; and what it was measured with.

    Raises:
        UserError: A config is missing, or no distiller's between SimCC heads.
    """
    configs = load_stage(stage1), load_stage(stage2)
    rows: List[Dict[str, Any]] = []
    variants: List[Tuple[str, Any, Sequence[Config], Setting]] = []
    variants += [('batch', size, configs, setting._replace(batch_size=size)) for size in batch_sizes]
    variants += [('input', size, [_resized(cfg, size) for cfg in configs], setting) for size in input_sizes]
    variants += [('joints', name, [_with_joints(cfg, name) for cfg in configs], setting) for name in datasets]
    parts = sorted({part for name in STEPS for part in LIMITS[name]})
    for what, size, (first, second), variant in variants:
        with errors_only():
            subjects = build_subjects(first, second, variant, [*parts, *(f'{name}_step' for name in STEPS)])
            times = take_turns({k: subject.call for k, subject in subjects.items()}, rounds, setting.device)
        rows += [_row(what, _text(what, size), name, times, variant.batch_size) for name in STEPS]
    most = torch.cuda.device_count() if setting.device.type == 'cuda' else max(processes, default=0)
    for count in [count for count in processes if count <= most]:
        times = _distributed_times(count, rounds, setting, stage1, stage2)
        rows += [_row('processes', str(count), name, times, count * setting.batch_size) for name in STEPS]
    shown = [{key: value for key, value in row.items() if key != 'seconds'} for row in rows]
    print_rows(f'throughput, {setting.precision}', shown)
    result = dict(
        rows=rows, **circumstances(setting, rounds=rounds, stage1=Path(stage1).stem, stage2=Path(stage2).stem)
    )
    write_json(result, out)
    return result


def _row(what: str, size: str, name: str, times: Times, people: int) -> Dict[str, Any]:
    median = quartiles(times[f'{name}_step'])['median']
    limit = LIMITS[name]
    alone = limit[0] not in times  # the parts are timed in one process only
    return {
        'size': what,
        'is': size,
        'step': name,
        's': median,
        'people/s': people / median,
        '× limit': None if alone else ratio(times, f'{name}_step', limit)['median'],
        'teacher %': None if alone else 100 * ratio(times, 'teacher_forward', [f'{name}_step'])['median'],
        'seconds': times,
    }


def _text(what: str, size: Any) -> str:
    if what == 'joints':
        return f'{load_skeleton(size).num_keypoints} ({size})'
    return '×'.join(map(str, size)) if what == 'input' else str(size)


def _with_joints(cfg: Config, dataset: str) -> Config:
    cfg = copy.deepcopy(cfg)
    cfg.train_dataloader.dataset.type = dataset
    set_joints(cfg.model, load_skeleton(dataset).num_keypoints)
    return cfg


def _resized(cfg: Config, size: Tuple[int, int]) -> Config:
    cfg = copy.deepcopy(cfg)
    _resize(cfg._cfg_dict, tuple(cfg.codec.input_size), size)
    return cfg


def _resize(cfg: Any, before: Tuple[int, int], after: Tuple[int, int]) -> None:
    """Gives every head, codec and transform another input size, in place."""
    if isinstance(cfg, dict):
        for key in ('input_size', 'in_featuremap_size'):
            if key in cfg:
                cfg[key] = tuple(round(side * new / old) for side, new, old in zip(cfg[key], after, before))
        cfg = cfg.values()
    elif not isinstance(cfg, (list, tuple)):
        return
    for value in cfg:
        _resize(value, before, after)


def _distributed_times(count: int, rounds: int, setting: Setting, stage1: str, stage2: str) -> Times:
    with tempfile.TemporaryDirectory() as folder:
        job = partial(_train_distributed, count, rounds, setting, stage1, stage2, folder)
        mp.spawn(job, nprocs=count)
        return json.loads(Path(folder, 'times.json').read_text())


def _train_distributed(
    count: int, rounds: int, setting: Setting, stage1: str, stage2: str, folder: str, rank: int
) -> None:
    """One process of several that train together; the first one writes down the seconds of its steps."""
    on_gpu = setting.device.type == 'cuda'
    if on_gpu:
        torch.cuda.set_device(rank)
        setting = setting._replace(device=torch.device('cuda', rank))
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // count))
    dist.init_process_group(
        'nccl' if on_gpu else 'gloo', init_method=f'file://{folder}/processes', rank=rank, world_size=count
    )
    names = [f'{name}_step' for name in STEPS]
    with errors_only():
        subjects = build_subjects(load_stage(stage1), load_stage(stage2), setting, names, MMDistributedDataParallel)
        times = take_turns({k: subject.call for k, subject in subjects.items()}, rounds, setting.device)
    if rank == 0:
        Path(folder, 'times.json').write_text(json.dumps(times))
    dist.destroy_process_group()
