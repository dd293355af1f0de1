import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Union

import numpy as np
from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import METRICS
from xtcocotools.coco import COCO
from xtcocotools.cocoeval import COCOeval

from ..engine.atomic_backend import AtomicLocalBackend
from ..errors import UserError
from .hidden_joint_metric import HIDDEN, SEEN, keep_joints
from .resampled import Matches, average_precision

SHARES = (0.0, 0.2, 0.4, 0.6, 1.0)  # upper limits of the groups, by the hidden share of labeled keypoints


@METRICS.register_module()
class PersonRecordMetric(CocoMetric):
    """Measures AP, AR and PCK of all, of seen and of hidden keypoints, and keeps what resampling the images needs.

    It writes a JSON of

    - ``pictures``: the number of images;
    - ``metrics``: AP, AP50, AP75, AR and PCK in 0-100, with ``_seen`` and ``_hidden`` for those keypoints alone; None
      where the set has no such keypoints;
    - ``matches`` (see :class:`Matches`) and ``correct``, for confidence intervals. ``correct`` has four counts for each
      image: seen keypoints that are right, seen keypoints, hidden keypoints that are right, hidden keypoints;
    - ``joints``: for each keypoint, PCK and the mean error in percent of the longer side of the box;
    - ``hidden_shares``: the number of instances and their AP, by the share of an instance's labeled keypoints that is
      hidden.

    In PCK, a keypoint is right if its error is at most ``pck_thr`` times the longer side of the instance's box. PCK is
    the share of right ones among all labeled keypoints; MMPose's ``PCKAccuracy`` averages the shares by keypoint.

    Args:
        ann_file: The labels.
        out_file: The JSON to write; None writes none.
        pck_thr: The largest error of a right keypoint, as a factor on the longer side of the box.
        kwargs: Of MMPose's ``CocoMetric``.

    Raises:
        UserError: The instances are not those of the labels, but boxes of a detector.
    """

    coco: COCO

    def __init__(self, ann_file: str, out_file: Union[str, Path, None] = None, pck_thr: float = 0.1, **kwargs) -> None:
        super().__init__(ann_file, **kwargs)
        self.out_file = out_file
        self.pck_thr = pck_thr
        self.record: Dict[str, Any] = {}

    def compute_metrics(self, results: list) -> Dict[str, float]:
        self.record = dict(pictures=len(self.coco.imgs), metrics={}, matches={})
        self._measure_joints([prediction for prediction, _ in results])
        super().compute_metrics(results)
        if self.out_file is not None:
            AtomicLocalBackend().put_text(json.dumps(self.record, separators=(',', ':')) + '\n', self.out_file)
        return {name: value for name, value in self.record['metrics'].items() if value is not None}

    def _measure_joints(self, predictions: Sequence[dict]) -> None:
        """Records PCK and errors of each prediction, compared with the instance that it was made for."""
        rows = {image_id: row for row, image_id in enumerate(sorted(self.coco.imgs))}
        errors, visibility, owners = [], [], []
        for prediction in predictions:
            person = self.coco.anns.get(prediction['id'], {})
            if person.get('image_id') != prediction['img_id']:
                raise UserError(
                    f'PersonRecordMetric compares instances with their labels, but number {prediction["id"]} in image '
                    f'{prediction["img_id"]} has none: set test_dataloader.dataset.bbox_file=None'
                )
            truth = np.array(person['keypoints'], dtype=float).reshape(-1, 3)
            distance = np.linalg.norm(prediction['keypoints'][0, :, :2] - truth[:, :2], axis=-1)
            errors.append(distance / max(person['bbox'][2:]))
            visibility.append(truth[:, 2])
            owners.append(rows[person['image_id']])
        error, v = np.array(errors), np.array(visibility)
        right = error <= self.pck_thr
        correct = np.zeros((len(rows), 4), int)
        for column, level in ((0, SEEN), (2, HIDDEN)):
            np.add.at(correct[:, column], owners, (right & (v == level)).sum(axis=1))
            np.add.at(correct[:, column + 1], owners, (v == level).sum(axis=1))
        self.record['correct'] = correct.tolist()
        self.record['metrics'].update(
            PCK=_percent(right[v > 0]), PCK_seen=_percent(right[v == SEEN]), PCK_hidden=_percent(right[v == HIDDEN])
        )
        names = self.dataset_meta['keypoint_id2name']
        self.record['joints'] = {
            names[k]: dict(PCK=_percent(right[v[:, k] > 0, k]), error=_percent(error[v[:, k] > 0, k]))
            for k in range(v.shape[1])
        }

    def _do_python_keypoint_eval(self, outfile_prefix: str) -> list:
        detections = self.coco.loadRes(f'{outfile_prefix}.keypoints.json')
        levels = np.concatenate([np.array(person['keypoints'])[2::3] for person in self.coco.anns.values()])
        wanted: Dict[str, Callable] = {'': lambda v: v > 0}
        if (levels == HIDDEN).any():
            wanted.update(_seen=lambda v: v == SEEN, _hidden=lambda v: v == HIDDEN)
        for name in ('', '_seen', '_hidden'):
            values: Sequence[Optional[float]] = [None] * 4
            if name in wanted:
                matches = self._match(keep_joints(self.coco, wanted[name]), detections)
                self.record['matches'][name] = matches.packed()
                values = coco_statistics(matches)
            self.record['metrics'].update({f'{key}{name}': v for key, v in zip(('AP', 'AP50', 'AP75', 'AR'), values)})
        self.record['hidden_shares'] = [
            self._measure_share(detections, low, high) for low, high in zip((-1.0, *SHARES[:-1]), SHARES)
        ]
        return []

    def _measure_share(self, detections: COCO, low: float, high: float) -> dict:
        """AP over the instances of whose labeled keypoints a share in (low, high] is hidden."""

        def wanted(v: np.ndarray) -> np.ndarray:
            share = (v == HIDDEN).sum() / max(1, (v > 0).sum())
            return (v > 0) & (low < share <= high)

        matches = self._match(keep_joints(self.coco, wanted), detections)
        return dict(up_to=high, people=int(matches.positives.sum()), AP=coco_statistics(matches)[0])

    def _match(self, labels: COCO, detections: COCO) -> Matches:
        evaluation = COCOeval(labels, detections, 'keypoints', self.dataset_meta['sigmas'], self.use_area)
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ['all']
        evaluation.evaluate()
        return Matches.of(evaluation)


def coco_statistics(matches: Matches) -> List[Optional[float]]:
    """AP, AP at OKS 0.50 and 0.75, and AR, in 0-100; each None without an instance to find."""
    if not matches.positives.any():
        return [None] * 4
    precision, recall = (values[0] for values in average_precision(matches, np.ones((1, len(matches.positives)))))
    return [round(100 * float(v), 3) for v in (precision.mean(), precision[0], precision[5], recall.mean())]


def _percent(values: np.ndarray) -> Optional[float]:
    return round(100 * float(values.mean()), 3) if values.size else None
