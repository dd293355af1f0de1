"""A hook that tells what each process of a training run saw, for runs that are started from a command line."""

import hashlib
import os
import signal
from pathlib import Path

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmpose.registry import HOOKS
from torch.nn.modules.batchnorm import _BatchNorm

from mmpose_tskd.engine.hooks.utils import unwrapped_model


@HOOKS.register_module()
class ProbeHook(Hook):
    """Keeps batch norm's statistics fixed, which each process would take from its own instances, and notes the rest."""

    priority = 'LOWEST'

    def __init__(self):
        self.seen = dict(images=[], gamma=[], metrics=[])

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for module in runner.model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        self.seen['images'].append([(s.img_path, float(x.float().sum())) for x, s in zip(*data_batch.values())])
        self.seen['gamma'].append(float(unwrapped_model(runner).gamma))

    def after_val_epoch(self, runner, metrics=None):
        teacher = {k: v for k, v in runner.message_hub.log_scalars.items() if 'teacher/' in k}
        metrics = {name: float(value) for name, value in metrics.items()}
        self.seen['metrics'].append({**metrics, **{name: float(v.current()) for name, v in teacher.items()}})

    def after_train(self, runner):
        model = unwrapped_model(runner)
        self.seen['teacher'] = digest(model.teacher.model)
        self.seen['lr'] = runner.optim_wrapper.get_lr()['lr']
        torch.save(self.seen, Path(runner.work_dir, f'rank{get_rank()}.pt'))


@HOOKS.register_module()
class StopSecondHook(Hook):
    """Sends the second process of two a SIGTERM within the first validation."""

    def after_val_iter(self, runner, batch_idx, **kwargs):
        if get_rank() == 1 and runner.epoch == 1 and batch_idx == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def digest(module):
    """Of every parameter and buffer."""
    return hashlib.sha256(b''.join(v.numpy().tobytes() for v in module.state_dict().values())).hexdigest()
