"""How confident a recorded teacher is, and, where there are labels, how right."""

from contextlib import redirect_stdout
from io import StringIO
from typing import Any, Dict, List, Optional, Union

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from xtcocotools.coco import COCO
from xtcocotools.cocoeval import COCOeval

from ..datasets.label_checks import read_json
from ..errors import UserError
from ..poses import load_skeleton, match_joints
from ..poses.record import PoseRecord, load_record

BINS = 10


def examine_record(
    file: str, labels: Optional[str] = None, metainfo: Union[str, dict, None] = 'CocoDataset'
) -> Dict[str, Any]:
    """Counts a record's keypoints by confidence, and compares them with labels.

    A keypoint is right where its OKS with the label is at least 0.5 (the object keypoint similarity of COCO, of this
    keypoint alone). The calibration error is the mean over the keypoints of the difference between a bin's confidence
    and its share of right keypoints (ECE): 0 where 70 % of the keypoints of confidence 0.7 are right.

    Args:
        file: The record.
        labels: Labels for its images, in COCO format. The keypoints are compared by the annotations' ids, so the record
            must be of the labels' boxes.
        metainfo: The data set's class or metainfo dict that has the names and sigmas of the labels' keypoints.

    Returns:
        ``instances`` and, for ten bins of confidence, ``joints``: how many keypoints each has. With labels also
        ``right``, each bin's share of right keypoints (None for an empty bin), ``compared``, how many each share is of,
        ``calibration_error``, ``ap`` in [0, 1], and ``by_area``: whether OKS takes the labels' areas. Where a
        label that is compared has none, it takes 0.53 times the area of the box for all.

    Raises:
        UserError: A file cannot be read, they have no annotation or no keypoint in common, or the labels have another
            number of keypoints than ``metainfo``.
    """
    record = load_record(file)
    confidence = record.keypoints[..., 2]
    result: Dict[str, Any] = dict(instances=len(record.keys), joints=_histogram(confidence).tolist())
    if labels is not None:
        result.update(_compare(record, labels, metainfo))
    return result


def print_record(result: Dict[str, Any]) -> None:
    """Prints what :func:`examine_record` has found."""
    labeled = 'ap' in result
    table = Table('confidence', 'keypoints', '', *(['right', 'compared'] if labeled else []), box=box.SIMPLE)
    total = max(sum(result['joints']), 1)
    for place, count in enumerate(result['joints']):
        row = [f'{place / BINS:.1f}-{(place + 1) / BINS:.1f}', f'{count:,}', '█' * round(40 * count / total)]
        if labeled:
            right = result['right'][place]
            row += ['' if right is None else f'{right:.0%}', f'{result["compared"][place]:,}']
        table.add_row(*row)
    console = Console()
    console.print(f'{result["instances"]:,} instances')
    console.print(table)
    if labeled:
        areas = "the labels' areas" if result['by_area'] else '0.53 times the area of the boxes, as in CrowdPose'
        console.print(f'AP {100 * result["ap"]:.1f}, by {areas}; calibration error {result["calibration_error"]:.3f}')


def _histogram(confidence: np.ndarray) -> np.ndarray:
    return np.bincount(_bin(confidence).ravel(), minlength=BINS)


def _bin(confidence: np.ndarray) -> np.ndarray:
    return np.minimum((confidence * BINS).astype(int), BINS - 1)


def _compare(record: PoseRecord, labels: str, metainfo: Union[str, dict, None]) -> Dict[str, Any]:
    skeleton = load_skeleton(metainfo or 'CocoDataset')
    joints = match_joints(skeleton, record.skeleton)
    columns = list(range(skeleton.num_keypoints)) if joints is None else joints.tolist()
    if max(columns) < 0:
        raise UserError(
            f"{record.file} and {metainfo} have no keypoint in common: name the labels' data set by --metainfo"
        )
    people = {person['id']: person for person in read_json(labels)['annotations'] if person.get('keypoints')}
    rows = [place for place, key in enumerate(record.keys) if key[1] in people]
    if not rows:
        raise UserError(
            f'{record.file} has no annotation of {labels} that has keypoints: compare it with the labels that it was '
            'made for'
        )
    found = record.keypoints[rows][:, columns]
    told = [people[record.keys[place][1]] for place in rows]
    other = {len(person['keypoints']) for person in told} - {3 * skeleton.num_keypoints}
    if other:
        raise UserError(
            f'{labels} has instances with {min(other) / 3:g} keypoints, but {skeleton.dataset} has '
            f"{skeleton.num_keypoints}: name the labels' data set by --metainfo"
        )
    truth = np.array([person['keypoints'] for person in told], float).reshape(len(rows), -1, 3)
    by_area = all(person.get('area') for person in told)
    areas = np.array([person['area'] if by_area else 0.53 * np.prod(person['bbox'][2:]) for person in told], float)
    squares = ((found[..., :2] - truth[..., :2]) ** 2).sum(-1)
    oks = np.exp(-squares / (2 * areas[:, None] * (2 * np.array(skeleton.sigmas)) ** 2))
    mask = (truth[..., 2] > 0) & (np.array(columns) >= 0)
    confidence, right = found[..., 2][mask], (oks >= 0.5)[mask]
    bins = _bin(confidence)
    counts = np.bincount(bins, minlength=BINS)
    hits, sums = (np.bincount(bins, weights=values, minlength=BINS) for values in (right, confidence))
    return dict(
        compared=counts.tolist(),
        right=[float(hit / count) if count else None for hit, count in zip(hits, counts)],
        calibration_error=float(np.abs(hits - sums).sum() / max(len(confidence), 1)),
        ap=_average_precision(found, told, labels, skeleton.sigmas, by_area),
        by_area=by_area,
    )


def _average_precision(found: np.ndarray, told: List[dict], labels: str, sigmas: Any, by_area: bool) -> float:
    with redirect_stdout(StringIO()):
        truth = COCO(labels)
        for person in truth.dataset['annotations']:
            # those that are not compared may have none
            person.update(area=person.get('area') or 0, iscrowd=person.get('iscrowd', 0))
            person.setdefault('keypoints', [0] * 3 * len(sigmas))
        answers = [
            dict(
                image_id=person['image_id'],
                category_id=person.get('category_id', 1),
                keypoints=pose.ravel().tolist(),
                score=float(pose[:, 2].mean()),
            )
            for pose, person in zip(found, told)
        ]
        evaluation = COCOeval(truth, truth.loadRes(answers), 'keypoints', np.array(sigmas), by_area)
        evaluation.params.imgIds = sorted({person['image_id'] for person in told})
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])
