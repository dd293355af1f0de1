"""Whether hotcoco may stand in for xtcocotools."""

import importlib.util
import logging
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from mmengine.logging import print_log
from xtcocotools.coco import COCO
from xtcocotools.cocoeval import COCOeval

from .fast_coco import EASY, MEDIUM, PARTS, evaluate_fast

TOLERANCE = 1e-9


@cache
def hotcoco_agrees() -> bool:
    """Whether hotcoco is installed and agrees with xtcocotools on a small case of each kind of evaluation."""
    if importlib.util.find_spec('hotcoco') is None:
        return False
    for kind in ('keypoints', 'keypoints_crowd', 'keypoints_wholebody'):
        case = draw_case(kind, seed=0)
        try:
            difference = np.abs(np.subtract(evaluate_fast(*case), evaluate_slowly(*case))).max()
        except Exception as error:  # a version with another interface; whatever it raises, xtcocotools can do it
            difference = error
        if not isinstance(difference, float) or difference > TOLERANCE:
            print_log(
                f'hotcoco is not used: its {kind} differ from those of xtcocotools in a small case ({difference}). '
                'Install a version that mmpose_tskd[fast-eval] allows, or set fast=False in the metric',
                logger='current',
                level=logging.WARNING,
            )
            return False
    return True


def evaluate_slowly(coco: COCO, people: Sequence[dict], kind: str, sigmas: np.ndarray, use_area: bool) -> np.ndarray:
    """As :func:`evaluate_fast`, by xtcocotools."""
    cuts = np.cumsum([17, 6, 68, 21]) * 3
    rows = []
    for person in people:
        flat = np.asarray(person['keypoints'], dtype=float).flatten()
        parts = np.split(flat, cuts) if kind == 'keypoints_wholebody' else [flat]
        row = dict(image_id=person['img_id'], category_id=person['category_id'], score=float(person['score']))
        row.update({name: part.tolist() for name, part in zip(PARTS, parts)})
        if kind != 'keypoints_wholebody' and 'bbox' in person:
            row['bbox'] = np.asarray(person['bbox'], dtype=float).tolist()
        rows.append(row)
    with redirect_stdout(StringIO()):
        found = coco.loadRes(rows)
        evaluation: Any = COCOeval(coco, found, kind, sigmas, use_area)
        evaluation.split = lambda *_: _subsets(coco)  # which it would read from a file
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def _subsets(coco: COCO) -> List[List[int]]:
    index = {image['id']: image['crowdIndex'] for image in coco.dataset['images']}
    bounds = ((-np.inf, EASY), (EASY, MEDIUM), (MEDIUM, np.inf))
    return [[image for image, value in index.items() if low <= value < high] for low, high in bounds]


def draw_case(kind: str, seed: int) -> Tuple[COCO, List[dict], str, np.ndarray, bool]:
    """Draws labels and detections with what makes an evaluation hard, as arguments of :func:`evaluate_fast`.

    Cases are crowds, instances without a visible keypoint, a label with id 0, detections without scores, equal scores,
    images without instances or detections, two categories, and more detections than are evaluated; for CrowdPose also
    subsets without images.
    """
    rng = np.random.default_rng(seed)
    counts = (17, 6, 68, 21, 21) if kind == 'keypoints_wholebody' else (14 if kind == 'keypoints_crowd' else 17,)
    joints, num_images = sum(counts), int(rng.integers(4, 12))
    categories = [dict(id=1, name='person')] + [dict(id=2, name='other')] * int(rng.integers(2))
    with_boxes = bool(rng.integers(2))
    low = float(rng.choice([0.0, 0.5, 0.9]))
    annotations: List[Dict[str, Any]] = []
    people: List[dict] = []
    for image in range(num_images):
        for _ in range(rng.integers(0, 5)):
            size = rng.uniform(15, 250, 2)
            points = rng.uniform(0, 300, 2) + rng.uniform(0, 1, (joints, 2)) * size
            seen = rng.integers(0, 3, joints) * rng.integers(0, 2) ** int(rng.integers(0, 2))
            flat = np.concatenate([points, seen[:, None]], 1)
            parts = np.split(flat, np.cumsum(counts)[:-1])
            annotations.append(
                dict(
                    id=len(annotations),
                    image_id=image,
                    category_id=categories[rng.integers(len(categories))]['id'],
                    iscrowd=int(rng.random() < 0.1),
                    bbox=[*points.min(0).tolist(), *size.tolist()],
                    area=float(size.prod() * rng.uniform(0.3, 1)),
                    num_keypoints=int((seen == 2).sum()),
                    **{name: part.flatten().tolist() for name, part in zip(PARTS, parts)},
                )
            )
            for _ in range(rng.integers(0, 8)):
                moved = points + rng.normal(0, rng.exponential(0.1) * size.mean(), (joints, 2))
                scores = rng.uniform(0, 1, joints) * (rng.random() > 0.1)
                people.append(
                    dict(
                        img_id=image,
                        category_id=categories[rng.integers(len(categories))]['id'],
                        keypoints=np.concatenate([moved, scores[:, None]], 1).astype(np.float32),
                        score=float(np.round(scores.mean(), int(rng.integers(1, 8)))),
                        **(dict(bbox=np.array([*points.min(0), *size], dtype=np.float32)) if with_boxes else {}),
                    )
                )
    coco = COCO()
    images = [dict(id=i, file_name=f'{i}.jpg', crowdIndex=float(rng.uniform(low, 1))) for i in range(num_images)]
    coco.dataset = dict(images=images, annotations=annotations, categories=categories)
    with redirect_stdout(StringIO()):
        coco.createIndex()
    return coco, people, kind, rng.uniform(0.02, 0.1, joints), bool(rng.integers(2))
