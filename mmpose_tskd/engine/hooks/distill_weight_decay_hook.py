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
        p = (e - B) / (T - B), \qquad
        \gamma = 1 - p \;(\text{'linear'}), \qquad \gamma = (1 + \cos(\pi p)) / 2 \;(\text{'cosine'}), \qquad
        \gamma = 1 \;(\text{'stop'})

    for :math:`B \le e < T`, and 0 before and after, with :math:`e` the epoch (or iteration) counted from 0, so
    :math:`e = t - 1` in the paper's notation, where B is 0. γ depends on :math:`e` alone: a resumed run goes on
    exactly.

    Args:
        schedule: ``'linear'``, ``'cosine'`` or ``'stop'``.
        end: T, the epoch (or iteration) from which γ is 0. None takes the run's number of epochs (or iterations);
            ``'stop'`` needs a number.
        by_epoch: Set γ at each epoch, else at each iteration.
        begin: B, the first epoch (or iteration) in which the student is distilled. Before it the teacher does not run.

    Raises:
        UserError: The schedule is unknown, or B and T are not 0 ≤ B < T.
    """

    def __init__(self, schedule: str = 'linear', end: Optional[int] = None, by_epoch: bool = True, begin: int = 0):
        if schedule not in ('linear', 'cosine', 'stop'):
            raise UserError(f'DistillWeightDecayHook.schedule is "linear", "cosine" or "stop", not {schedule!r}')
        if schedule == 'stop' and end is None:
            raise UserError('DistillWeightDecayHook.schedule="stop" needs an end: without one γ would never fall')
        self.schedule = schedule
        self.begin = begin
        self.end = end
        self.by_epoch = by_epoch
        self._check_order(begin + 1 if end is None else end)

    def _check_order(self, end: int) -> None:
        if not 0 <= self.begin < end:
            raise UserError(f'DistillWeightDecayHook: begin is at least 0 and less than the end: {self.begin}, {end}')

    def weight(self, now: int, end: int) -> float:
        """γ at epoch (or iteration) ``now``, counted from 0, in [0, 1]."""
        if not self.begin <= now < end:
            return 0.0
        progress = (now - self.begin) / (end - self.begin)
        if self.schedule == 'linear':
            return 1 - progress
        if self.schedule == 'cosine':
            return (1 + math.cos(math.pi * progress)) / 2
        return 1.0

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
        self._check_order(min(self._end(runner), runner.max_epochs if self.by_epoch else runner.max_iters))

    def before_train_epoch(self, runner) -> None:
        if self.by_epoch:
            self._set(runner, runner.epoch)

    def before_train_iter(self, runner, batch_idx: int, data_batch: Optional[dict] = None) -> None:
        if not self.by_epoch:
            self._set(runner, runner.iter)

    def _end(self, runner) -> int:
        return self.end or (runner.max_epochs if self.by_epoch else runner.max_iters)

    def _set(self, runner, now: int) -> None:
        unwrapped_model(runner).set_gamma(self.weight(now, self._end(runner)))
