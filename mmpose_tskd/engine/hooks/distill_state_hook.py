from typing import Any, Optional

from mmengine.hooks import Hook
from mmpose.registry import HOOKS

from ...errors import UserError
from .utils import unwrapped_model


@HOOKS.register_module()
class DistillStateHook(Hook):
    """Saves in the checkpoints what a distiller has learned beside the student, such as the losses' adapters and γ.

    In the file, ``state_dict`` is the plain student's; ``distill`` holds the rest, and the teacher's digest. A
    distiller does not train without this hook. It is not resumed from a file without ``distill``, nor with another
    teacher unless ``allow_changes=True`` is in the config. Other models do not need the hook.
    """

    priority = 'LOWEST'

    def before_run(self, runner) -> None:
        model = unwrapped_model(runner)
        if not hasattr(model, 'distill_state_dict'):
            return
        model.has_state_hook = True
        if runner.cfg.get('compile'):
            raise UserError(
                "compile: MMEngine compiles the training step as a whole, and torch.compile cannot follow a batch's "
                'labels, which are NumPy. Leave it out; the networks alone compile, by backbone.compile() of the '
                "model and of its teacher's, in a hook (docs/reliability.md)"
            )

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        model = unwrapped_model(runner)
        if hasattr(model, 'distill_state_dict'):
            checkpoint['distill'] = dict(model.distill_state_dict(), teacher=_teacher_digest(model))

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        model = unwrapped_model(runner)
        if not runner._resume or not hasattr(model, 'load_distill_state_dict'):
            return
        source, state = runner._load_from, checkpoint.get('distill')
        if not isinstance(state, dict) or not {'adapters', 'gamma', 'teacher'} <= set(state):
            raise UserError(
                f'{source} has no "distill" entry with the adapters of model.distill_losses: it was written '
                'without DistillStateHook in custom_hooks, or by another model'
            )
        if state['teacher'] != _teacher_digest(model) and not runner.cfg.get('allow_changes', False):
            raise UserError(
                f'model.teacher is another than in the run that {source} is of: its weights, or its record, have '
                'another digest. To go on with it all the same: --cfg-options allow_changes=True'
            )
        model.load_distill_state_dict(state)


def _teacher_digest(model: Any) -> Optional[str]:
    return None if model.teacher is None else model.teacher.digest()
