from typing import Any

import numpy as np
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import BaseLoop
from mmpose.registry import HOOKS

from ...checkpoints import NotPlainError, check_finite, find_weights, load_strictly, replace_loaders, to_plain
from ...errors import UserError
from ..atomic_backend import AtomicLocalBackend
from .utils import unwrapped_model


@HOOKS.register_module()
class WholeCheckpointHook(Hook):
    """Keeps checkpoints whole, plain and strict.

    Whole: :class:`AtomicLocalBackend` writes each file, which is there as a whole or not at all. Plain: a file consists
    of plain values (:func:`to_plain`), which ``torch.load`` reads tensors-only; MMEngine's own files hold arrays and
    objects, which torch from 2.6 on refuses by default. Strict: a checkpoint that is tested or resumed must fit the
    model in each weight. From the run's beginning on, MMEngine reads checkpoints by :func:`read_checkpoint`.
    """

    priority = 'LOWEST'  # after what others put into a checkpoint

    def before_run(self, runner) -> None:
        replace_loaders()
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook):
                if hook.out_dir not in (None, runner.work_dir):
                    raise UserError(
                        f'default_hooks.checkpoint.out_dir={hook.out_dir}: a run has its checkpoints in its work '
                        'folder, where --resume and the next stage look for them. Set work_dir instead'
                    )
                hook.backend_args = dict(backend='AtomicLocalBackend')
        AtomicLocalBackend.outdated.clear()  # left by an earlier run in this process that failed

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        try:
            plain = to_plain(checkpoint)
        except NotPlainError as error:
            raise UserError(
                f'a checkpoint of this run could not be resumed from: of what a hook or the metainfo of the data puts '
                f'into it, {error}'
            ) from error
        checkpoint.clear()
        checkpoint.update(plain)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        source, model = runner._load_from, unwrapped_model(runner)
        # In testing the training loop is not built. In training, unless resumed, load_from may fit only in part.
        if source is not None and (runner._resume or not isinstance(runner._train_loop, BaseLoop)):
            load_strictly(model, find_weights(checkpoint, source), source, 'model')
        if not runner._resume:
            return
        for entry in ('optimizer', 'ema_state_dict'):
            check_finite(checkpoint.get(entry), source, entry)
        _check_scale(checkpoint.get('optimizer'), source)
        logs = checkpoint['message_hub']['log_scalars']
        for name, entry in logs.items():
            logs[name] = HistoryBuffer(entry['log'].tolist(), entry['count'].tolist())
        _restore_arrays(checkpoint['meta'].get('dataset_meta'), runner.train_dataloader.dataset)


def _check_scale(optimizer: Any, source: str) -> None:
    """float16's loss scaling skips each step for good where its factor is infinite or 0."""
    scaler = optimizer.get('loss_scaler') if isinstance(optimizer, dict) else None
    scale = scaler.get('scale', 1) if isinstance(scaler, dict) else 1
    if not (isinstance(scale, (int, float)) and 0 < scale < float('inf')):
        raise UserError(f'{source} has a loss scaling by {scale}, with which nothing is trained: take another')


def _restore_arrays(saved: Any, dataset: Any) -> None:
    """Gives the saved metainfo's lists the types of the training set's, which MMEngine compares by their pickles."""
    current = getattr(dataset, 'metainfo', None)
    if not isinstance(saved, dict) or not isinstance(current, dict):
        return
    for name, value in current.items():
        if isinstance(value, np.ndarray) and isinstance(saved.get(name), list):
            saved[name] = np.array(saved[name], dtype=value.dtype)
