"""Finds what is wrong in a data set's labels and would spoil a run, or make it fail with a misleading error."""

import inspect
import io
import json
import os
from collections import defaultdict
from contextlib import redirect_stdout
from functools import lru_cache
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
from mmengine.config import ConfigDict
from mmengine.fileio import get_text, join_path
from mmengine.utils import is_abs
from mmpose.datasets.datasets import MpiiDataset
from mmpose.datasets.datasets.base import BaseCocoStyleDataset, base_coco_style_dataset
from mmpose.datasets.datasets.body import posetrack18_video_dataset
from mmpose.registry import DATASETS

from ..errors import UserError

FAR = 10  # times the longer side of the box
SMALL_BOX = 100  # pixels; a smaller box counts as of this size
LARGEST = 2**63  # NumPy's whole numbers are smaller
COCO_LISTS = ('images', 'annotations', 'categories')
BOX_KEYS = ('image_id', 'category_id', 'bbox', 'score')
MPII_KEYS = ('image', 'center', 'scale', 'joints', 'joints_vis')
Faults = Dict[str, List[Any]]  # ids, by what is wrong


class LabelReport(NamedTuple):
    """What was found in labels.

    Args:
        faults: Entries that make MMPose fail, or train or score on wrong values: their ids, by fault.
        used: The annotations that MMPose uses.
        unused: Annotations that MMPose leaves out or that teach nothing: their ids, each under one reason.
    """

    faults: Faults
    used: List[dict]
    unused: Faults

    def counts(self) -> str:
        """How many annotations are used, and why others are not."""
        left_out = f'; left out: {_describe(self.unused)}' if self.unused else ''
        return f'{len(self.used):,} instances with keypoints{left_out}'

    def refuse_faults(self, file: str) -> None:
        """Raises UserError where there are faults."""
        if self.faults:
            raise UserError(f'{file}: {_describe(self.faults)}. Mend these entries or take them out of the file')


def _describe(faults: Faults) -> str:
    return '; '.join(
        f'{len(ids):,} {fault} (id {ids[0]}{", ..." if len(ids) > 1 else ""})' for fault, ids in faults.items()
    )


def read_json(file: str) -> Any:
    """A file's content.

    Raises:
        UserError: It is missing or damaged.
    """
    _check_file(file)
    try:
        return json.loads(get_text(file))
    except (ValueError, RecursionError) as damage:
        raise UserError(f'{file} is damaged, or no JSON ({damage}): get it again') from damage


def read_boxes_as_json() -> None:
    """From here on MMPose's data sets of this process read a detector's boxes as JSON alone.

    By the name of the file they would read pickles and YAML with objects, too, which can run code.
    """
    for module in (base_coco_style_dataset, posetrack18_video_dataset):
        module.load = read_json


def _check_file(file: str) -> None:
    if '://' not in file and not os.path.isfile(file):
        raise UserError(
            f"{file} does not exist or is no file. Paths are relative to the current folder; a data set's are "
            'data_root, ann_file, data_prefix and bbox_file of its dataloader.dataset'
        )


def read_labels(
    file: str,
    num_keypoints: int,
    by_area: bool = False,
    in_mpii: bool = False,
    needed: Sequence[str] = COCO_LISTS,
) -> Tuple[Dict[str, list], LabelReport]:
    """Reads labels and looks through them.

    Args:
        file: In COCO's format or MMPose's for MPII.
        num_keypoints: K.
        by_area: Whether results are scored by the instances' areas.
        in_mpii: Whether it is in MPII's format; an instance's id is its place in the file.
        needed: The lists that COCO's format has to have here.

    Returns:
        The content in COCO's format, and what was found.

    Raises:
        UserError: It is missing or damaged, in another format, or has faults.
    """
    content = read_json(file)
    if in_mpii:
        content = _from_mpii(file, content)
    _check_lists(file, content, needed)
    report = _examine(content, num_keypoints, by_area)
    report.refuse_faults(file)
    return content, report


def _check_lists(file: str, content: Any, needed: Sequence[str]) -> None:
    """Refuses labels without a needed list of COCO's format, or with something else in the place of a list."""
    lists = content if isinstance(content, dict) else {}
    lacking = [key for key in COCO_LISTS if not isinstance(lists.get(key, None if key in needed else []), list)]
    if lacking:
        raise UserError(f"cannot read the labels in {file}: COCO's format has lists of {', '.join(lacking)}, too")


def check_people(file: str, content: Any) -> None:
    """Looks through labels of which only the images and boxes are used.

    Args:
        file: Where they were read from, for the messages.
        content: In COCO's format; ``annotations`` may be missing.

    Raises:
        UserError: They are in another format, or have faults.
    """
    _check_lists(file, content, COCO_LISTS[:1])
    report = LabelReport(defaultdict(list), [], defaultdict(list))
    _examine_lists(content, report)
    seen: Set[Any] = set()
    for person in content.get('annotations', ()):
        found = list(_common_faults(person, seen))
        box = _numbers(person['bbox']) if not found and 'bbox' in person else np.zeros(4)
        if box is None or box.size != 4:
            found.append('a box that is not four numbers')
        for fault in found:
            report.faults[f'annotations with {fault}'].append(_id(person))
    report.refuse_faults(file)


def read_boxes(file: str, content: Dict[str, list]) -> List[dict]:
    """Reads a detector's boxes and looks through them.

    Args:
        file: In COCO's format of results.
        content: The labels that list their images.

    Raises:
        UserError: It is missing or damaged, in another format, or has faults.
    """
    boxes = read_json(file)
    if not isinstance(boxes, list) or not all(isinstance(box, dict) and set(BOX_KEYS) <= set(box) for box in boxes):
        raise UserError(f'{file} is no list of detections with {", ".join(BOX_KEYS)}')
    images = {_id(image) for image in content['images'] if _is_whole(_id(image))}
    faults: Faults = defaultdict(list)
    for place, box in enumerate(boxes):
        for fault in _box_faults(box, images):
            faults[f'detections with {fault}'].append(place)
    LabelReport(faults, [], {}).refuse_faults(file)
    return boxes


def _box_faults(box: dict, images: Set[int]) -> Iterator[str]:
    if not _is_whole(box['image_id']) or box['image_id'] not in images:
        yield 'an image_id that the labels do not list, as of another set'
    if not _is_number(box['category_id']):
        yield 'a category_id that is no number'
    if not _is_number(box['score']):
        yield 'a score that is no number'
    corners = _numbers(box['bbox'])
    if corners is None or corners.size < 4:  # MMPose takes the first four
        yield 'a box that is not four numbers'


def _from_mpii(file: str, people: Any) -> Dict[str, list]:
    if not isinstance(people, list) or not all(isinstance(p, dict) and set(MPII_KEYS) <= set(p) for p in people):
        raise UserError(f'cannot read the labels in {file}: it is no list of instances with {", ".join(MPII_KEYS)}')
    content: Dict[str, list] = dict(images=[], annotations=[], categories=[dict(id=1)])
    for number, person in enumerate(people):
        (x, y), radius = person['center'], 100 * person['scale']
        box = [x - radius, y - radius, 2 * radius, 2 * radius]
        joints = [value for joint, v in zip(person['joints'], person['joints_vis']) for value in (*joint, v)]
        size = 1 << 30  # the labels have none
        content['images'].append(dict(id=number, file_name=person['image'], width=size, height=size))
        content['annotations'].append(dict(id=number, image_id=number, category_id=1, bbox=box, keypoints=joints))
    return content


def _examine(content: Dict[str, list], num_keypoints: int, by_area: bool) -> LabelReport:
    report = LabelReport(defaultdict(list), [], defaultdict(list))
    images, categories = _examine_lists(content, report)
    seen: Set[Any] = set()
    for person in content.get('annotations', ()):
        found = list(_faults(person, seen, num_keypoints))
        if categories and not found and person.get('category_id') not in categories:
            found = ['a category_id that the file does not list']
        reason = None if found else _why_unused(person, images)
        if by_area and not found and not reason and not person.get('area'):
            found = ['no area, by which results are scored']
        for fault in found:
            report.faults[f'annotations with {fault}'].append(_id(person))
        if reason:
            report.unused[f'with {reason}'].append(person['id'])
        elif not found:
            report.used.append(person)
    return report


def _examine_lists(
    content: Dict[str, list], report: LabelReport, are_sized: bool = True
) -> Tuple[Dict[int, dict], List[int]]:
    """The images by id and the ids of the categories; their faults go into the report."""
    images: Dict[int, dict] = {}
    for image in content['images']:
        found = list(_image_faults(image, images, are_sized))
        for fault in found:
            report.faults[f'images with {fault}'].append(_id(image))
        if not found:
            images[image['id']] = image
    categories = [_id(category) for category in content.get('categories', ())]
    without = [category for category in categories if not _is_whole(category)]
    if without:
        report.faults['categories with an id that is no whole number'].extend(without)
    return images, categories


def _id(entry: Any) -> Any:
    return entry.get('id') if isinstance(entry, dict) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) < LARGEST


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) < LARGEST  # True and False are numbers, too


def _numbers(values: Any) -> Optional[np.ndarray]:
    """A flat list of finite numbers as an array; None for anything else."""
    try:
        array = np.asarray(values)
    except ValueError:  # lists of several lengths
        return None
    return array if array.ndim == 1 and array.dtype.kind in 'iuf' and np.isfinite(array).all() else None


def _image_faults(image: dict, images: Dict[int, dict], are_sized: bool) -> Iterator[str]:
    if not _is_whole(_id(image)):
        yield 'an id that is no whole number'
        return
    if image['id'] in images:
        yield 'an id used twice'
    if not isinstance(image.get('file_name'), str):
        yield 'no file_name'
    if are_sized and not all(_is_number(image.get(side)) and image[side] > 0 for side in ('width', 'height')):
        yield 'no width and height above 0'
    if not _is_number(image.get('crowdIndex', 0)):
        yield 'a crowdIndex that is no number'


def _common_faults(person: dict, seen: Set[Any]) -> Iterator[str]:
    """The faults of an annotation that do not depend on how a data set reads boxes and keypoints."""
    if not _is_whole(_id(person)) and not isinstance(_id(person), str):
        yield 'no id'
        return
    if person['id'] in seen:
        yield 'an id used twice'
    seen.add(person['id'])
    for key in ('image_id', 'area', 'num_keypoints', 'score'):
        if not (_is_number(person.get(key)) and person[key] >= 0) and (key in person or key == 'image_id'):
            yield f'{key} that is no number from 0 on'
    if person.get('iscrowd', 0) not in (0, 1):
        yield 'an iscrowd that is neither 0 nor 1'


def _faults(person: dict, seen: Set[Any], num_keypoints: int) -> Iterator[str]:
    yield from _common_faults(person, seen)
    if not isinstance(person, dict) or 'bbox' not in person or 'keypoints' not in person:  # which MMPose leaves out
        return
    box, joints = _numbers(person['bbox']), _numbers(person['keypoints'])
    if box is None or box.size != 4:
        yield 'a box that is not four numbers'
    if joints is None:
        yield 'a coordinate that is no number'
    elif joints.size != 3 * num_keypoints and (joints.size or person.get('num_keypoints', 1)):
        yield f'not {num_keypoints} keypoints'
    elif ((joints[2::3] < 0) | (joints[2::3] > 2)).any():
        yield 'a visibility that is not 0, 1 or 2'
    elif box is not None and box.size == 4 and (box[2:] > 0).all():
        if _is_far(joints.reshape(-1, 3), box):
            yield 'a keypoint far from its box'


def _is_far(joints: np.ndarray, box: np.ndarray) -> bool:
    """Whether a labeled keypoint of K×3 is far from a box (x, y, width, height)."""
    labeled = joints[joints[:, 2] > 0, :2]
    return bool((np.abs(labeled - (box[:2] + box[2:] / 2)) > FAR * max(*box[2:], SMALL_BOX)).any())


def _why_unused(person: dict, images: Dict[int, dict]) -> Optional[str]:
    """Why MMPose leaves an instance without faults out, or why it teaches nothing."""
    if 'bbox' not in person or 'keypoints' not in person:
        return 'no box or no keypoints'
    if person.get('iscrowd'):
        return 'iscrowd'
    joints = np.asarray(person['keypoints']).reshape(-1, 3)
    if not person.get('num_keypoints', 1) or not (joints[:, 2] > 0).any() or joints[:, :2].max() <= 0:
        return 'no labeled keypoint'
    image = images.get(person['image_id'])
    if image is None:
        return 'an image_id that the file does not list'
    x, y, width, height = person['bbox']
    corners = np.clip([x, y, x + width, y + height], 0, [image['width'] - 1, image['height'] - 1] * 2)
    return None if (corners[2:] > corners[:2]).all() else 'a box without area in the image'


def _examine_parsed(file: str, kind: Any, options: Dict[str, Any], by_area: bool) -> LabelReport:
    """Looks through labels as they are parsed by a data set of class ``kind``, which has its own way to read them."""
    content = read_json(file)
    _check_lists(file, content, COCO_LISTS[:2])
    report = LabelReport(defaultdict(list), [], defaultdict(list))
    _examine_lists(content, report, are_sized=False)
    seen: Set[Any] = set()
    for person in content['annotations']:
        for fault in _common_faults(person, seen):
            report.faults[f'annotations with {fault}'].append(_id(person))
        if by_area and isinstance(person, dict) and not person.get('area'):
            report.faults['annotations with no area, by which results are scored'].append(_id(person))
    report.refuse_faults(file)
    reader = kind(**{**options, 'pipeline': [], 'lazy_init': True})
    parse = reader.parse_data_info
    now: List[Any] = [None]

    def parse_noting(raw: dict) -> Any:
        now[0] = raw['raw_ann_info']['id']
        return parse(raw)

    reader.parse_data_info = parse_noting
    try:
        with redirect_stdout(io.StringIO()):
            instances, _ = reader._load_annotations()
        for info in instances:
            now[0] = info['id']
            found = _parsed_fault(info, reader.metainfo['num_keypoints'])
            if found:
                report.faults[f'annotations with {found}'].append(info['id'])
            elif reader._is_valid_instance(info):
                report.used.append(info)
            else:
                report.unused['a crowd, without a labeled keypoint, or without a box in the image'].append(info['id'])
    except Exception as error:  # whatever a data set's own code says of a label
        where = '' if now[0] is None else f', in the annotation {now[0]}'
        raise UserError(
            f'{kind.__name__} cannot read the labels in {file}{where} ({type(error).__name__}: {error})'
        ) from error
    report.refuse_faults(file)
    return report


def _parsed_fault(info: dict, num_keypoints: int) -> Optional[str]:
    joints, visible, box = (
        np.asarray(info[key], np.float64).reshape(-1, size)
        for key, size in (('keypoints', 2), ('keypoints_visible', 1), ('bbox', 4))
    )
    if len(joints) != num_keypoints or len(visible) != num_keypoints:
        return f'not {num_keypoints} keypoints'
    if not (np.isfinite(joints).all() and np.isfinite(visible).all()):
        return 'a coordinate that is no number'
    if not np.isfinite(box).all():
        return 'a box that is not four numbers'
    if ((visible < 0) | (visible > 1)).any():  # the class has made 2 a 1
        return 'a visibility that is not 0, 1 or 2'
    whole = np.concatenate([box[0, :2], box[0, 2:] - box[0, :2]])
    if (whole[2:] > 0).all() and _is_far(np.concatenate([joints, visible], axis=1), whole):
        return 'a keypoint far from its box'
    return None


def check_labels(dataset: ConfigDict, by_area: bool = False) -> List[str]:
    """Looks through the labels that a data set's config names, before MMPose reads them; no image is opened.

    If the data set's class reads labels in its own way, unlike COCO's or MPII's, the labels are checked as that class
    parses them. Classes that are not derived from ``BaseCocoStyleDataset`` are not checked.

    Args:
        dataset: The config of a data set, or of a wrapper of others (its ``dataset`` or ``datasets``).
        by_area: Whether results on it are scored by the instances' areas.

    Returns:
        For the log, a line for each file: how many instances are used, and how many are left out or teach nothing.

    Raises:
        UserError: A file is missing or damaged, lists an image or an annotation twice, or has anything but a finite
            number where MMPose or a metric needs one, a visibility other than 0, 1 and 2, an unknown category, no area
            where that is needed, a keypoint more than ten box sizes away from its box, another number of keypoints than
            the data set's metainfo, or, without ``bbox_file``, no instance with a labeled keypoint. Or ``bbox_file`` is
            not JSON (other files could run code when they are loaded), names an image that the labels do not list, or
            has no number where one belongs.
    """
    parts = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    if parts:
        return [line for part in parts for line in check_labels(part, by_area)]
    kind: Any = DATASETS.get(dataset['type']) if isinstance(dataset['type'], str) else dataset['type']
    boxes, file = dataset.get('bbox_file'), dataset.get('ann_file')
    if not inspect.isclass(kind) or not issubclass(kind, BaseCocoStyleDataset) or not file:
        return []
    if boxes:
        if not boxes.endswith('.json'):
            raise UserError(f'bbox_file={boxes!r}: boxes are read from JSON alone, since other files can run code')
        _check_file(boxes)
    if dataset.get('data_root') and not is_abs(file):
        file = join_path(dataset['data_root'], file)
    stamp = os.stat(file).st_mtime_ns if os.path.isfile(file) else 0
    num_keypoints = kind._load_metainfo(dataset.get('metainfo'))['num_keypoints']
    lines = []
    if boxes:
        lines = [_count_boxes(boxes, os.stat(boxes).st_mtime_ns, file, stamp)]
    in_mpii, methods = issubclass(kind, MpiiDataset), ('_load_annotations', 'parse_data_info')
    if not in_mpii and any(getattr(kind, name) is not getattr(BaseCocoStyleDataset, name) for name in methods):
        if boxes:
            return lines
        options = {key: value for key, value in dataset.items() if key not in ('type', 'pipeline')}
        wanted: Any = kind  # mypy takes a class for unhashable
        people, counts = _count_parsed(file, stamp, wanted, json.dumps(options, default=str), by_area)
    else:
        needed = ('images', 'categories') if boxes else COCO_LISTS[:2]
        people, counts = _count(file, stamp, num_keypoints, by_area, in_mpii, needed)
    if not boxes and not people:
        raise UserError(f'{file} has no instance with a labeled keypoint in an image: {counts}')
    return [f'{file}: {counts}', *lines]


@lru_cache(maxsize=16)
def _count(file: str, stamp: int, *options: Any) -> Tuple[int, str]:
    """Counts by :func:`read_labels`; a file is read again if its time of change, ``stamp``, differs."""
    report = read_labels(file, *options)[1]
    return len(report.used), report.counts()


@lru_cache(maxsize=16)
def _count_parsed(file: str, stamp: int, kind: Any, options: str, by_area: bool) -> Tuple[int, str]:
    report = _examine_parsed(file, kind, json.loads(options), by_area)
    return len(report.used), report.counts()


@lru_cache(maxsize=16)
def _count_boxes(boxes: str, stamp: int, file: str, labels_stamp: int) -> str:
    content = read_json(file)
    _check_lists(file, content, ('images', 'categories'))
    return f'{boxes}: {len(read_boxes(boxes, content)):,} boxes in the images of {file}'
