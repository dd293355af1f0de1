import math
import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, EpochBasedTrainLoop
from mmpose.registry import HOOKS
from torch import Tensor

from ...checkpoints import find_resumable, locked
from ...errors import UserError, printable
from ..atomic_backend import AtomicLocalBackend
from .utils import EPOCH_START, epoch_progress, within_training

SETTINGS = (
    'model',
    'train_dataloader',
    'train_cfg',
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'custom_hooks',
)
# The settings that may differ when a run goes on: paths, models (which are checked by their weights), and how batches
# are loaded, since they may be spread over other devices.
FREE = {
    *('data_root', 'teacher', 'teacher_checkpoint', 'student_checkpoint', 'work_dir'),
    *('batch_size', 'num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor'),
}


@HOOKS.register_module()
class ResumeHook(Hook):
    """Resumes a run from a whole checkpoint of its own, and from nothing else.

    While a run trains, its folder is locked; files that a killed process left half written are removed. With
    ``resume=True`` the run goes on from its last whole checkpoint (or from ``load_from``), within an epoch too (with
    :class:`SafeSamplesHook`). If the stopped run had not finished a validation, it is done first.

    A checkpoint of weights alone is refused. So is one of a run with another model, data pipeline, optimizer, schedule
    or hooks; the message says what differs. With ``allow_changes=True`` in the config, the run goes on from that one
    and logs what has changed. If the run's best checkpoint is not in this folder, the next validation finds a new one;
    no path in a checkpoint is followed.
    """

    priority = 'LOWEST'  # after what others put into a checkpoint

    def __init__(self) -> None:
        self.is_validated = False

    def before_run(self, runner) -> None:
        if not isinstance(runner._train_loop, BaseLoop):  # in testing
            return
        if runner._resume and runner._load_from is None:
            runner._load_from = find_resumable(runner.work_dir)
            runner._resume = runner._load_from is not None
            if not runner._resume:
                runner.logger.warning(f'{runner.work_dir} has no checkpoint to resume from: the run starts anew')
        if is_main_process():
            within_training(runner, lambda: _owned(runner))
        resume = runner.resume

        def resume_or_say(*args: Any, **kwargs: Any) -> None:
            try:
                resume(*args, **kwargs)
            except UserError:
                raise
            except Exception as error:  # MMEngine and torch do not check a file's state
                raise UserError(
                    f'{runner._load_from} holds a state that this run cannot go on from ({type(error).__name__}: '
                    f'{error}): it is damaged, or of another run. Take another checkpoint'
                ) from error

        runner.resume = resume_or_say

    def before_train(self, runner) -> None:
        if not runner._resume:
            return
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        if not self.is_validated and _owes_validation(runner):
            runner.val_loop.run()
        if (runner.epoch >= runner.max_epochs) if by_epoch else (runner.iter >= runner.max_iters):
            runner.logger.warning(f'{runner._load_from} is the end of this run: nothing is left to train')

    def before_val_epoch(self, runner) -> None:
        self.is_validated = True

    def before_train_epoch(self, runner) -> None:
        self.is_validated = False

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint['meta'].update(is_validated=self.is_validated, settings=_settings(runner))

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if not runner._resume:
            return
        _check_state(runner, checkpoint)
        _compare_settings(runner, checkpoint['meta'].get('settings'))
        _check_start(runner, checkpoint['message_hub']['runtime_info'].get(EPOCH_START), checkpoint['meta'])
        _keep_within(runner, checkpoint['message_hub']['runtime_info'])
        self.is_validated = checkpoint['meta'].get('is_validated', False)


@contextmanager
def _owned(runner) -> Iterator[None]:
    folder = Path(runner.work_dir)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / '.lock', wait=False))
        except BlockingIOError as error:
            raise UserError(
                f'another run is training in {folder}, which belongs to one: wait for it, or name another --work-dir'
            ) from error
        except OSError as error:  # some file systems of clusters know no locks
            runner.logger.warning(f'{folder} cannot be locked ({error}): take care that no other run trains in it')
        for file in folder.glob(f'.*{AtomicLocalBackend.partial}'):
            if not file.is_dir():
                file.unlink()
        yield


def _check_state(runner, checkpoint: dict) -> None:
    meta, hub = checkpoint.get('meta'), checkpoint.get('message_hub')
    needed = ['optimizer'] if runner.param_schedulers is None else ['optimizer', 'param_schedulers']
    is_whole = (
        all(entry in checkpoint for entry in needed)
        and isinstance(meta, dict)
        and all(isinstance(meta.get(name), int) and meta[name] >= 0 for name in ('epoch', 'iter'))
        and isinstance(hub, dict)
        and all(isinstance(hub.get(name), dict) for name in ('log_scalars', 'runtime_info', 'resumed_keys'))
        and all(_is_log(log) for log in hub['log_scalars'].values())
    )
    if not is_whole:
        raise UserError(
            f'{runner._load_from} holds no state of a run to resume, but weights alone, as a best_*.pth does: to start '
            f'from its weights, set load_from={runner._load_from} and leave resume out'
        )


def _check_start(runner, start: Any, meta: Dict[str, Any]) -> None:
    """Checks where the checkpoint's epoch began: at most all of its batches can have been trained on since."""
    if start is None:
        return
    names = ('epoch', 'iter', 'batches')
    is_known = isinstance(start, dict) and all(type(start.get(name)) is int for name in names)
    if not is_known or (start['epoch'] == meta['epoch'] and not 0 <= meta['iter'] - start['iter'] <= start['batches']):
        raise UserError(f'{runner._load_from} is damaged: where its epoch began cannot be. Take another checkpoint')


def _is_log(entry: Any) -> bool:
    log, count = (entry.get('log'), entry.get('count')) if isinstance(entry, dict) else (None, None)
    return isinstance(log, Tensor) and isinstance(count, Tensor) and log.ndim == 1 and log.shape == count.shape


def _settings(runner) -> Dict[str, str]:
    """The settings that may not change in a run, as text, by their dotted config keys."""
    return {key: value for name in SETTINGS for key, value in _flat(runner.cfg.get(name), name)}


def _flat(value: Any, name: str) -> Iterator[Tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, part in value.items():
            if key not in FREE:
                yield from _flat(part, f'{name}.{key}')
    elif isinstance(value, (list, tuple)) and value:
        for number, part in enumerate(value):
            yield from _flat(part, f'{name}.{number}')
    else:
        yield name, repr(value)


def _compare_settings(runner, before: Any) -> None:
    now = _settings(runner)
    if not isinstance(before, dict) or not all(isinstance(part, str) for pair in before.items() for part in pair):
        before = {'settings': 'not in the file, which a run without ReliableRunHook has written'}
        now = {}
    changed = [
        f'{key}: {before.get(key, "not set")} → {now.get(key, "not set")}'
        for key in [*before, *(key for key in now if key not in before)]
        if before.get(key) != now.get(key)
    ]
    if not changed:
        return
    text = '\n    '.join(changed[:10] + [f'and {len(changed) - 10} more'] * (len(changed) > 10))
    if not runner.cfg.get('allow_changes', False):
        raise UserError(
            f'{runner._load_from} is of a run with another config:\n    {text}\nGo on with the config that it was '
            'begun with, or begin anew in another work folder. To go on all the same, with the rest of the optimizer '
            'and its schedules as they were saved: --cfg-options allow_changes=True'
        )
    runner.logger.warning(
        printable(
            f'The run goes on from {runner._load_from} with another config; what the optimizer and its schedules have '
            f'saved, such as the learning rate, stays:\n    {text}'
        )
    )


def _keep_within(runner, info: Dict[str, Any]) -> None:
    """Lets a checkpoint name only best checkpoints in the run's folder; others are dropped with their scores."""
    for key in [key for key in info if str(key).startswith('best_ckpt')]:
        name = info[key] if isinstance(info[key], str) else ''
        file = Path(runner.work_dir, Path(name).name)
        score = info.get(key.replace('best_ckpt', 'best_score'))
        is_score = isinstance(score, (int, float)) and math.isfinite(score)
        if is_score and file.match('best_*.pth') and os.path.isfile(file) and not file.is_symlink():
            info[key] = str(file)
        else:  # of a run in another folder
            del info[key]
            info.pop(key.replace('best_ckpt', 'best_score'), None)
    kept = info.get('keep_ckpt_ids', [])
    info['keep_ckpt_ids'] = [step for step in kept if type(step) is int] if isinstance(kept, list) else []


def _owes_validation(runner) -> bool:
    """Whether the epoch or iteration that a run is resumed from ends with a validation."""
    loop = runner.train_loop
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    if runner.val_loop is None or (by_epoch and epoch_progress(runner)[0]):
        return False
    now, end = (runner.epoch, runner.max_epochs) if by_epoch else (runner.iter, runner.max_iters)
    return now > 0 and now >= loop.val_begin and (now % loop.val_interval == 0 or now == end)
