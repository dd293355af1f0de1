"""Exported files beside the models that they come from: accuracy, size, time."""

import functools
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import torch
from torch import Tensor

from ...apis.complexity import errors_only
from ...apis.environment import write_json
from ...apis.export import export_onnx, load_estimator
from ...deploy.check import compare
from ...deploy.formats import FORMATS
from ...deploy.network import PIXELS, PoseNetwork, normalization, normalize
from ...deploy.onnx_file import OnnxSession, require
from ...deploy.people import crops_of
from ...errors import UserError
from .measuring import Call, Setting, circumstances, print_rows, quartiles, ratio, take_turns

FILES: Dict[str, Dict[str, Any]] = {
    'coords': {},
    'coords, flip test': dict(flip_test=True),
    'rtmlib': dict(form='rtmlib'),
    'fp16': dict(precision='fp16'),
    'int8': dict(precision='int8'),
}
ANY_DROP = 100.0  # points of AP: a loss is reported, not refused
COMPARED = (1, 3, 32)  # batch sizes


def benchmark_deploy(
    setting: Setting,
    models: Sequence[str],
    people: int = 200,
    rounds: int = 7,
    metric: str = 'coco/AP',
    files: Sequence[str] = tuple(FILES),
    batch_sizes: Sequence[int] = (1, 32),
    out: Optional[str] = None,
) -> Dict[str, Any]:
    """Exports models, and measures the files beside PyTorch, on one CPU thread.

    Args:
        setting: Only its seed and device count.
        models: ``'NAME=CONFIG,CHECKPOINT'``. Times are given as multiples of the first one's, too.
        people: How many instances of the config's test set are compared, in batches of 1, 3 and 32.
        rounds: At the largest batch size; the smaller ones have more, so that each sees as many instances.
        metric: Of the config's test metrics.
        files: Keys of :data:`FILES`.
        batch_sizes: To take the time of.
        out: A JSON file to write as well.

    Returns:
        What the file holds: for each model ``files`` (metric in PyTorch and in the file, in 0-100, size in MB, the
        largest difference of a keypoint in input pixels), ``over_pytorch`` and ``over_first`` (for each batch size, the
        median time of its ``coords`` file divided by that of eager PyTorch, and by that of the first model's file);
        every round's seconds; and what it was measured with.

    Raises:
        UserError: An entry of ``models`` or ``files`` is not in this form, or a model cannot be exported.
    """
    unknown = [kind for kind in files if kind not in FILES]
    if unknown:
        raise UserError(f'there is no file {unknown[0]!r}, but {", ".join(map(repr, FILES))}')
    onnx, runtime = require('onnx', 'onnxruntime')
    torch.set_num_threads(1)
    named = dict(_parse(model) for model in models)
    if len(named) < len(models):
        raise UserError(f'models have names of their own: {", ".join(name for name, _ in map(_parse, models))}')
    measured: Dict[str, Dict[str, Any]] = {}
    sessions: Dict[str, OnnxSession] = {}
    networks: Dict[str, PoseNetwork] = {}
    opsets: Set[int] = set()
    with tempfile.TemporaryDirectory() as folder, errors_only():
        for name, (config, checkpoint) in named.items():
            estimator = load_estimator(config, checkpoint)
            crops = crops_of(estimator.cfg, 'test', people)
            networks[name] = PoseNetwork(estimator.model, FORMATS['coords'].answer)
            measured[name] = dict(files={})
            for kind in files:
                path = str(Path(folder) / f'{len(sessions)}.onnx')
                exported = export_onnx(config, checkpoint, path, max_drop=ANY_DROP, metric=metric, **FILES[kind])
                opsets.update(one.version for one in onnx.load(path).opset_import)
                session = sessions[f'{name}: {kind}'] = OnnxSession(path, threads=1)
                flip = estimator.skeleton.flip_indices if session.metadata['flip_test'] else None
                reference = PoseNetwork(estimator.model, session.form.answer, given=PIXELS, flip_indices=flip)
                agreed = [compare(session, reference, session.form, crops, batch) for batch in COMPARED]
                measured[name]['files'][kind] = dict(
                    pytorch=100 * exported.metrics['pytorch'][metric],
                    onnx=100 * exported.metrics['onnx'][metric],
                    size_mb=exported.size_mb,
                    pixels=max(one.pixels for one in agreed),
                    people=len(crops),
                )
    rows = [dict(model=name, file=kind, **row) for name in named for kind, row in measured[name]['files'].items()]
    print_rows(f'{metric} and agreement', rows)
    times = _times(setting, networks, sessions, batch_sizes, rounds)
    _compare_times(measured, times)
    result = dict(
        models=measured,
        seconds=times,
        metric=metric,
        batches_compared=list(COMPARED),
        engines=dict(onnx=onnx.__version__, onnxruntime=runtime.__version__),
        **circumstances(setting, batch_size=list(batch_sizes), rounds=rounds, opsets=sorted(opsets)),
    )
    write_json(result, out)
    return result


def _parse(model: str) -> Tuple[str, Tuple[str, str]]:
    name, _, files = model.partition('=')
    config, _, checkpoint = files.rpartition(',')
    if not (name and config and checkpoint):
        raise UserError(f'models are NAME=CONFIG,CHECKPOINT, not {model!r}')
    return name, (config, checkpoint)


def _times(
    setting: Setting,
    networks: Dict[str, PoseNetwork],
    sessions: Dict[str, OnnxSession],
    batch_sizes: Sequence[int],
    rounds: int,
) -> Dict[str, Dict[str, List[float]]]:
    """By batch size and call, the seconds of each round; calls of all models take turns."""
    generator = torch.Generator().manual_seed(setting.seed)
    found: Dict[str, Dict[str, List[float]]] = {}
    for size in batch_sizes:
        calls: Dict[str, Call] = {}
        for name, network in networks.items():
            width, height = network.input_size
            crops = torch.randint(0, 256, (size, 3, height, width), dtype=torch.uint8, generator=generator)
            images = normalize(crops, normalization(network.model.data_preprocessor))
            calls[f'{name}: PyTorch'] = functools.partial(_run, network, images)
            for key in (key for key in sessions if key.startswith(f'{name}: ')):
                calls[key] = functools.partial(sessions[key], sessions[key].prepare(crops))
        found[f'b{size}'] = take_turns(calls, rounds * max(1, max(batch_sizes) // size), setting.device)
    return found


@torch.no_grad()
def _run(network: PoseNetwork, images: Tensor) -> None:
    network(images)


def _compare_times(measured: Dict[str, Dict[str, Any]], times: Dict[str, Dict[str, List[float]]]) -> None:
    """Adds the ratios to what was measured, and prints the times."""
    first, rows = next(iter(measured)), []
    for size, found in times.items():
        for key, seconds in found.items():
            name, kind = key.rsplit(': ', 1)
            by_torch = ratio(found, key, [f'{name}: PyTorch'])['median']
            by_first = ratio(found, key, [f'{first}: {kind}'])['median']
            spread = quartiles(seconds)
            rows.append(
                {
                    'model': name,
                    'run by': kind,
                    'batch': size[1:],
                    'ms': 1000 * spread['median'],
                    'quartiles': f'{1000 * spread["q1"]:.2f}-{1000 * spread["q3"]:.2f}',
                    '× PyTorch': by_torch,
                    f'× {first}': by_first,
                }
            )
            if kind == 'coords':
                measured[name].setdefault('over_pytorch', {})[size] = by_torch
                measured[name].setdefault('over_first', {})[size] = by_first
    print_rows('time of a batch, one CPU thread', rows)
