from typing import Any, Optional

import torch
from mmengine.hooks import Hook
from mmpose.registry import HOOKS
from torch import Tensor

from ...errors import UserError


@HOOKS.register_module()
class DivergenceHook(Hook):
    """Stops a run whose loss or weights are not finite any more, before it replaces good checkpoints.

    Args:
        patience: The run ends after this many iterations in a row with a loss that is not finite; float16's loss
            scaling skips a few. The hook looks once in this many iterations, since each look waits for the device.
    """

    priority = 'LOW'  # before MMEngine saves

    def __init__(self, patience: int = 10):
        self.patience = patience
        self.failed: Optional[Tensor] = None  # iterations in a row, on the device

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: Optional[dict] = None) -> None:
        loss = (outputs or {}).get('loss')
        if loss is None:
            return
        loss = torch.as_tensor(loss)
        failed = torch.zeros_like(loss, dtype=torch.int) if self.failed is None else self.failed
        self.failed = (failed + 1) * ~loss.isfinite()
        if self.every_n_train_iters(runner, self.patience) and int(self.failed) >= self.patience:
            self._stop(runner, runner.iter + 1, f'the loss was not finite in the last {int(self.failed)} iterations')

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        for name, value in checkpoint['state_dict'].items():
            if value.is_floating_point() and not value.isfinite().all():
                self._stop(runner, checkpoint['meta']['iter'], f'{name} is not finite')

    def _stop(self, runner, iteration: int, what: str) -> None:
        raise UserError(
            f'The training has diverged: after iteration {iteration} {what}. The last checkpoint in '
            f'{runner.work_dir} is from before. Lower optim_wrapper.optimizer.lr, or clip gradients by '
            'optim_wrapper.clip_grad'
        )
