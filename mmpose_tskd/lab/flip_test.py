import copy
from typing import Any, Dict

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from mmpose.registry import MODELS

from ..apis.environment import write_json
from ..checkpoints import load_strictly, load_weights
from ..poses import build_reader, flip_coords
from .benchmark.measuring import versions_and_machine

FAR = 15.0  # input pixels


@torch.no_grad()
def compare_flip_tests(config: str, checkpoint: str, out: str) -> Dict[str, Any]:
    """Evaluates a plain student with its bins averaged over both views, with its two poses averaged, and on one view.

    Args:
        config: Of a run; its validation set is taken.
        checkpoint: Of the same run.
        out: The file to write.

    Returns:
        What the file holds: ``rows`` with each way's metrics, ``share_of_joints_over_15_pixels_apart`` between the
        poses of the two views, and versions.
    """
    init_default_scope('mmpose')
    cfg = Config.fromfile(config)
    model = MODELS.build(cfg.model).eval()
    load_strictly(model, load_weights(checkpoint), checkpoint, config)
    reader, width = build_reader(model.head), model.head.input_size[0]
    loader = Runner.build_dataloader(dict(cfg.val_dataloader, num_workers=0, persistent_workers=False))
    ways = ('bins averaged', 'poses averaged', 'no flip test')
    evaluators = {way: Evaluator(copy.deepcopy(cfg.val_evaluator)) for way in ways}
    for evaluator in evaluators.values():
        evaluator.dataset_meta = loader.dataset.metainfo
    distances = []
    for batch in loader:
        data = model.data_preprocessor(batch, False)
        samples = data['data_samples']
        flip = samples[0].metainfo['flip_indices']
        views = (data['inputs'], data['inputs'].flip(-1))
        one, other = (reader((), model.head(model.extract_feat(view))) for view in views)
        both, mirrored = reader.merge_flipped(one, other, flip), flip_coords(other.peaks, flip, width)
        distances.append((one.peaks - mirrored).norm(dim=-1).flatten())
        for way, pose in zip(ways, (both.peaks, (one.peaks + mirrored) / 2, one.peaks)):
            found = [
                InstanceData(keypoints=keypoints[None].numpy(), keypoint_scores=scores[None].numpy())
                for keypoints, scores in zip(pose, both.scores)
            ]
            evaluators[way].process(model.add_pred_to_datasample(found, None, copy.deepcopy(samples)), batch)
    rows = {
        way: {key: round(float(value), 4) for key, value in evaluator.evaluate(len(loader.dataset)).items()}
        for way, evaluator in evaluators.items()
    }
    share = round(float((torch.cat(distances) > FAR).float().mean()), 4)
    result = dict(rows=rows, share_of_joints_over_15_pixels_apart=share, **versions_and_machine())
    write_json(result, out)
    return result
