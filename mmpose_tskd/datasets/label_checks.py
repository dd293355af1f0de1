"""What would spoil a run in a data set's labels, or make it fail far from its cause."""

import inspect
import json
import os
from collections import defaultdict
from functools import lru_cache
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
from mmengine.config import ConfigDict
from mmengine.fileio import get_text, join_path
from mmengine.utils import is_abs
from mmpose.datasets.datasets import MpiiDataset
from mmpose.datasets.datasets.base import BaseCocoStyleDataset
from mmpose.registry import DATASETS

from ..errors import UserError

FAR = 10  # sizes of the box
SMALL_BOX = 100  # pixels; a smaller box counts as of this size
READERS = ('_load_annotations', 'parse_data_info')  # methods of MMPose's data sets
COCO_KEYS = ('images', 'annotations', 'categories')
MPII_KEYS = ('image', 'center', 'scale', 'joints', 'joints_vis')
CROWD, NO_JOINT = 'iscrowd', 'no labelled joint'
Faults = Dict[str, List[Any]]  # ids, by what is wrong


class LabelReport(NamedTuple):
    """What was found in a file of labels.

    Args:
        images: Faults of its entries for images.
        annotations: Faults of its annotations.
        unused: Instances that MMPose leaves out or that teach nothing, each under one reason.
        instances: The number of annotations.
    """

    images: Faults
    annotations: Faults
    unused: Faults
    instances: int

    def faults(self) -> str:
        """One line on all faults, with an id for each; '' where there are none."""
        tables = dict(images=self.images, annotations=self.annotations)
        return '; '.join(f'{table}: {_describe(faults)}' for table, faults in tables.items() if faults)

    def unused_line(self) -> str:
        """One line on the unused instances."""
        reasons = f': {_describe(self.unused)}' if self.unused else ''
        return f'{self.num_unused():,} of {self.instances:,} instances are of no use{reasons}'

    def num_unused(self) -> int:
        """Their number."""
        return sum(map(len, self.unused.values()))


def _describe(faults: Faults) -> str:
    return '; '.join(
        f'{len(ids):,} with {fault} (id {ids[0]}{", ..." if len(ids) > 1 else ""})' for fault, ids in faults.items()
    )


def examine_coco(content: Dict[str, list], num_keypoints: int, by_area: bool = False) -> LabelReport:
    """Looks through labels in COCO format.

    Args:
        content: The file's; ``annotations`` may be lacking, as in the lists of test images.
        num_keypoints: K.
        by_area: Whether results are scored by the instances' areas.
    """
    images: Dict[int, dict] = {}
    image_faults: Faults = defaultdict(list)
    for image in content['images']:
        faults = list(_image_faults(image, images))
        for fault in faults:
            image_faults[fault].append(_id(image))
        if not faults:
            images[image['id']] = image
    categories = [_id(category) for category in content['categories']] if 'categories' in content else None
    annotations = content.get('annotations', [])
    return LabelReport(image_faults, *_examine(annotations, num_keypoints, by_area, images, categories))


def examine_mpii(people: Sequence[dict], num_keypoints: int = 16) -> LabelReport:
    """Looks through labels in MMPose's format for MPII; an instance's id is its place in the file."""
    annotations = []
    for number, person in enumerate(people):
        (x, y), radius = person['center'], 100 * person['scale']
        joints = [
            value for joint, visible in zip(person['joints'], person['joints_vis']) for value in (*joint, visible)
        ]
        annotations.append(dict(id=number, bbox=[x - radius, y - radius, 2 * radius, 2 * radius], keypoints=joints))
    return LabelReport({}, *_examine(annotations, num_keypoints))


def _examine(
    annotations: Sequence[dict],
    num_keypoints: int,
    by_area: bool = False,
    images: Optional[Dict[int, dict]] = None,
    categories: Optional[List[Any]] = None,
) -> Tuple[Faults, Faults, int]:
    faults: Faults = defaultdict(list)
    unused: Faults = defaultdict(list)
    seen: Set[Any] = set()
    for person in annotations:
        found = list(_faults_of(person, seen, num_keypoints, categories))
        reason = None if found else _why_unused(person, images)
        if reason is not None:
            unused[reason].append(person['id'])
        elif by_area and not found and not person.get('area'):
            found = ['no area, by which results are scored']
        for fault in found:
            faults[fault].append(_id(person))
    return faults, unused, len(annotations)


def _id(entry: Any) -> Any:
    return entry.get('id') if isinstance(entry, dict) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))


def _numbers(values: Any) -> Optional[np.ndarray]:
    """A list's finite numbers; None where it is no such list."""
    try:
        array = np.asarray(values)
    except ValueError:  # lists of several lengths
        return None
    return array if array.ndim == 1 and array.dtype.kind in 'iuf' and np.isfinite(array).all() else None


def _image_faults(image: dict, images: Dict[int, dict]) -> Iterator[str]:
    if not isinstance(_id(image), int):
        yield 'an id that is no whole number'
        return
    if image['id'] in images:
        yield 'an id used twice'
    if not isinstance(image.get('file_name'), str):
        yield 'no file_name'
    if not all(_is_number(image.get(side)) and image[side] > 0 for side in ('width', 'height')):
        yield 'no width and height above 0'


def _faults_of(person: dict, seen: Set[Any], num_keypoints: int, categories: Optional[List[Any]]) -> Iterator[str]:
    """What makes MMPose fail, or train or score on what is not there."""
    if not isinstance(_id(person), (int, str)):
        yield 'no id'
        return
    if person['id'] in seen:
        yield 'an id used twice'
    seen.add(person['id'])
    if 'bbox' not in person or 'keypoints' not in person:  # which MMPose leaves out
        return
    if categories is not None and person.get('category_id') not in categories:
        yield 'a category_id that the file does not list'
    if person.get('iscrowd', 0) not in (0, 1):
        yield 'an iscrowd that is neither 0 nor 1'
    for key in ('image_id', 'area', 'num_keypoints'):
        if not _is_number(person.get(key, 0)) or person.get(key, 0) < 0:
            yield f'{key} that is no number from 0 on'
    box, joints = _numbers(person['bbox']), _numbers(person['keypoints'])
    if box is None or box.size != 4:
        yield 'a box that is not four numbers'
    if joints is None:
        yield 'a coordinate that is no number'
    elif joints.size != 3 * num_keypoints and (joints.size or person.get('num_keypoints', 1)):
        yield f'not {num_keypoints} key points'
    elif ((joints[2::3] < 0) | (joints[2::3] > 2)).any():
        yield 'a visibility that is not 0, 1 or 2'
    elif box is not None and box.size == 4 and (box[2:] > 0).all():
        labelled = joints.reshape(-1, 3)[joints[2::3] > 0, :2]
        if (np.abs(labelled - (box[:2] + box[2:] / 2)) > FAR * max(*box[2:], SMALL_BOX)).any():
            yield 'a joint far from its box'


def _why_unused(person: dict, images: Optional[Dict[int, dict]]) -> Optional[str]:
    """Why MMPose leaves an instance without faults out, or why it teaches nothing."""
    if 'bbox' not in person or 'keypoints' not in person:
        return 'no box or no key points'
    if person.get('iscrowd'):
        return CROWD
    joints = np.asarray(person['keypoints']).reshape(-1, 3)
    if not person.get('num_keypoints', 1) or not (joints[:, 2] > 0).any() or joints[:, :2].max() <= 0:
        return NO_JOINT
    corners = np.add(person['bbox'], [0, 0, *person['bbox'][:2]])
    if images is not None:
        image = images.get(person.get('image_id', -1))
        if image is None:
            return 'an image_id that the file does not list'
        corners = corners.clip(0, [image['width'] - 1, image['height'] - 1] * 2)
    return None if (corners[2:] > corners[:2]).all() else 'a box without area in the image'


def lacking_keys(content: Any, keys: Sequence[str] = COCO_KEYS) -> str:
    """Of the lists of a file in COCO format, those that it lacks."""
    lists = content if isinstance(content, dict) else {}
    return ', '.join(key for key in keys if not isinstance(lists.get(key), list))


def is_mpii(content: Any) -> bool:
    """Whether a file is labels in MMPose's format for MPII."""
    return isinstance(content, list) and all(
        isinstance(person, dict) and set(MPII_KEYS) <= set(person) for person in content
    )


def check_labels(dataset: ConfigDict, by_area: bool = False) -> List[str]:
    """Looks through the labels of a data set, from its config, before MMPose reads them; no image is opened.

    Data sets whose class reads its labels in another way than COCO's or MPII's are left to MMPose.

    Args:
        dataset: The config of a data set, or of a wrapper of others (its ``dataset`` or ``datasets``).
        by_area: Whether results on it are scored by the instances' areas.

    Returns:
        For the log: a line for each file with instances that MMPose leaves out or that teach nothing.

    Raises:
        UserError: A file is missing or damaged, lists an image or an annotation twice, or has text, nothing or no
            finite number where MMPose or a metric needs one, a visibility other than 0, 1 and 2, an unknown category,
            no area where that is needed, a joint more than ten box sizes away from its box, another number of joints
            than the data set's metainfo, or nobody with a labelled joint; or ``bbox_file`` is no JSON file, whose
            loading could run code.
    """
    parts = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    if parts:
        return [line for part in parts for line in check_labels(part, by_area)]
    kind: Any = DATASETS.get(dataset['type']) if isinstance(dataset['type'], str) else dataset['type']
    boxes, file = dataset.get('bbox_file'), dataset.get('ann_file')
    if not inspect.isclass(kind) or not issubclass(kind, BaseCocoStyleDataset) or not file:
        return []
    if boxes and not boxes.endswith('.json'):
        raise UserError(f'bbox_file={boxes!r}: boxes are read from JSON alone, since loading other files can run code')
    if dataset.get('data_root') and not is_abs(file):
        file = join_path(dataset['data_root'], file)
    for path in (file, boxes):
        if path and '://' not in path and not os.path.isfile(path):
            raise UserError(
                f"{path} does not exist or is no file. Paths are relative to the current folder. The data sets' are "
                'data_root, ann_file, data_prefix and bbox_file of each dataloader.dataset, and ann_file of the '
                'evaluators: change them in the config or by --cfg-options'
            )
    in_mpii = issubclass(kind, MpiiDataset)
    if not in_mpii and any(getattr(kind, name) is not getattr(BaseCocoStyleDataset, name) for name in READERS):
        return []
    stamp = os.stat(file).st_mtime_ns if os.path.isfile(file) else 0
    num_keypoints = kind._load_metainfo(dataset.get('metainfo'))['num_keypoints']
    report = _read(file, stamp, in_mpii, num_keypoints, bool(boxes), by_area)
    return [f'{file}: {report.unused_line()}'] if report.unused else []


@lru_cache(maxsize=16)
def _read(file: str, stamp: int, in_mpii: bool, num_keypoints: int, has_boxes: bool, by_area: bool) -> LabelReport:
    """The report on a file, which is read again where its stamp has changed."""
    try:
        content = json.loads(get_text(file))
    except ValueError as damage:
        raise UserError(f'{file} is damaged, or no JSON ({damage}): get it again') from damage
    if in_mpii:
        if not is_mpii(content):
            raise UserError(f'cannot read the labels in {file}: it is no list of people with {", ".join(MPII_KEYS)}')
        report = examine_mpii(content, num_keypoints)
    else:
        lacking = lacking_keys(content, COCO_KEYS[:1] if has_boxes else COCO_KEYS[:2])
        if lacking:
            raise UserError(f'cannot read the labels in {file}: in COCO format it would have lists of {lacking}')
        report = examine_coco(content, num_keypoints, by_area)
    if report.faults():
        raise UserError(f'{file}: {report.faults()}. Mend these entries or take them out of the file')
    if not has_boxes and report.num_unused() == report.instances:
        raise UserError(f'{file} has no person with a labelled joint in an image. {report.unused_line()}')
    return report
