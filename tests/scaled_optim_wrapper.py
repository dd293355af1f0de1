import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmpose.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class ScaledOptimWrapper(AmpOptimWrapper):
    """float16's loss scaling without float16, and without the GPU that MMEngine's own asks for."""

    def __init__(self, **kwargs):
        OptimWrapper.__init__(self, **kwargs)
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler('cpu', init_scale=256.0, growth_interval=2)

    def optim_context(self, model):
        return OptimWrapper.optim_context(self, model)
