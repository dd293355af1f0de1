"""What would spoil a training run in a data set's labels, or make it fail far from its cause."""

import json
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np
from mmengine.dataset import BaseDataset
from mmpose.datasets.datasets.base import BaseCocoStyleDataset

from ..errors import UserError

FAR = 10  # sizes of the box
SMALL_BOX = 100  # pixels; a smaller box counts as of this size
COCO_KEYS = ('images', 'annotations', 'categories')
ADVICE = 'Mend these annotations or take them out of the file'


class Person(NamedTuple):
    """One annotation.

    Args:
        id: Its id.
        box: (x, y) of two corners, 4 numbers in pixels; None where none is needed.
        keypoints: x, y and visibility of each joint, 3·K numbers.
    """

    id: Any
    box: Optional[np.ndarray]
    keypoints: np.ndarray


def find_faults(people: Iterable[Person], num_keypoints: int) -> Dict[str, List[Any]]:
    """The annotations that would spoil a training run or make it fail, by what is wrong with them.

    Args:
        people: All of one file.
        num_keypoints: K.

    Returns:
        For each fault there is, the ids.
    """
    faults: Dict[str, List[Any]] = {}
    seen = set()
    for person in people:
        if person.id in seen:
            faults.setdefault('an id used twice', []).append(person.id)
        seen.add(person.id)
        for fault in _faults_of(person, num_keypoints):
            faults.setdefault(fault, []).append(person.id)
    return faults


def _faults_of(person: Person, num_keypoints: int) -> Iterator[str]:
    _, box, keypoints = person
    if keypoints.size != 3 * num_keypoints:
        yield f'not {num_keypoints} key points'
        return
    if not np.isfinite(keypoints).all():
        yield 'a coordinate that is no number'
        return
    if box is None:
        return
    if box.size != 4 or not np.isfinite(box).all():
        yield 'a box that is not four numbers'
        return
    corner, size = box[:2], box[2:] - box[:2]
    if not (size > 0).all():
        yield 'a box without area'
        return
    joints = keypoints.reshape(-1, 3)
    away = np.abs(joints[joints[:, 2] > 0, :2] - (corner + size / 2))
    if (away > FAR * max(*size, SMALL_BOX)).any():
        yield 'a joint far from its box'


def describe(faults: Dict[str, List[Any]]) -> str:
    """One line on the faults found, with an id for each."""
    return 'annotations: ' + '; '.join(
        f'{len(ids)} with {fault} (id {ids[0]}{", ..." if len(ids) > 1 else ""})' for fault, ids in faults.items()
    )


def coco_people(annotations: Sequence[dict]) -> Iterator[Person]:
    """The annotations of a file in COCO format; the box counts where there are labelled joints."""
    for annotation in annotations:
        box = None
        if annotation.get('num_keypoints', 0) > 0:
            box = np.asarray(annotation.get('bbox', ()), dtype=float)
            if box.size == 4:
                box[2:] += box[:2]
        keypoints = np.asarray(annotation.get('keypoints', ()), dtype=float)
        yield Person(annotation.get('id'), box, keypoints)


def check_labels(dataset: Any) -> None:
    """Looks through the labels that a data set of MMPose has read; no picture is opened.

    MMPose has left out by then, without a word, crowds, people without a labelled joint or with all coordinates 0, and
    people whose box has no area within the picture: none of them harms a training run. Boxes of a detector are no
    labels.

    Args:
        dataset: A data set, or a wrapper of others (its ``dataset`` or ``datasets``).

    Raises:
        UserError: Nobody has a labelled joint, or an annotation has NaN or infinite numbers, a box without area, a
            joint more than ten box sizes away from its box, another number of joints than the data set's metainfo, or
            the id of another.
    """
    for part in getattr(dataset, 'datasets', [getattr(dataset, 'dataset', None)]):
        if part is not None:
            check_labels(part)
    if not isinstance(dataset, BaseCocoStyleDataset) or dataset.bbox_file:
        return
    people = []
    for index in range(len(dataset)):
        info = BaseDataset.get_data_info(dataset, index)  # MMPose's own copies the metainfo each time
        fields = (np.atleast_1d(info['id']), info['bbox'], info['keypoints'], info['keypoints_visible'])
        for name, box, joints, visible in zip(*fields):  # of one person, or of a picture's
            people.append(Person(name, box, np.column_stack([joints, visible])))
    faults = find_faults(people, dataset.metainfo['num_keypoints'])
    if not faults and not any(person.keypoints[:, 2].any() for person in people):
        raise UserError(f'{dataset.ann_file} has no person with a labelled joint (visibility 1 or 2)')
    if faults:
        raise UserError(f'{dataset.ann_file}: {describe(faults)}. {ADVICE}')


def explain_labels(dataset: Any, error: Exception) -> str:
    """Why a data set of MMPose could not read its labels.

    Args:
        dataset: The data set, whose ``full_init`` has failed.
        error: What it has failed with.

    Returns:
        What is wrong in the file, where that can be told, else the error.
    """
    file, kind = dataset.ann_file, type(dataset).__name__
    failed = f'{kind} cannot read the labels in {file} ({type(error).__name__}: {error})'
    try:
        content = json.loads(Path(file).read_text())
    except ValueError as damage:
        return f'{file} is damaged, or no JSON ({damage}): get it again'
    lacking = [key for key in COCO_KEYS if key not in content]
    if lacking:
        return f'{failed}. In COCO format it would have {", ".join(lacking)}, too'
    if not any(annotation.get('num_keypoints', 1) > 0 for annotation in content['annotations']):
        return f'{file} has no person with a labelled joint: MMPose leaves the others out'
    faults = find_faults(coco_people(content['annotations']), dataset.metainfo['num_keypoints'])
    return f'{file}: {describe(faults)}. {ADVICE}' if faults else failed
