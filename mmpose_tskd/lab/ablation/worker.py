"""One run of an ablation, in a process of its own: it trains, is measured, and is written down."""

import fcntl
import hashlib
import io
import json
import multiprocessing
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.evaluation.metrics import CocoMetric

from ...apis.environment import machine, prefers_bfloat16, versions
from ...apis.record_teacher import open_teacher, record_teacher
from ...apis.records import read_record, write_record
from ...apis.report import last_checkpoint, read_scalars
from ...apis.train_time import TrainTimeHook
from ...checkpoints import load_weights, read_checkpoint, weights_digest
from ...engine.atomic_backend import AtomicLocalBackend
from ...engine.hooks.utils import unwrapped_model
from ...errors import UserError
from ...evaluation import PersonRecordMetric
from ..labels import Labels
from .plan import RECORD, RECORD_OF, TEACHER, Run, place_record, set_checkpoint


class Task(NamedTuple):
    """What a process is to do.

    Args:
        run: The run.
        folder: Its work folder; those of the runs that it needs lie beside it.
        record: The JSON to write.
        sets: The names of all sets to measure it on; none to train alone.
        threads: CPU threads to use.
    """

    run: Run
    folder: Path
    record: Path
    sets: List[str]
    threads: int


def work(task: Task) -> None:
    """Trains the run, unless it is trained, and measures it on the sets where that is missing.

    Training goes on from the run's last epoch. Weights that are kept in half precision beside the run's record replace
    the training. If another process works on the same run, this one waits. MMEngine's output goes to ``console.log``.
    """
    torch.set_num_threads(task.threads)
    task.folder.mkdir(parents=True, exist_ok=True)
    _say_into(task.folder / 'console.log')
    with _alone(task.folder):
        cfg = task.run.cfg
        cfg.work_dir = str(task.folder)
        if prefers_bfloat16():
            cfg.optim_wrapper.type = 'BF16OptimWrapper'
        _restore(task)
        if not is_trained(task.run, task.folder, task.record):
            _train(cfg, task.run, task.folder)
        if task.sets:
            record = _record(task)
            for name in missing_sets(task.run, record, task.sets):
                measured = _measure(cfg, task.run, name, task.folder)
                digests = dict(labels=task.run.sets[name].digest(), evaluation=task.run.evaluation)
                record['sets'][name] = {**digests, **measured}
                write_record(record, task.record)


def read_run(run: Run, path: Path) -> Optional[dict]:
    """The record that a run has left, or None.

    Raises:
        UserError: The file is damaged, was changed, or is another run's.
    """
    record = read_record(path, family=str, scheme=str, seed=int, hash=str, weights=str, sets=dict)
    for entry in record['sets'].values() if record is not None else ():
        if not (isinstance(entry, dict) and {'labels', 'evaluation'} <= set(entry)):
            raise UserError(f'{path} does not say on which labels a set was measured: delete it, and it is made anew')
    if record is not None and RECORD.format(**record) != run.name:
        raise UserError(
            f'{path} is the record of {RECORD.format(**record)} under another name: give it its own, or delete it'
        )
    return record


def missing_sets(run: Run, record: Optional[dict], sets: List[str]) -> List[str]:
    """Those of the sets on which the run was not measured yet, or on other labels, or in another way."""
    done = record['sets'] if record else {}
    digests = {name: (entry['labels'], entry['evaluation']) for name, entry in done.items()}
    return [name for name in sets if digests.get(name) != (run.sets[name].digest(), run.evaluation)]


def is_trained(run: Run, folder: Path, record: Path) -> bool:
    """Whether its last checkpoint is there, and either the last epoch was validated or its weights were kept."""
    last = run.cfg.train_cfg.max_epochs
    is_validated = any('loss' not in entry and entry['step'] == last for entry in read_scalars(folder))
    return (is_validated or _has_kept_weights(record)) and (folder / f'epoch_{last}.pth').is_file()


def kept_weights(record: Path) -> Path:
    """Where a run's last weights lie if they are kept, so that nobody has to train it again."""
    return record.with_suffix('.pth')


def _has_kept_weights(record: Path) -> bool:
    """Whether a run's weights are kept. Without a record beside them, it is not known that they are this run's."""
    return record.is_file() and kept_weights(record).is_file()


def _restore(task: Task) -> None:
    file, kept = task.folder / f'epoch_{task.run.cfg.train_cfg.max_epochs}.pth', kept_weights(task.record)
    if _has_kept_weights(task.record) and not file.is_file():
        weights = {
            name: value.float() if value.is_floating_point() else value
            for name, value in load_weights(str(kept)).items()
        }
        content = io.BytesIO()
        torch.save(dict(state_dict=weights), content)
        AtomicLocalBackend().put(content.getvalue(), file)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / 'lock').open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say_into(log: Path) -> None:
    """Sends what this process and its libraries print from here on to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open('a') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


class _FollowHook(Hook):
    """Notes what shows whether runs are comparable, and ends the run when the command that started it has ended.

    The message hub's ``start`` gets ``known`` (the run's :attr:`Run.evaluation`, and digests of the weights of the runs
    that it needs, by role), and digests of the model's first weights and of the first epoch's images in their order.
    """

    priority = 'BELOW_NORMAL'  # before the checkpoint is written

    def __init__(self, known: Dict[str, str]) -> None:
        self.known = known
        self.batches: Any = None

    def before_train(self, runner) -> None:
        if not runner.iter:
            weights = weights_digest(unwrapped_model(runner).state_dict())
            runner.message_hub.update_info('start', dict(weights=weights, **self.known))

    def before_train_epoch(self, runner) -> None:
        self.batches = hashlib.sha256() if not runner.epoch else None

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        if self.batches is not None:
            for image in data_batch['inputs']:
                self.batches.update(image.numpy().tobytes())

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        self._stop_with_parent()

    def after_test_iter(self, runner, *args, **kwargs) -> None:
        self._stop_with_parent()

    def _stop_with_parent(self) -> None:
        command = multiprocessing.parent_process()  # not the server that has forked this process, which outlives it
        if command is not None and not command.is_alive():
            sys.exit('stopped, since the command that had started this was')

    def after_train_epoch(self, runner) -> None:
        if self.batches is not None:
            hub = runner.message_hub
            hub.update_info('start', dict(hub.get_info('start'), batches=self.batches.hexdigest()[:12]))


def _runner(cfg: Config, known: Dict[str, str], **options) -> Runner:
    cfg = Config(cfg.to_dict(), format_python_code=False)  # which takes seconds each time the config is shown
    # MMEngine hands out the same logger and visualizer again for the same name
    cfg.experiment_name = cfg.visualizer.name = f'{Path(cfg.work_dir).name}_{time.time_ns()}'
    cfg.merge_from_dict(options)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(TrainTimeHook())
    runner.register_hook(_FollowHook(known))
    return runner


def _train(cfg: Config, run: Run, folder: Path) -> None:
    known = dict(evaluation=run.evaluation)
    for role, name in run.needs.items():
        needed = str(last_checkpoint(folder.parent / name))
        if role == TEACHER and run.teacher_epoch is not None:
            needed = str(folder.parent / name / f'epoch_{run.teacher_epoch}.pth')
        known[role] = weights_digest(load_weights(needed))
        if role == RECORD_OF:
            place_record(cfg, _ask(run, Path(needed), known[role]))
        else:
            set_checkpoint(cfg, role, needed)
    options: Dict[str, Any] = {}
    if any(folder.glob('epoch_*.pth')):
        options = dict(load_from=str(last_checkpoint(folder)), resume=True)
    _runner(cfg, known, **options).train()


def _ask(run: Run, checkpoint: Path, weights: str) -> Labels:
    """The record of poses that a run learns from; it lies beside the checkpoint that is asked, and is made once.

    Args:
        run: The run.
        checkpoint: Of the network that is asked.
        weights: The digest of its weights.
    """
    assert run.recording is not None
    network, labels, flip_test = run.recording
    folder = checkpoint.parent
    file = folder / f'record{"_flip" if flip_test else ""}_{weights}_{labels.digest()}.json'
    with _alone(folder):
        if not file.is_file():
            config = folder / 'asked.py'
            network.dump(config)
            teacher = open_teacher(str(config), str(checkpoint), flip_test=flip_test)
            record_teacher([teacher], str(labels.file), str(labels.images), str(file))
    return Labels(file, labels.images)


def _measure(cfg: Config, run: Run, name: str, folder: Path) -> dict:
    """The content of :class:`PersonRecordMetric`'s file for one set."""
    labels, out = run.sets[name], folder / f'{name}.json'
    cfg = Config(cfg.to_dict())
    labels.into(cfg.test_dataloader.dataset)
    metric = dict(cfg.val_evaluator[0], type=PersonRecordMetric.__name__, ann_file=str(labels.file), out_file=str(out))
    cfg.test_evaluator = [metric]
    _runner(cfg, {}, load_from=str(last_checkpoint(folder))).test()
    return json.loads(out.read_text())


def _record(task: Task) -> dict:
    """The run's record if it is of the weights in the work folder; else a new one, without measurements."""
    record = read_run(task.run, task.record)
    weights = weights_digest(load_weights(str(last_checkpoint(task.folder))))
    return record if record and record['weights'] == weights else _describe(task.run, task.folder, weights)


def _describe(run: Run, folder: Path, weights: str) -> dict:
    """What the run was and how it went, without what was measured at its end."""
    file = str(last_checkpoint(folder))
    checkpoint = read_checkpoint(file)
    if 'message_hub' not in checkpoint:
        raise UserError(
            f'{file} holds weights alone, which are not those of a record: delete it, and the run is trained anew'
        )
    info = checkpoint['message_hub']['runtime_info']
    return dict(
        family=run.family,
        scheme=run.scheme,
        seed=run.seed,
        hash=run.hash,
        needs=run.needs,
        weights=weights,
        start=info['start'],
        epochs=run.cfg.train_cfg.max_epochs,
        train_s=round(info['train_s'], 1),
        **_logs(run, folder),
        versions=versions(),
        machine=machine(),
        sets={},
    )


def _logs(run: Run, folder: Path) -> dict:
    """Dev AP by epoch (``curve``), and each loss's mean over an epoch (``losses``)."""
    entries = read_scalars(folder)
    key = f'{run.cfg.val_evaluator[0].get("prefix") or CocoMetric.default_prefix}/AP'
    curve = [[entry['step'], round(100 * entry[key], 2)] for entry in entries if key in entry]
    losses: Dict[str, Dict[int, List[float]]] = {}
    for entry in entries:
        for key, value in entry.items():
            if key.startswith('loss') and 'epoch' in entry:
                losses.setdefault(key, {}).setdefault(entry['epoch'], []).append(value)
    means = {key: [float(f'{np.mean(v):.4g}') for _, v in sorted(by.items())] for key, by in losses.items()}
    return dict(curve=curve, losses=means)
