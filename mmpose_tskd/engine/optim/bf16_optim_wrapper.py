from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmpose.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BF16OptimWrapper(OptimWrapper):
    """:class:`OptimWrapper` whose forward pass runs under bfloat16 autocast, on a CPU too.

    MMEngine's ``AmpOptimWrapper`` refuses a CPU. bfloat16 has fp32's range, so no loss scaling is needed. On GPUs that
    lack it, use MMEngine's ``AmpOptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: torch.nn.Module):
        with super().optim_context(model), torch.autocast(get_device(), dtype=torch.bfloat16):
            yield
