import math
from typing import Optional

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop
from mmpose.registry import HOOKS

from ...errors import UserError
from .utils import unwrapped_model


@HOOKS.register_module()
class DistillWeightDecayHook(Hook):
    r"""Lets the weight γ of a distiller's losses fall in the course of training (Eq. 4 of the paper).

    This has nothing to do with the optimizer's ``weight_decay``.

    .. math::
        \gamma = 1 - e / T \;(\text{'linear'}), \qquad \gamma = (1 + \cos(\pi e / T)) / 2 \;(\text{'cosine'}), \qquad
        \gamma = [e < T] \;(\text{'stop'})

    with :math:`e` the epoch (or iteration) counted from 0, so :math:`e = t - 1` in the paper's notation. γ depends on
    :math:`e` alone: a resumed run goes on exactly.

    Args:
        schedule: ``'linear'``, ``'cosine'`` or ``'stop'``.
        end: T, the epoch (or iteration) from which γ is 0; None takes the run's last, and ``'stop'`` needs a number.
        by_epoch: Set γ at each epoch, else at each iteration.
    """

    def __init__(self, schedule: str = 'linear', end: Optional[int] = None, by_epoch: bool = True):
        if schedule not in ('linear', 'cosine', 'stop'):
            raise UserError(f'DistillWeightDecayHook.schedule is "linear", "cosine" or "stop", not {schedule!r}')
        if end is not None and end <= 0:
            raise UserError(f'DistillWeightDecayHook.end must be positive, got {end}')
        if schedule == 'stop' and end is None:
            raise UserError('DistillWeightDecayHook.schedule="stop" needs an end: without one γ would never fall')
        self.schedule = schedule
        self.end = end
        self.by_epoch = by_epoch

    def weight(self, now: int, end: int) -> float:
        """γ at epoch (or iteration) ``now``, counted from 0, in [0, 1]."""
        progress = min(now / end, 1.0)
        if self.schedule == 'linear':
            return 1 - progress
        if self.schedule == 'cosine':
            return (1 + math.cos(math.pi * progress)) / 2
        return float(progress < 1)

    def before_train(self, runner) -> None:
        model = unwrapped_model(runner)
        if not hasattr(model, 'gamma'):
            kind = type(model).__name__
            raise UserError(f'custom_hooks: DistillWeightDecayHook needs a distiller, but model.type is {kind}')
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise UserError(
                'custom_hooks: DistillWeightDecayHook counts epochs, but train_cfg trains by iterations: '
                'set by_epoch=False in the hook'
            )

    def before_train_epoch(self, runner) -> None:
        if self.by_epoch:
            self._set(runner, runner.epoch, self.end or runner.max_epochs)

    def before_train_iter(self, runner, batch_idx: int, data_batch: Optional[dict] = None) -> None:
        if not self.by_epoch:
            self._set(runner, runner.iter, self.end or runner.max_iters)

    def _set(self, runner, now: int, end: int) -> None:
        unwrapped_model(runner).set_gamma(self.weight(now, end))
