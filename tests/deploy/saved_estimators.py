"""Estimators of every kind that a reader reads, with random weights, as a config and a checkpoint on disk."""

import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from conftest import INPUT_SIZE, toy_config
from mmengine.config import Config, ConfigDict

sys.path.insert(0, str(Path(__file__).parents[1] / 'models'))
sys.path.insert(0, str(Path(__file__).parents[1] / 'poses'))
import test_igpgcn_on_other_estimators as estimators  # noqa: E402


class Saved(NamedTuple):
    config: str
    checkpoint: str
    cfg: Config
    model: torch.nn.Module


@pytest.fixture
def save_estimator(toy_data, tmp_path):
    """``save_estimator(head, refined=True, **codec)``: with the toy data as its training and test set."""

    def save(head: str, refined: bool = True, **codec) -> Saved:
        torch.manual_seed(0)
        model_cfg = estimators.refined(head=head)
        base = model_cfg['head']['base_head']
        base['decoder'] = {**base['decoder'], **codec}
        if 'simcc_split_ratio' in codec:
            base['simcc_split_ratio'] = codec['simcc_split_ratio']
        model = estimators.build(model_cfg).eval()
        if not refined:
            weights = {
                k.replace('head.base_head.', 'head.'): v
                for k, v in model.state_dict().items()
                if not estimators.is_refiner(k)
            }
            model_cfg['head'] = base
            model = estimators.MODELS.build(model_cfg).eval()
            model.load_state_dict(weights)
        cfg = toy_config('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py', toy_data, tmp_path / 'work')
        cfg.model = ConfigDict(model_cfg)
        cfg.test_evaluator.update(keypoint_score_thr=0.0, nms_thr=1.0)
        for key in ('val_dataloader', 'test_dataloader'):
            cfg[key].dataset.pipeline[2].update(input_size=INPUT_SIZE, use_udp=head == 'udp')
        cfg.dump(tmp_path / 'config.py')
        torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
        return Saved(str(tmp_path / 'config.py'), str(tmp_path / 'weights.pth'), cfg, model)

    return save
