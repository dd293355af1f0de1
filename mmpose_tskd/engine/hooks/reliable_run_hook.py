from mmengine.hooks import Hook
from mmpose.registry import HOOKS

from .distill_state_hook import DistillStateHook
from .divergence_hook import DivergenceHook
from .resume_hook import ResumeHook
from .stop_hook import StopHook
from .whole_checkpoint_hook import WholeCheckpointHook


@HOOKS.register_module()
class ReliableRunHook(Hook):
    """What every run needs, in one entry of ``custom_hooks``: it registers the hooks that do it.

    In this order :class:`DistillStateHook`, :class:`ResumeHook`, :class:`StopHook` and :class:`WholeCheckpointHook`,
    which makes plain what the others put into a checkpoint, and :class:`DivergenceHook` before MMEngine saves.
    """

    priority = 'VERY_HIGH'  # the others come later, in the very round of calls that registers them

    def before_run(self, runner) -> None:
        for kind in (DistillStateHook, ResumeHook, StopHook, WholeCheckpointHook, DivergenceHook):
            if not any(isinstance(hook, kind) for hook in runner.hooks):
                runner.register_hook(kind())
