from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import HistoryBuffer
from mmpose.registry import HOOKS

from ...errors import UserError
from .utils import unwrapped_model


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
    """

    priority = 'VERY_LOW'

    def before_train(self, runner) -> None:
        if runner.cfg.get('compile') and hasattr(unwrapped_model(runner), 'distill_state_dict'):
            raise UserError(
                "compile: MMEngine compiles the training step as a whole, and torch.compile cannot follow a batch's "
                'labels, which are NumPy. Leave it out; the networks alone compile, by backbone.compile() of the '
                "model and of its teacher's, in a hook (docs/reliability.md)"
            )
        for hook in runner.hooks:
            if not isinstance(hook, CheckpointHook) or hook.backend_args is not None:
                continue
            if isinstance(get_file_backend(hook.out_dir or runner.work_dir), LocalBackend):
                hook.backend_args = dict(backend='AtomicLocalBackend')

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
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
        hub = checkpoint.get('message_hub')
        if hub is not None:
            for name, entry in hub['log_scalars'].items():
                if isinstance(entry, dict):
                    hub['log_scalars'][name] = HistoryBuffer(entry['log'].tolist(), entry['count'].tolist())
        if not runner._resume:
            return
        _restore_arrays(checkpoint['meta'].get('dataset_meta'), runner.train_dataloader.dataset)
        model = unwrapped_model(runner)
        if hasattr(model, 'load_distill_state_dict'):
            if 'distill' not in checkpoint:
                raise UserError(
                    'the checkpoint to resume from has no "distill" entry with the adapters of model.distill_losses: '
                    'it was written without SafeCheckpointHook in custom_hooks, or by another model'
                )
            model.load_distill_state_dict(checkpoint['distill'])


def _restore_arrays(saved: Any, dataset: Any) -> None:
    """Gives the saved metainfo's lists the types of the training set's, which MMEngine compares by their pickles."""
    current = getattr(dataset, 'metainfo', None)
    if not isinstance(saved, dict) or not isinstance(current, dict):
        return
    for name, value in current.items():
        if isinstance(value, np.ndarray) and isinstance(saved.get(name), list):
            saved[name] = np.array(saved[name], dtype=value.dtype)
