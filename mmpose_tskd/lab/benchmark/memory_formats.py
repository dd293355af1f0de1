import copy
from functools import partial
from typing import Any, Dict

import torch
from mmcv.cnn.utils import fuse_conv_bn
from mmpose.registry import MODELS

from ...apis.environment import write_json
from .measuring import quartiles, ratio, take_turns, versions_and_machine
from .networks import load_plain


def time_memory_formats(config: str, rounds: int, out: str) -> Dict[str, Any]:
    """Times a frozen backbone's forward pass, batch 4: as it is, in channels-last, with batch norm folded, compiled.

    Args:
        config: Of the network.
        rounds: How often each takes its turn.
        out: The file to write.

    Returns:
        What the file holds: ``rows`` with the seconds' median and quartiles and the ratio to the first, and versions.
    """
    torch.manual_seed(0)
    cfg = load_plain(config)
    backbone = MODELS.build(cfg.model).backbone
    backbone.eval()  # HRNet's returns nothing
    last = copy.deepcopy(backbone).to(memory_format=torch.channels_last)
    networks = {
        'as MMPose has it': backbone,
        'batch norm folded': fuse_conv_bn(copy.deepcopy(backbone)),
        'channels-last': last,
        'channels-last, batch norm folded': fuse_conv_bn(copy.deepcopy(last)),
        'channels-last, compiled': torch.compile(copy.deepcopy(last)),
    }
    width, height = cfg.codec.input_size
    images = torch.randn(4, 3, height, width)
    calls = {name: torch.no_grad()(partial(network, images)) for name, network in networks.items()}
    times = take_turns(calls, rounds, torch.device('cpu'))
    first = next(iter(calls))
    rows = {name: dict(**quartiles(times[name]), ratio=ratio(times, name, [first])) for name in calls}
    result = dict(rows=rows, **versions_and_machine())
    write_json(result, out)
    return result
