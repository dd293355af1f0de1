"""What one publishes of a trained estimator, in one folder."""

import hashlib
import io
import json
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmpose.apis.inference import dataset_meta_from_config

from ..checkpoints import locked
from ..datasets.label_checks import read_json
from ..deploy.onnx_file import require
from ..engine.atomic_backend import AtomicLocalBackend
from ..errors import UserError
from .complexity import model_complexity, plain_student
from .environment import versions
from .export import Exported, export_onnx, load_estimator

FORMS = ('coords', 'rtmlib', 'mmdeploy')
UNFINISHED = '.mmpose_tskd_unfinished'  # a file that marks a folder until all is written


def pack(
    work_dir: str,
    out: str,
    config: Optional[str] = None,
    results: Optional[str] = None,
    command: str = '',
    cfg_options: Optional[dict] = None,
    forms: Sequence[str] = FORMS,
) -> List[Path]:
    """Writes weights, plain config, ONNX files, mmdeploy's folder and a model card.

    Args:
        work_dir: A run's folder: its best checkpoint, else its last, is taken, and its config.
        out: The folder to write to. It must be new or empty, or hold only what a stopped call has left.
        config: The plain config, where the run's own is not an estimator (stage 2) or is not in the folder.
        results: A JSON file of metrics, such as ``tools/test.py --out`` writes, for the card.
        command: How this was called, for the card.
        cfg_options: Changes to the config.
        forms: What to export, some of :data:`FORMS`.

    Returns:
        The files.

    Raises:
        UserError: A file is missing, or what is exported differs from PyTorch.
    """
    (safetensors,) = require('safetensors.torch')
    folder = Path(out)
    _check_folder(folder)
    config = config or _config_of(Path(work_dir))
    estimator = load_estimator(config, work_dir, cfg_options)
    metrics = _read_results(results)
    plain = _plain_config(estimator.cfg)
    name = folder.resolve().name
    weights = {key: value.contiguous() for key, value in estimator.model.state_dict().items()}
    meta = dict(keypoints=json.dumps(estimator.skeleton.names), sha256=estimator.digest)

    with _unfinished(folder):
        backend = AtomicLocalBackend()
        backend.put_text(plain.pretty_text, folder / f'{name}.py')
        checkpoint = folder / f'{name}.pth'
        content = io.BytesIO()
        about = dict(mmpose_tskd_version=versions()['mmpose_tskd'], dataset_meta=_dataset_meta(plain))
        torch.save(dict(meta=about, state_dict=weights), content)
        backend.put(content.getvalue(), checkpoint)
        backend.put(safetensors.save(weights, metadata=meta), folder / f'{name}.safetensors')
        exported = {}
        for form in forms:
            target = folder / ('mmdeploy' if form == 'mmdeploy' else f'{name}_{form}.onnx')
            exported[form] = export_onnx(plain, str(checkpoint), str(target), form)
        files = sorted(path for path in folder.rglob('*') if path.is_file() and path.name != UNFINISHED)
        size = model_complexity(plain.model, plain.codec.input_size) if 'codec' in plain else None
        facts = dict(
            name=name,
            head=plain.model.head.type,
            backbone=plain.model.backbone.type,
            keypoints=', '.join(estimator.skeleton.names),
            size='' if size is None else f'{size.params_m:.3f} M parameters, {size.gmacs:.3f} GMACs an instance',
            data=plain.test_dataloader.dataset.get('ann_file') or plain.test_dataloader.dataset.type,
            command=command,
            versions=', '.join(f'{key} {value}' for key, value in versions().items()),
        )
        card = _card(facts, metrics, exported, [(path.relative_to(folder), path) for path in files])
        backend.put_text(card, folder / 'README.md')
    return [*files, folder / 'README.md']


def _check_folder(folder: Path) -> None:
    """Refuses a folder that holds anything but what a stopped call has left."""
    if not folder.exists():
        return
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
    name = folder.resolve().name
    own = {f'{name}{end}' for end in ('.py', '.pth', '.safetensors', *(f'_{form}.onnx' for form in FORMS))}
    others = {one for one in found - own if not one.endswith(AtomicLocalBackend.partial)}
    if found and (UNFINISHED not in found or others - {UNFINISHED, 'mmdeploy', 'README.md'}):
        raise UserError(f'--out {folder} is no empty folder: name a new one')


@contextmanager
def _unfinished(folder: Path) -> Iterator[None]:
    """Removes what a stopped call has left in a folder, and marks it as unfinished while the block writes to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_folder(folder)
        with locked(folder / UNFINISHED, wait=False):
            for path in folder.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name != UNFINISHED:
                    path.unlink()
            yield
            (folder / UNFINISHED).unlink()
    except BlockingIOError as error:
        raise UserError(f'--out {folder}: another command writes there: wait for it, or name another folder') from error
    except OSError as error:
        raise UserError(f'--out {folder} cannot be written to: {error}') from error


def _config_of(work_dir: Path) -> str:
    if not work_dir.is_dir():
        raise UserError(f"there is no work folder {work_dir}: give a run's")
    configs = sorted(work_dir.glob('*.py'))
    if len(configs) != 1:
        found = ', '.join(path.name for path in configs) or 'none'
        raise UserError(
            f'{work_dir} should hold one config, its run writes it there; found: {found}. Name it by --config'
        )
    return str(configs[0])


def _read_results(results: Optional[str]) -> Dict[str, float]:
    if results is None:
        return {}
    content = read_json(results)
    if not isinstance(content, dict):
        raise UserError(f'--results {results} is no JSON object with a number for each metric')
    return {key: value for key, value in content.items() if isinstance(value, (int, float))}


def _plain_config(cfg: Config) -> Config:
    """The config without its training: the plain estimator, its test set and evaluator."""
    kept: Tuple[str, ...] = (
        'default_scope',
        'custom_imports',
        'codec',
        'dataset_type',
        'data_mode',
        'data_root',
        'val_pipeline',
    )
    kept += ('val_dataloader', 'test_dataloader', 'val_evaluator', 'test_evaluator', 'val_cfg', 'test_cfg')
    plain = Config({key: cfg[key] for key in kept if key in cfg})
    plain.model = plain_student(cfg.model)
    plain.model.backbone.init_cfg = None
    plain.custom_imports = dict(imports=['mmpose_tskd'])
    _write_out_joints(plain._cfg_dict)
    return plain


def _dataset_meta(plain: Config) -> Dict[str, Any]:
    """The keypoints as MMPose looks for them in a checkpoint, in plain values."""
    meta = dataset_meta_from_config(plain, 'test') or {}
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in meta.items()}


def _write_out_joints(cfg: Any) -> None:
    """Replaces each path of a metainfo file, which is one on this machine, by what the file says, in place."""
    for value in cfg.values() if isinstance(cfg, dict) else cfg if isinstance(cfg, (list, tuple)) else ():
        _write_out_joints(value)
    if isinstance(cfg, dict):
        file = (cfg['metainfo'] if isinstance(cfg.get('metainfo'), dict) else {}).get('from_file', '')
        if Path(file).is_file():
            cfg['metainfo'] = Config.fromfile(file).dataset_info


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _card(facts: Dict[str, Any], metrics: Dict[str, float], exported: Dict[str, Exported], files: Sequence[Any]) -> str:
    """The model card, in Markdown; what only its maker knows is to be filled in."""
    lines = [f'# {facts["name"]}', '']
    lines += [f'A top-down pose estimator: {facts["backbone"]} with {facts["head"]}. {facts["size"]}', '']
    lines += [f'Keypoints: {facts["keypoints"]}.', '', '## To be filled in', '']
    lines += [
        f'- Training data, their license and what they allow (tested on {facts["data"]}):',
        '- License of these weights:',
        '- Initialization, teacher, and their licenses:',
        '- What it is for, what it is not for, and where it fails:',
        '',
        '## Metrics',
        '',
    ]
    if metrics:
        lines += ['| metric | value |', '|---|---|', *(f'| {key} | {value:.4f} |' for key, value in metrics.items())]
    else:
        lines += ['To be filled in: give `tools/pack.py` the file that `tools/test.py --out` writes.']
    lines += ['', '## Files', '', '| file | bytes | SHA-256 |', '|---|---|---|']
    lines += [f'| {name} | {path.stat().st_size:,} | `{_sha256(path)}` |' for name, path in files]
    lines += ['', '## Checked as they were exported', '']
    lines += [
        '| format | differs from PyTorch by up to | on | milliseconds an instance, one thread |',
        '|---|---|---|---|',
    ]
    for form, outcome in exported.items():
        agreement, what = (
            (outcome.real, 'instances of the test set') if outcome.real else (outcome.random, 'random images')
        )
        assert agreement is not None
        lines.append(
            f'| {form} | {agreement.pixels:.2g} input pixels | {agreement.people} {what} | {outcome.latency_ms:.1f} |'
        )
    lines += ['', f'Made by `{facts["command"]}` with {facts["versions"]}.', '']
    return '\n'.join(lines)
