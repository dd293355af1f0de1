from typing import NamedTuple

import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS


class Complexity(NamedTuple):
    params_m: float  # millions of parameters
    gmacs: float  # billions of multiply-accumulates for one picture, without the decode


def model_complexity(model: ConfigDict, input_size: tuple) -> Complexity:
    """Counts a pose estimator's parameters and multiply-accumulates with MMEngine's counter.

    Args:
        model: A plain estimator's config; a distiller's is its student's.
        input_size: Width and height of its input in pixels.
    """
    init_default_scope('mmpose')
    network = MODELS.build(model)
    network.eval()
    network.forward = network._forward  # takes the pictures alone
    width, height = input_size
    with torch.no_grad():
        # MMEngine calls one multiply-accumulate a flop
        counts = get_model_complexity_info(network, input_shape=(3, height, width), show_table=False, show_arch=False)
    return Complexity(counts['params'] / 1e6, counts['flops'] / 1e9)
