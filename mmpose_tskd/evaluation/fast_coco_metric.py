import gc
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from mmpose.evaluation.metrics import CocoMetric, CocoWholeBodyMetric, coco_metric
from mmpose.registry import METRICS
from xtcocotools.coco import COCO

from .fast_coco import COCO_NAMES, CROWD_NAMES, evaluate_fast, oks_nms
from .fast_coco_check import hotcoco_agrees


@dataclass
class _Result:
    """Hides one of ``CocoMetric.results`` from MMEngine, whose search for tensors takes longer than the evaluation."""

    pair: Tuple[dict, dict]


class _FastEvaluation(CocoMetric):
    """Evaluates by hotcoco where that agrees with xtcocotools; else as MMPose does."""

    coco: COCO

    def __init__(self, *args, fast: bool = True, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.fast = fast and hotcoco_agrees()
        self.people: List[dict] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        count = len(self.results)
        super().process(data_batch, data_samples)
        self.results[count:] = [_Result(pair) for pair in self.results[count:]]

    def compute_metrics(self, results: List[_Result]) -> Dict[str, float]:
        with _fast_loops() if self.fast else nullcontext():
            return super().compute_metrics([result.pair for result in results])

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
    small case; where it does not, a warning says so and xtcocotools does the work. With hotcoco, no table is printed.

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
def _fast_loops() -> Iterator[None]:
    """Speeds up ``CocoMetric.compute_metrics`` inside the block: vectorized NMS, and no garbage collection.

    MMPose's module is given our ``oks_nms``. ``compute_metrics`` makes a dict and lists for each detection, which have
    no cycles; the garbage collector would search all of them again and again.
    """
    own, coco_metric.oks_nms = coco_metric.oks_nms, oks_nms
    searches = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        coco_metric.oks_nms = own
        if searches:
            gc.enable()
