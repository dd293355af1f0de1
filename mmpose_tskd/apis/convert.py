import io
from pathlib import Path
from typing import Dict, Optional, Sequence

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from torch import Tensor

from ..checkpoints import load_strictly, load_weights
from ..engine.atomic_backend import AtomicLocalBackend
from ..errors import UserError
from ..paths import config_folder, load_config

HEAD_LAYERS = ('final_layer', 'mlp_head_x', 'mlp_head_y')


def convert_simcc_checkpoint(source: str, out: str, configs: Optional[Sequence[str]] = None) -> str:
    """Turns a checkpoint of the official SimCC (SimDR) code's HRNet into one of MMPose.

    The layers are the same; ``final_layer`` and ``mlp_head_*`` belong to MMPose's head, all else to its backbone. The
    config is found by the shapes of the weights. They tell HRNet's width, the input size and the number of keypoints,
    but not how the targets were made. So an HRNet-W48 at 256×192 of the official Gaussian form ("sa-simdr") also fits
    the config of the label-smoothed form ("nmt"). That config is taken, although only the Gaussian one decodes the
    model right: give the Gaussian one as ``configs``.

    Args:
        source: ``model_best.pth`` (bare weights) or ``checkpoint.pth`` (weights under ``best_state_dict`` or
            ``state_dict``), a file or a URL.
        out: Where to write it: weights and metainfo, loadable tensors-only.
        configs: Config files that it may fit; all our SimCC HRNet configs for COCO and CrowdPose when None.

    Returns:
        The config that it fits.

    Raises:
        UserError: The file cannot be read safely, fits no config, or ``out`` exists.
    """
    if Path(out).exists():
        raise UserError(f'{out} exists: remove it or name another file')
    weights = {
        f'head.{name}' if name.startswith(HEAD_LAYERS) else f'backbone.{name}': value
        for name, value in load_weights(source, ('best_state_dict', 'state_dict')).items()
    }
    if configs is None:
        known = config_folder().glob('simcc/*/simcc_hrnet-w*-210e_*.py')
        # the label-smoothed form first: where both fit, it is taken
        configs = sorted(map(str, known), key=lambda path: ('gaussian' in path, path))
    init_default_scope('mmpose')
    problems = []
    for config in configs:
        cfg = load_config(config)
        model = MODELS.build(cfg.model)
        try:
            load_strictly(model, weights, source, Path(config).name)
        except UserError as error:
            problems.append(str(error))
            continue
        _write(model.state_dict(), cfg, source, out)
        return config
    raise UserError(f'{source} fits none of the configs tried:\n' + '\n'.join(problems))


def _write(weights: Dict[str, Tensor], cfg: Config, source: str, out: str) -> None:
    meta = dict(dataset_name=cfg.dataset_type, cfg=cfg.pretty_text, converted_from=source)
    content = io.BytesIO()
    torch.save(dict(meta=meta, state_dict=weights), content)
    AtomicLocalBackend().put(content.getvalue(), out)
