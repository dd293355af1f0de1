"""The instances of a config's data sets, cropped as a network's input, and the metrics of predictions for them."""

import copy
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from mmpose.registry import DATASETS
from torch import Tensor

Predict = Callable[[Tensor], Tuple[np.ndarray, np.ndarray]]


def _dataset(cfg: Config, split: str) -> Any:
    """A split's instances as the test pipeline crops them, not read yet."""
    options = copy.deepcopy(cfg[f'{split}_dataloader'].dataset)
    options.update(pipeline=cfg.test_dataloader.dataset.pipeline, test_mode=True, lazy_init=True)
    return DATASETS.build(options)


def crop_options(cfg: Config) -> Dict[str, Any]:
    """How the test pipeline cuts an instance out: the padding of the box, and whether as UDP does."""
    steps = {step['type']: step for step in cfg.test_dataloader.dataset.pipeline}
    return dict(
        padding=steps.get('GetBBoxCenterScale', {}).get('padding', 1.25),
        use_udp=steps.get('TopdownAffine', {}).get('use_udp', False),
    )


def labels_of(cfg: Config, split: str) -> Optional[Path]:
    """A split's file of labels, None where it is not there."""
    path = Path(_dataset(cfg, split).ann_file)
    return path if path.is_file() else None


def crops_of(cfg: Config, split: str, count: int) -> Tensor:
    """At most ``count`` instances from all over a split, as the test pipeline crops them: BGR N×3×H×W, uint8."""
    dataset = _dataset(cfg, split)
    dataset.full_init()
    chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    return torch.stack([dataset[int(index)]['inputs'] for index in chosen])


def evaluate(cfg: Config, model: Any, predict: Predict) -> Dict[str, float]:
    """Evaluates predictions by the config's test metrics, on the boxes that ``tools/test.py`` takes.

    Args:
        cfg: The config.
        model: The estimator that the config builds; it maps keypoints back to the image.
        predict: Takes crops (BGR pixels N×3×H×W, uint8) and returns keypoints as the model's codec decodes them, N×K×2,
            and scores, N×K.
    """
    loader = Runner.build_dataloader(dict(cfg.test_dataloader, num_workers=0, persistent_workers=False))
    evaluator = Evaluator(copy.deepcopy(cfg.test_evaluator))
    evaluator.dataset_meta = loader.dataset.metainfo
    for batch in loader:
        keypoints, scores = predict(torch.stack(list(batch['inputs'])))
        found = [InstanceData(keypoints=xy[None], keypoint_scores=s[None]) for xy, s in zip(keypoints, scores)]
        samples = model.add_pred_to_datasample(found, None, batch['data_samples'])
        evaluator.process(samples, batch)
    return evaluator.evaluate(len(loader.dataset))
