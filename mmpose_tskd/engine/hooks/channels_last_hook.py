import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmpose.registry import HOOKS

from .utils import unwrapped_model


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Trains in the channels-last memory format, which convolutions under autocast are faster in.

    The teacher of a distiller follows. Weights and results are the same up to rounding.
    """

    def before_train(self, runner) -> None:
        model = unwrapped_model(runner).to(memory_format=torch.channels_last)
        if is_model_wrapper(runner.model):
            # DDP has laid out its buckets for gradients in the old format, and would copy each gradient in every step
            runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), model)
