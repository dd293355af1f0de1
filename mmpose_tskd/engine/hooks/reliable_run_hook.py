from mmengine.hooks import Hook
from mmpose.registry import HOOKS

from .accumulated_gradients_hook import AccumulatedGradientsHook
from .distill_state_hook import DistillStateHook
from .divergence_hook import DivergenceHook
from .resume_hook import ResumeHook
from .stop_hook import StopHook
from .whole_checkpoint_hook import WholeCheckpointHook

HOOKS_OF_A_RUN = (
    *(DivergenceHook, AccumulatedGradientsHook),
    *(DistillStateHook, StopHook, ResumeHook, WholeCheckpointHook),
)


@HOOKS.register_module()
class ReliableRunHook(Hook):
    """What every run needs, in one entry of ``custom_hooks``: it registers the hooks that do it.

    :class:`DivergenceHook` and :class:`AccumulatedGradientsHook` before MMEngine saves, then :class:`DistillStateHook`,
    :class:`StopHook`, :class:`ResumeHook`, and last :class:`WholeCheckpointHook`, which makes plain what the others put
    into a checkpoint.
    """

    priority = 'VERY_HIGH'  # so that the hooks that it registers get their own before_run after it

    def before_run(self, runner) -> None:
        for kind in HOOKS_OF_A_RUN:
            if not any(isinstance(hook, kind) for hook in runner.hooks):
                runner.register_hook(kind())
