from typing import Any, Dict

from mmengine.dist import all_reduce_params, is_distributed
from mmengine.hooks import Hook
from mmpose.registry import HOOKS
from torch import Tensor

from ...checkpoints import check_finite
from ...errors import UserError
from .utils import unwrapped_model


@HOOKS.register_module()
class AccumulatedGradientsHook(Hook):
    """Keeps gradients that were accumulated and not applied yet (``accumulative_counts``) in the checkpoints.

    MMEngine loses them where a run is stopped, or its epoch ends, within a step.
    """

    priority = 'LOW'  # before MMEngine saves

    def after_train_epoch(self, runner) -> None:
        if is_distributed():  # each process has those of its own instances, and one of them saves
            all_reduce_params(list(_gradients(runner).values()), op='mean')

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        if 'optimizer' in checkpoint:  # not the best one's file
            checkpoint['gradients'] = {name: gradient.cpu() for name, gradient in _gradients(runner).items()}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if not runner._resume:
            return
        parameters, gradients = dict(unwrapped_model(runner).named_parameters()), checkpoint.get('gradients', {})
        if not isinstance(gradients, dict) or not all(_fits(gradients[n], parameters.get(n)) for n in gradients):
            raise UserError(f'{runner._load_from} has gradients that are not of this model: take another checkpoint')
        check_finite(gradients, runner._load_from, 'gradients')
        for name, gradient in gradients.items():
            parameters[name].grad = gradient.to(parameters[name])


def _gradients(runner) -> Dict[str, Tensor]:
    """The accumulated gradients by parameter name; none right after a step of the optimizer."""
    if runner.optim_wrapper.should_update():
        return {}
    parameters = unwrapped_model(runner).named_parameters()
    return {name: parameter.grad for name, parameter in parameters if parameter.grad is not None}


def _fits(gradient: Any, parameter: Any) -> bool:
    return isinstance(gradient, Tensor) and parameter is not None and gradient.shape == parameter.shape
