"""COCO's evaluation of keypoints by hotcoco, with the numbers of xtcocotools."""

from typing import List, Sequence, Tuple, Union

import numpy as np
from xtcocotools.coco import COCO

COCO_NAMES = ('AP', 'AP .5', 'AP .75', 'AP (M)', 'AP (L)', 'AR', 'AR .5', 'AR .75', 'AR (M)', 'AR (L)')
CROWD_NAMES = ('AP', 'AP .5', 'AP .75', 'AR', 'AR .5', 'AR .75', 'AP(E)', 'AP(M)', 'AP(H)')
PARTS = ('keypoints', 'foot_kpts', 'face_kpts', 'lefthand_kpts', 'righthand_kpts')  # of COCO-WholeBody's labels
BODY = 17  # the first keypoints of its whole body
EASY, MEDIUM = 0.2, 0.8  # the crowd indices that CrowdPose's subsets end at


def evaluate_fast(coco: COCO, people: Sequence[dict], kind: str, sigmas: np.ndarray, use_area: bool) -> List[float]:
    """Evaluates detections by hotcoco, with the values that xtcocotools gives.

    Args:
        coco: The labels.
        people: Detections with ``img_id``, ``category_id``, ``keypoints`` (K×3: x, y, score), ``score`` and, where
            known, ``bbox`` (x, y, w, h), which is not used for whole bodies.
        kind: xtcocotools' ``iouType``.
        sigmas: K, of OKS.
        use_area: Read the labels' areas; else 0.53 times the box's.

    Returns:
        The values of :data:`COCO_NAMES`, or for ``'keypoints_crowd'`` of :data:`CROWD_NAMES`; -1 where there is no
        label to measure on.
    """
    import hotcoco

    labels = hotcoco.COCO(_labels(coco, kind, len(sigmas), use_area))
    evaluation = hotcoco.COCOeval(labels, labels.loadRes(_detections(people, kind)), 'keypoints')
    evaluation.params.kpt_oks_sigmas = [float(sigma) for sigma in sigmas]
    images = sorted(coco.getImgIds())

    def measure(chosen: List[int]) -> Tuple[np.ndarray, np.ndarray]:
        """Precision, T×R×K×A, and recall, T×K×A: OKS threshold, recall, category, area (all, medium, large)."""
        evaluation.params.imgIds = chosen
        evaluation.evaluate()
        evaluation.accumulate()
        return tuple(np.asarray(evaluation.eval[name])[..., 0] for name in ('precision', 'recall'))  # type: ignore

    precision, recall = measure(images)
    if kind != 'keypoints_crowd':
        areas = [values[..., area] for values in (precision, recall) for area in (0, 0, 0, 1, 2)]
        thresholds: List[Union[int, slice]] = [slice(None), 0, 5, slice(None), slice(None)] * 2
        return [_mean(v[t]) for v, t in zip(areas, thresholds)]
    stats = [_mean(values[t, ..., 0]) for values in (precision, recall) for t in (slice(None), 0, 5)]
    index = np.array([coco.imgs[image]['crowdIndex'] for image in images])
    for subset in (index < EASY, (index >= EASY) & (index < MEDIUM), index >= MEDIUM):
        chosen = [image for image, is_in in zip(images, subset) if is_in]
        # given no images, hotcoco takes all; xtcocotools rounds so, and averages over absent categories, too
        stats.append(round(float(measure(chosen)[0][..., 0].mean()), 4) if chosen else -1.0)
    return stats


def _mean(values: np.ndarray) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0


def _labels(coco: COCO, kind: str, num_keypoints: int, use_area: bool) -> dict:
    annotations = []
    for number, person in enumerate(coco.dataset['annotations'], 1):  # hotcoco takes id 0 for no instance
        parts = PARTS if kind == 'keypoints_wholebody' else PARTS[:1]
        keypoints = [value for part in parts for value in person[part]]
        seen = sum(value > 0 for value in keypoints[2::3])
        annotations.append(
            dict(
                id=number,
                image_id=person['image_id'],
                category_id=person['category_id'],
                bbox=list(person['bbox']),
                area=person['area'] if use_area else person['bbox'][3] * person['bbox'][2] * 0.53,
                iscrowd=int(person['iscrowd']),
                keypoints=keypoints,
                num_keypoints=person['num_keypoints'] if kind == 'keypoints_crowd' else seen,
            )
        )
    names = [str(k) for k in range(num_keypoints)]
    categories = [dict(id=c['id'], name=str(c['id']), keypoints=names, skeleton=[]) for c in coco.dataset['categories']]
    return dict(images=[dict(id=image) for image in coco.getImgIds()], annotations=annotations, categories=categories)


def _detections(people: Sequence[dict], kind: str) -> List[dict]:
    """The detections as hotcoco reads them, without those whose scores are all 0, which xtcocotools drops, too."""
    if not people:
        return []
    points = np.array([person['keypoints'] for person in people], dtype=float)
    if kind != 'keypoints_wholebody' and 'bbox' in people[0]:
        boxes = np.array([person['bbox'] for person in people], dtype=float)
    else:  # the area is that of the body
        places = points[:, : BODY if kind == 'keypoints_wholebody' else None, :2]
        boxes = np.concatenate([places.min(1), np.ptp(places, axis=1)], axis=1)
    scored = np.any(points[..., 2] > 0, axis=1)
    rows = zip(people, points.reshape(len(points), -1).tolist(), boxes.tolist(), scored.tolist())
    return [
        dict(
            image_id=person['img_id'],
            category_id=person['category_id'],
            keypoints=keypoints,
            bbox=box,
            score=float(person['score']),
        )
        for person, keypoints, box, has_score in rows
        if has_score
    ]


def oks_nms(people: List[dict], thr: float, sigmas: np.ndarray) -> List[int]:
    """MMPose's ``oks_nms``, all pairs of an image's instances at once.

    Args:
        people: Of one image, with ``keypoints`` (K×3), ``area`` and ``score``.
        thr: OKS above which the lower score goes.
        sigmas: K, of OKS.

    Returns:
        The indices that stay, by score.
    """
    if not people:
        return []
    order = np.array([person['score'] for person in people]).argsort()[::-1]
    points = np.array([person['keypoints'] for person in people])[order]
    areas = np.array([person['area'] for person in people])[order]
    x, y = points[..., 0], points[..., 1]
    squared = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    error = squared / (sigmas * 2) ** 2 / ((areas[:, None] + areas) / 2 + np.spacing(1))[..., None] / 2
    overlaps = (np.exp(-error).sum(-1) / x.shape[1]).astype(np.float32) > thr
    stays = np.ones(len(people), dtype=bool)
    for i in range(len(people)):
        if stays[i]:
            stays[i + 1 :] &= ~overlaps[i, i + 1 :]
    return order[stays].tolist()
