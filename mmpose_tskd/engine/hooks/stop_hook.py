import os
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Dict, Iterator, Optional

import torch
from mmengine.dist import all_reduce, is_distributed, is_main_process
from mmengine.hooks import Hook
from mmpose.registry import HOOKS

from ..atomic_backend import AtomicLocalBackend
from .utils import within_training

INTERRUPTED = 'interrupted.pth'
SIGNALS = [getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name)]


@HOOKS.register_module()
class StopHook(Hook):
    """Saves a run that is told to stop: by Ctrl-C, SIGTERM, or SIGHUP, which a closed terminal sends.

    The state after the current iteration is saved as ``interrupted.pth``, and a :class:`KeyboardInterrupt` ends the
    run. A validation that is under way is finished first, unless there is only one process and a checkpoint of this
    iteration exists already. A second signal, over ``patience`` seconds later, ends the run at once, without saving.
    """

    priority = 'LOWEST'  # after MMEngine's own checkpoint of the iteration
    patience = 3.0  # seconds; a signal that comes sooner after another is the same one, passed on by a launcher
    sync_interval = 10  # iterations after which the processes of distributed training tell each other of a signal

    def __init__(self) -> None:
        self.signal: Optional[signal.Signals] = None
        self.saved_iter: Optional[int] = None
        self.resumed_from: Optional[str] = None  # an interrupted.pth, until there is another file to resume from
        self.signal_time = 0.0
        self.process = os.getpid()

    def before_run(self, runner) -> None:
        within_training(runner, self._listening)

    def before_train(self, runner) -> None:
        own = Path(runner.work_dir, INTERRUPTED)
        if runner._resume and Path(runner._load_from).resolve() == own.resolve():
            self.resumed_from = str(own)

    def after_val_iter(self, runner, *args, **kwargs) -> None:
        # the processes of distributed training have different numbers of images, and only one knows what is saved
        if self.signal is not None and self.saved_iter == runner.iter and not is_distributed():
            self._stop(runner, 'the checkpoint of its epoch')

    def after_val_epoch(self, runner, metrics: Optional[Dict[str, float]] = None) -> None:
        if self._agree_to_stop(runner):
            self._save(runner, meta=dict(epoch=runner.epoch, iter=runner.iter))

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        is_whole = self.every_n_train_iters(runner, self.sync_interval) and runner.optim_wrapper.should_update()
        if is_distributed() and not is_whole:  # each process has gradients of its own until a step is whole
            return
        if self._agree_to_stop(runner):
            self._save(runner, meta=dict(epoch=runner.epoch, iter=runner.iter + 1))

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        self.saved_iter = checkpoint['meta']['iter']
        if self.resumed_from is not None and 'optimizer' in checkpoint:  # the best one's file has none
            AtomicLocalBackend().remove(self.resumed_from)
            self.resumed_from = None

    def _agree_to_stop(self, runner) -> bool:
        """Whether a signal has come, in distributed training to any of the processes.

        A signal that comes during this exchange counts only at the next one, since not all processes may know of it.
        """
        if not is_distributed():
            return self.signal is not None
        number = torch.tensor(self.signal or 0, device=next(runner.model.parameters()).device)
        all_reduce(number, 'max')
        if number:
            self.signal = signal.Signals(int(number))
        return bool(number)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        handlers: Dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():  # Python's condition
            for number in SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it for SIGHUP
                    handlers[number] = signal.signal(number, self._note)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: Optional[FrameType]) -> None:
        if os.getpid() != self.process:  # a forked data worker: Ctrl-C reaches it, too, but its samples are needed
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if self.signal is not None and time.monotonic() - self.signal_time > self.patience:
            raise KeyboardInterrupt
        self.signal, self.signal_time = signal.Signals(number), time.monotonic()

    def _save(self, runner, meta: Dict[str, int]) -> None:
        file = Path(runner.work_dir, INTERRUPTED)
        runner.save_checkpoint(str(file.parent), file.name, meta=meta, backend_args=dict(backend='AtomicLocalBackend'))
        if is_main_process():
            AtomicLocalBackend().put_text(str(file), file.with_name('last_checkpoint'))
        self._stop(runner, file.name)

    def _stop(self, runner, saved: str) -> None:
        assert self.signal is not None
        runner.logger.warning(
            f'Stopped by {self.signal.name} after iteration {runner.iter}; {saved} in {runner.work_dir} has all of '
            'it. The same command with --resume goes on from there.'
        )
        raise KeyboardInterrupt
