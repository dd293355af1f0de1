import torch
from mmengine.model import BaseModule, update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module()
class SimCCMarginalInit:
    r"""Starts a SimCC head as the marginals of heatmaps, for training from random weights.

    A SimCC head maps the flattened H×W map of a keypoint to bins along x and y by two fully connected layers. From
    random weights it has to learn first where each of the H·W cells lies. Here bin b of x starts as

    .. math::
        w_{b,(i,j)} = s \exp\left(-\frac{(c_b - j)^2}{2}\right), \qquad c_b = \frac{b + 1/2}{W_x} W - \frac{1}{2}

    with j the cell's column (for y: its row), so that a bin's logit sums up the map's columns around that bin. No
    layer, parameter or checkpoint key differs, and every weight is trained. This is ours, not SimCC's or the paper's:
    their networks start from pre-trained weights or are trained long enough.

    Args:
        scale: s, small, so that the first predictions are undecided.
        std: Standard deviation of the 1×1 convolution's weights.
    """

    def __init__(self, scale: float = 0.05, std: float = 0.05, **kwargs) -> None:
        self.scale, self.std = scale, std

    def __call__(self, module: BaseModule) -> None:
        """Sets the weights of a :class:`SimCCHead`."""
        width, height = module.in_featuremap_size
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
        torch.nn.init.normal_(module.final_layer.weight, std=self.std)
        torch.nn.init.zeros_(module.final_layer.bias)
        for layer, cells, count in ((module.mlp_head_x, columns, width), (module.mlp_head_y, rows, height)):
            bins = layer.out_features
            centers = (torch.arange(bins) + 0.5) / bins * count - 0.5
            with torch.no_grad():
                layer.weight.copy_(self.scale * torch.exp(-((centers[:, None] - cells.flatten()) ** 2) / 2))
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=type(self).__name__)
