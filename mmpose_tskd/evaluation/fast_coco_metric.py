from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from mmpose.evaluation.metrics import CocoMetric, CocoWholeBodyMetric, coco_metric
from mmpose.registry import METRICS
from xtcocotools.coco import COCO

from .fast_coco import COCO_NAMES, CROWD_NAMES, evaluate_fast, instance_scores, oks_nms
from .fast_coco_check import hotcoco_agrees


@dataclass
class _Result:
    """One of ``CocoMetric.results``, which MMEngine would search for tensors for longer than the evaluation takes."""

    pair: Tuple[dict, dict]


class _FastEvaluation(CocoMetric):
    """Evaluates by hotcoco where that agrees with xtcocotools; else as MMPose does."""

    coco: COCO
    score_mode: str

    def __init__(self, *args, fast: bool = True, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.fast = fast and hotcoco_agrees()
        self.people: List[dict] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        count = len(self.results)
        super().process(data_batch, data_samples)
        self.results[count:] = [_Result(pair) for pair in self.results[count:]]

    def compute_metrics(self, results: List[_Result]) -> Dict[str, float]:
        pairs = [result.pair for result in results]
        if not self.fast:
            return super().compute_metrics(pairs)
        plain = self.score_mode != 'bbox_keypoint' or self.pred_converter is not None
        with _vectorized_nms(), nullcontext(pairs) if plain else self._vectorized_scores(pairs) as scored:
            return super().compute_metrics(scored)

    @contextmanager
    def _vectorized_scores(self, pairs: List[Tuple[dict, dict]]) -> Iterator[List[Tuple[dict, dict]]]:
        """Gives predictions the scores that ``CocoMetric`` would compute keypoint by keypoint."""
        mode = self.score_mode
        scores = instance_scores(
            np.concatenate([pred['bbox_scores'] for pred, _ in pairs]),
            np.concatenate([pred['keypoint_scores'] for pred, _ in pairs])[:, : self.dataset_meta['num_keypoints']],
            self.keypoint_score_thr,
        )
        ends = np.cumsum([len(pred['bbox_scores']) for pred, _ in pairs])
        self.score_mode = 'bbox'
        try:
            yield [
                ({**pred, 'bbox_scores': scores[end - len(pred['bbox_scores']) : end]}, gt)
                for (pred, gt), end in zip(pairs, ends)
            ]
        finally:
            self.score_mode = mode

    def results2json(self, keypoints: Dict[int, list], outfile_prefix: str) -> Optional[str]:
        self.people = [person for people in keypoints.values() for person in people]
        if self.fast and self.outfile_prefix is None and not self.format_only:
            return None  # nobody would read the file
        return super().results2json(keypoints, outfile_prefix)

    def _do_python_keypoint_eval(self, outfile_prefix: str) -> List[Tuple[str, float]]:
        if not self.fast:
            return super()._do_python_keypoint_eval(outfile_prefix)
        kind = 'keypoints_wholebody' if isinstance(self, CocoWholeBodyMetric) else self.iou_type
        names = CROWD_NAMES if kind == 'keypoints_crowd' else COCO_NAMES
        return list(zip(names, evaluate_fast(self.coco, self.people, kind, self.dataset_meta['sigmas'], self.use_area)))


@METRICS.register_module()
class FastCocoMetric(_FastEvaluation):
    """MMPose's ``CocoMetric``, some ten times faster where hotcoco is installed (``mmpose_tskd[fast-eval]``).

    The numbers are those of xtcocotools within 1e-9. When the first metric is made, hotcoco has to agree with it on a
    small case; where it does not, a warning says so and xtcocotools does the work. What it prints is left out.

    Args:
        args, kwargs: Of ``CocoMetric``.
        fast: False leaves the work to xtcocotools.
    """


@METRICS.register_module()
class FastCocoWholeBodyMetric(_FastEvaluation, CocoWholeBodyMetric):
    """MMPose's ``CocoWholeBodyMetric``, faster as :class:`FastCocoMetric` is.

    Args:
        args, kwargs: Of ``CocoWholeBodyMetric``.
        fast: False leaves the work to xtcocotools.
    """


@contextmanager
def _vectorized_nms() -> Iterator[None]:
    """``CocoMetric.compute_metrics`` has no other place to take it from."""
    own, coco_metric.oks_nms = coco_metric.oks_nms, oks_nms
    try:
        yield
    finally:
        coco_metric.oks_nms = own
