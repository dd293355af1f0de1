import json
import logging
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from mmengine.analysis import FlopAnalyzer, parameter_count
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from rich import box
from rich.console import Console
from rich.table import Table

from ..errors import UserError
from ..paths import load_config

# Tables I and III of the paper: parameters in millions and GFLOPs, by network and input size.
PAPER = {
    ('simcc_hrnet-w32', (192, 256)): (28.5, 7.8),
    ('simcc_hrnet-w48', (192, 256)): (66.3, 14.6),
    ('simcc_hrnet-w48', (288, 384)): (66.3, 32.9),
    ('simcc_hrnet-w32-igpgcn', (192, 256)): (31.0, 8.1),
}
EXPLANATION = """\
GMACs: multiply-accumulates of one image, which the paper calls FLOPs; MMEngine's counter, without the decode and
the sampling of features. The paper's 28.5 M for SimCC HRNet-W32 is the size of the heat-map HRNet: it leaves SimCC's
two fully connected layers (2.75 M) out, while its 66.3 M for W48 has them. Its 31 M for "ours" is then 28.5 M and
2.5 M for IGP-GCN. Its 14.6 and 32.9 GFLOPs for SimCC HRNet-W48 are those of the heat-map HRNet-W48 in that table, and
its 66.3 M at 384×288 is the size at 256×192: the fully connected layers grow with the input."""


class Complexity(NamedTuple):
    params_m: float  # millions of parameters
    gmacs: float  # billions of multiply-accumulates for one image, without the decode


@contextmanager
def errors_only() -> Iterator[None]:
    """Silences what MMEngine logs, but for errors."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def plain_student(model: Any) -> ConfigDict:
    """The plain estimator of a distiller's config; of a plain one's, itself."""
    kept = ('backbone', 'neck', 'head', 'data_preprocessor', 'train_cfg', 'test_cfg')
    return ConfigDict(type='TopdownPoseEstimator', **{key: model[key] for key in kept if key in model})


def model_complexity(model: Any, input_size: Sequence[int]) -> Complexity:
    """Counts a pose estimator's parameters and multiply-accumulates with MMEngine's counter.

    Args:
        model: A top-down estimator's config. Of a distiller's, the student is counted, which is what is deployed.
        input_size: Width and height of its input in pixels.
    """
    init_default_scope('mmpose')
    network = MODELS.build(plain_student(model))
    network.eval()
    network.forward = network._forward  # takes the images alone
    width, height = input_size
    with torch.no_grad(), errors_only():  # it warns of each operator without multiplications
        # MMEngine calls one multiply-accumulate a flop
        macs = FlopAnalyzer(network, torch.zeros(1, 3, height, width)).total()
    return Complexity(parameter_count(network)[''] / 1e6, macs / 1e9)


def _paper_figures(cfg: Config) -> Optional[Tuple[float, float]]:
    backbone, head = cfg.model.backbone, cfg.model.head
    refined = 'base_head' in head
    simcc = head.base_head if refined else head
    if 'HRNet' not in backbone.type or 'SimCC' not in simcc.type:
        return None
    width = backbone.extra.stage2.num_channels[0]
    return PAPER.get((f'simcc_hrnet-w{width}{"-igpgcn" if refined else ""}', tuple(simcc.input_size)))


def print_complexity(configs: Sequence[str], out: Optional[str] = None) -> List[Dict[str, Any]]:
    """Prints the sizes of the models of configs, beside the paper's.

    Args:
        configs: Config files, or ``'mmpose::path'``.
        out: A JSON file to write as well: a list of ``{"config", "params_m", "gmacs"}``.

    Returns:
        That list.

    Raises:
        UserError: There is no such config, or it has no top-down model with a codec.
    """
    rows = []
    table = Table(box=box.MARKDOWN)
    for title in ('config', 'params M', 'GMACs', "paper's M", "paper's GFLOPs"):
        table.add_column(title, justify='left' if title == 'config' else 'right')
    for path in configs:
        cfg = load_config(path)
        if 'model' not in cfg or 'codec' not in cfg:
            raise UserError(f'{path} has no model with a codec: it is a part of other configs')
        params, gmacs = model_complexity(cfg.model, cfg.codec.input_size)
        rows.append(dict(config=str(path), params_m=round(params, 3), gmacs=round(gmacs, 3)))
        paper = _paper_figures(cfg)
        known = [f'{value:.1f}' for value in paper] if paper else ['', '']
        table.add_row(Path(path).stem, f'{params:.3f}', f'{gmacs:.3f}', *known)
    console = Console(width=120)
    console.print(table)
    print(EXPLANATION)
    if out:
        Path(out).write_text(json.dumps(rows, indent=1) + '\n')
    return rows
