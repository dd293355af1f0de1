import os
import signal
import threading
import time
import traceback
from collections import OrderedDict
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Dict, Iterator, Optional

import numpy as np
import torch
from mmengine.dist import all_reduce, is_distributed, is_main_process
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import BaseLoop, EpochBasedTrainLoop
from mmpose.registry import HOOKS

from ...checkpoint import find_resumable, find_weights, load_strictly
from ...errors import UserError
from ..atomic_backend import AtomicLocalBackend
from .utils import epoch_progress, unwrapped_model

INTERRUPTED = 'interrupted.pth'


def to_plain(value: Any) -> Any:
    """The same nested value without NumPy: arrays become lists, scalars become numbers."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (dict, OrderedDict):
        return type(value)((to_plain(k), to_plain(v)) for k, v in value.items())
    if type(value) in (list, tuple):
        return type(value)(to_plain(v) for v in value)
    return value


@HOOKS.register_module()
class SafeCheckpointHook(Hook):
    """Keeps checkpoints loadable by ``torch.load(weights_only=True)``, a distiller's own state beside the student's.

    MMEngine puts history buffers and NumPy arrays into its checkpoints, which torch >= 2.6 refuses to load in its
    default, safe mode: resume and test fail on the run's own files. Here they are stored as tensors, lists and
    numbers and restored on loading.

    ``state_dict`` in the file is the plain student's; a distiller's adapters and γ stand under ``distill``. A file on a
    disk is written by :class:`AtomicLocalBackend`: whole, or not there.

    On Ctrl-C and SIGTERM the state after the current iteration is saved as ``interrupted.pth``, and a
    :class:`KeyboardInterrupt` ends the run. A validation that is under way is done first, unless its epoch is saved and
    there is but one process; a second signal does not wait. ``resume=True`` goes on from the last whole checkpoint,
    within an epoch too (with :class:`SafeSamplesHook`), and first does the validation that a killed run still owed.
    """

    priority = 'LOWEST'  # after what others put into a checkpoint, and after MMEngine's own checkpoint of the iteration
    patience = 3.0  # seconds within which a signal is the same one again: a launcher passes on what reached all
    sync_interval = 10  # iterations after which the processes of distributed training tell each other of a signal

    def __init__(self) -> None:
        self.signal: Optional[signal.Signals] = None
        self.saved_iter: Optional[int] = None
        self.resumed_from: Optional[str] = None  # an interrupted.pth, until there is another file to resume from
        self.is_validated = False
        self.signal_time = 0.0
        self.process = os.getpid()
        self.handlers: Dict[signal.Signals, Any] = {}

    def before_run(self, runner) -> None:
        if runner._resume and runner._load_from is None:
            runner._load_from = find_resumable(runner.work_dir)
            runner._resume = runner._load_from is not None
            if not runner._resume:
                runner.logger.warning(f'{runner.work_dir} has no checkpoint to resume from: the run starts anew')

    def before_train(self, runner) -> None:
        if runner.cfg.get('compile') and hasattr(unwrapped_model(runner), 'distill_state_dict'):
            raise UserError(
                "compile: MMEngine compiles the training step as a whole, and torch.compile cannot follow a batch's "
                'labels, which are NumPy. Leave it out; the networks alone compile, by backbone.compile() of the '
                "model and of its teacher's, in a hook (docs/reliability.md)"
            )
        for hook in _checkpoint_hooks(runner):
            hook.backend_args = dict(backend='AtomicLocalBackend')
            hook.file_backend = AtomicLocalBackend()
        own = Path(runner.work_dir, INTERRUPTED)
        if runner._resume and Path(runner._load_from).resolve() == own.resolve():
            self.resumed_from = str(own)
        self._listen(type(runner.train_loop).run.__code__)
        if runner._resume and not self.is_validated and _owes_validation(runner):
            runner.val_loop.run()

    def before_val_epoch(self, runner) -> None:
        self.is_validated = True

    def after_val_iter(self, runner, *args, **kwargs) -> None:
        # the processes of distributed training have different numbers of pictures, and only one knows what is saved
        if self.signal is not None and self.saved_iter == runner.iter and not is_distributed():
            self._stop(runner, 'the checkpoint of its epoch')

    def after_val_epoch(self, runner, metrics: Optional[Dict[str, float]] = None) -> None:
        if self._agree_to_stop(runner):
            self._save(runner, meta=dict(epoch=runner.epoch, iter=runner.iter))

    def before_train_epoch(self, runner) -> None:
        self.is_validated = False

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        if is_distributed() and not self.every_n_train_iters(runner, self.sync_interval):
            return
        if self._agree_to_stop(runner):
            self._save(runner, meta=dict(epoch=runner.epoch, iter=runner.iter + 1))

    def _agree_to_stop(self, runner) -> bool:
        """Whether a signal has come, in distributed training to any of the processes.

        One that comes while they ask each other is left for the next time: not all may have heard of it.
        """
        if not is_distributed():
            return self.signal is not None
        number = torch.tensor(self.signal or 0, device=next(runner.model.parameters()).device)
        all_reduce(number, 'max')
        if number:
            self.signal = signal.Signals(int(number))
        return bool(number)

    def after_run(self, runner) -> None:
        self._unlisten()

    def _unlisten(self) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _listen(self, loop: CodeType) -> None:
        self.loop = loop
        if threading.current_thread() is threading.main_thread():  # Python's condition
            for number in (signal.SIGINT, signal.SIGTERM):
                self.handlers[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: Optional[FrameType]) -> None:
        if os.getpid() != self.process:  # a worker, forked from it: Ctrl-C reaches it too, and what it reads is needed
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if all(caller.f_code is not self.loop for caller, _ in traceback.walk_stack(frame)):  # an error ended the run
            self._unlisten()
            os.kill(os.getpid(), number)
            return
        if self.signal is not None and time.monotonic() - self.signal_time > self.patience:
            raise KeyboardInterrupt
        self.signal, self.signal_time = signal.Signals(number), time.monotonic()

    def _save(self, runner, meta: Dict[str, int]) -> None:
        file = Path(runner.work_dir, INTERRUPTED)
        backend_args = dict(backend='AtomicLocalBackend')
        runner.save_checkpoint(str(file.parent), file.name, meta=meta, backend_args=backend_args)
        if is_main_process():
            AtomicLocalBackend().put_text(str(file), file.with_name('last_checkpoint'))
        self._stop(runner, file.name)

    def _stop(self, runner, saved: str) -> None:
        assert self.signal is not None
        runner.logger.warning(
            f'Stopped by {self.signal.name} after iteration {runner.iter}; {saved} in {runner.work_dir} has all of '
            'it. The same command with --resume goes on from there.'
        )
        self._unlisten()
        raise KeyboardInterrupt

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        self.saved_iter = checkpoint['meta']['iter']
        if self.resumed_from is not None and 'optimizer' in checkpoint:  # the best one's file has none
            AtomicLocalBackend().remove(self.resumed_from)
            self.resumed_from = None
        checkpoint['meta']['is_validated'] = self.is_validated
        hub = checkpoint.get('message_hub')
        if hub is not None:
            hub['log_scalars'] = {
                name: dict(zip(('log', 'count'), (torch.as_tensor(array) for array in buffer.data)))
                for name, buffer in hub['log_scalars'].items()
            }
        for key in ('meta', 'message_hub', 'param_schedulers'):
            if key in checkpoint:
                checkpoint[key] = to_plain(checkpoint[key])
        model = unwrapped_model(runner)
        if hasattr(model, 'distill_state_dict'):
            checkpoint['distill'] = model.distill_state_dict()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        source, model = runner._load_from, unwrapped_model(runner)
        if runner._resume and 'epoch' not in checkpoint.get('meta', {}):
            raise UserError(
                f'{source} holds no state of a run to resume: to start from its weights, set load_from={source} and '
                'leave resume out'
            )
        # In training without a resumption load_from may fit in part; its loop is not built in testing.
        if source is not None and (runner._resume or not isinstance(runner._train_loop, BaseLoop)):
            load_strictly(model, find_weights(checkpoint, source), source, 'model')
        hub = checkpoint.get('message_hub')
        if hub is not None:
            for name, entry in hub['log_scalars'].items():
                if isinstance(entry, dict):
                    hub['log_scalars'][name] = HistoryBuffer(entry['log'].tolist(), entry['count'].tolist())
        if not runner._resume:
            return
        self.is_validated = checkpoint['meta'].get('is_validated', False)
        _restore_arrays(checkpoint['meta'].get('dataset_meta'), runner.train_dataloader.dataset)
        if hasattr(model, 'load_distill_state_dict'):
            if 'distill' not in checkpoint:
                raise UserError(
                    'the checkpoint to resume from has no "distill" entry with the adapters of model.distill_losses: '
                    'it was written without SafeCheckpointHook in custom_hooks, or by another model'
                )
            model.load_distill_state_dict(checkpoint['distill'])


def _checkpoint_hooks(runner) -> Iterator[CheckpointHook]:
    """Those that write to a disk, by MMEngine's own means."""
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.backend_args is None:
            if isinstance(get_file_backend(hook.out_dir or runner.work_dir), LocalBackend):
                yield hook


def _owes_validation(runner) -> bool:
    """Whether the epoch or iteration that a run is resumed from ends with a validation."""
    loop = runner.train_loop
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    if runner.val_loop is None or (by_epoch and epoch_progress(runner)[0]):
        return False
    now, end = (runner.epoch, runner.max_epochs) if by_epoch else (runner.iter, runner.max_iters)
    return now > 0 and now >= loop.val_begin and (now % loop.val_interval == 0 or now == end)


def _restore_arrays(saved: Any, dataset: Any) -> None:
    """Gives the saved metainfo's lists the types of the training set's, which MMEngine compares by their pickles."""
    current = getattr(dataset, 'metainfo', None)
    if not isinstance(saved, dict) or not isinstance(current, dict):
        return
    for name, value in current.items():
        if isinstance(value, np.ndarray) and isinstance(saved.get(name), list):
            saved[name] = np.array(saved[name], dtype=value.dtype)
