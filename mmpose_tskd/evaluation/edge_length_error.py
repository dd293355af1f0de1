from typing import Dict, List, Optional, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmpose.registry import METRICS


@METRICS.register_module()
class EdgeLengthError(BaseMetric):
    r"""Measures how far the lengths of the limbs are off, which the structure loss (Eq. 3) reduces.

    .. math::
        E = \frac{100}{|V|} \sum_{(n,i,j) \in V}
            \frac{|\,\|\hat p_{ni} - \hat p_{nj}\| - \|p_{ni} - p_{nj}\|\,|}{\max(w_n, h_n)}

    over the limbs V (``skeleton_links`` of the dataset's metainfo) of which both ends are labeled, in percent of the
    longer side of the instance's box. 0 is best. Boxes of a detector (``bbox_file``) come without labels, as limbs of
    no length; these are left out.

    Args:
        collect_device: As in MMEngine's metrics.
        prefix: Of the metric's name.
    """

    default_prefix: Optional[str] = 'pose'

    def __init__(self, collect_device: str = 'cpu', prefix: Optional[str] = None) -> None:
        super().__init__(collect_device, prefix)

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        """Stores per instance the limbs' errors (E) and which of them are labeled at both ends (E)."""
        links = np.array(self.dataset_meta['skeleton_links'], dtype=int).reshape(-1, 2)
        for sample in data_samples:
            truth = sample['gt_instances']
            expected = self._lengths(truth['keypoints'], links)
            predicted = self._lengths(sample['pred_instances']['keypoints'], links)
            visible = np.asarray(truth['keypoints_visible'])
            visible = visible[..., 0] if visible.ndim == 3 else visible  # beside a keypoint's weight in the loss
            labeled = (visible[:, links].min(axis=-1) > 0) & (expected > 0)
            x0, y0, x1, y1 = np.asarray(truth['bboxes']).T
            size = np.maximum(x1 - x0, y1 - y0)[:, None]
            self.results.extend(zip(np.abs(predicted - expected) / size, labeled))

    @staticmethod
    def _lengths(keypoints: np.ndarray, links: np.ndarray) -> np.ndarray:
        ends = np.asarray(keypoints)[..., :2][:, links]
        return np.linalg.norm(ends[:, :, 0] - ends[:, :, 1], axis=-1)

    def compute_metrics(self, results: List[tuple]) -> Dict[str, float]:
        errors, labeled = (np.stack(column) for column in zip(*results))
        if not labeled.any():
            return {}
        return dict(edge_error=100 * float(errors[labeled].mean()))
