"""Checks a data set's files before a long run finds out."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..datasets.label_checks import LabelReport, read_boxes, read_json, read_labels
from ..datasets.safe_samples import check_whole, read_image
from ..errors import UserError, printable


class Finding(NamedTuple):
    """What one check found."""

    level: str  # 'ok', 'warning' or 'error'
    subject: str  # the file or folder
    message: str  # what is wrong with it and what to do, or what was counted


class ExpectedLabels(NamedTuple):
    """One annotation file and what is known of it."""

    ann_file: str
    images: str  # the folder of its images
    num_images: int
    num_people: Optional[int] = None  # with keypoints, where the number is published
    num_keypoints: int = 17
    has_areas: bool = True
    boxes: Optional[str] = None  # a detector's results for its images
    downloads: str = ''


COCO = 'cocodataset.org'
CROWDPOSE = 'mmpose.readthedocs.io, "2D Body Keypoint Datasets", CrowdPose'
DETECTIONS = 'the person detection results that the same page links for COCO'
LAYOUTS: Dict[str, List[ExpectedLabels]] = {
    'coco': [
        ExpectedLabels('annotations/person_keypoints_train2017.json', 'train2017', 118287, 149813, downloads=COCO),
        ExpectedLabels(
            'annotations/person_keypoints_val2017.json',
            'val2017',
            5000,
            6352,
            boxes='person_detection_results/COCO_val2017_detections_AP_H_56_person.json',
            downloads=COCO,
        ),
    ],
    'crowdpose': [
        ExpectedLabels(
            'annotations/mmpose_crowdpose_trainval.json',
            'images',
            12000,
            num_keypoints=14,
            has_areas=False,
            downloads=CROWDPOSE,
        ),
        ExpectedLabels(
            'annotations/mmpose_crowdpose_test.json',
            'images',
            8000,
            num_keypoints=14,
            has_areas=False,
            boxes='annotations/det_for_crowd_test_0.1_0.5.json',
            downloads=CROWDPOSE,
        ),
    ],
}
SIDES = (('left', 'right'), (r'(?<![a-z])l(?![a-z])', 'r'), ('^l(?=[a-z])', 'r'))  # in names, as patterns
SAME_BOX = 0.95  # IoU of boxes that are of one instance, labeled twice
ORIENTATION = 0x112  # of EXIF
MPII = [('annotations/mpii_train.json', 22246), ('annotations/mpii_val.json', 2958)]


def examine(data: str, root: str, coco_root: Optional[str] = None) -> List[Finding]:
    """Checks a data set's files, counts, labels, images and detections.

    Args:
        data: ``'coco'``, ``'crowdpose'`` or ``'mpii'``.
        root: Its folder, ``data_root`` in the configs.
        coco_root: With ``'crowdpose'``, COCO's folder: looks for images of COCO val in CrowdPose trainval.

    Returns:
        What was found, good and bad.

    Raises:
        UserError: The data set is unknown, or there is no such folder.
    """
    folder = Path(root)
    if data not in (*LAYOUTS, 'mpii'):
        raise UserError(f'--data is coco, crowdpose or mpii, not {data!r}')
    if not folder.is_dir():
        raise UserError(f'--root {root} is no folder: give the one that holds annotations/ ({data}: docs/data.md)')
    if data == 'mpii':
        return _examine_mpii(folder)
    findings: List[Finding] = []
    for labels in LAYOUTS[data]:
        findings += _examine_labels(folder, labels)
    if data == 'crowdpose' and coco_root is not None:
        findings += _find_coco_val_images(folder, Path(coco_root))
    return findings


def examine_labels(file: str, images: str) -> List[Finding]:
    """Checks labels in COCO format, of any keypoints, and their images.

    Args:
        file: The labels.
        images: The folder of the images.

    Returns:
        What was found, good and bad. What is unlikely (keypoints that may be swapped, instances that are labeled twice)
        is a warning.
    """
    name = Path(file).name
    try:
        content = read_json(file)
        category = keypoint_category(content, file)
        joints = category['keypoints']
        people = [one for one in content['annotations'] if one.get('category_id') == category['id']]
        boxless = [one['id'] for one in people if one.get('keypoints') and 'bbox' not in one]
        if boxless:
            message = f'{len(boxless):,} annotations have keypoints and no bbox (id {boxless[0]}): boxes are needed'
            return [Finding('error', name, message)]
        report = read_labels(file, len(joints))[1]
    except UserError as error:
        return [Finding('error', name, str(error))]
    listed = {image['id']: image for image in content['images']}
    if not report.used:
        return [Finding('error', name, f'no instance has a labeled keypoint in an image: {report.counts()}')]
    folder = Path(images)
    expected = ExpectedLabels(name, folder.name, len(listed), len(report.used), len(joints))
    findings = [
        Finding('ok', name, f'{len(listed):,} images, {report.counts()}, {len(joints)} keypoints each'),
        _check_sizes(expected, report.used, listed),
        *_check_sides(name, joints, report.used),
        _check_duplicates(name, report.used, listed),
        *_check_images(folder.parent, expected, listed),
    ]
    return [finding for finding in findings if finding is not None]


def keypoint_category(content: Any, file: str) -> Dict[str, Any]:
    """The category of a COCO file whose instances have keypoints.

    Raises:
        UserError: There is none, or more than one, or its keypoints have no names.
    """
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ('images', 'annotations', 'categories')
    ):
        raise UserError(f'{file} is not in COCO format, which has lists of images, annotations and categories')
    labeled = {one.get('category_id') for one in content['annotations'] if any(one.get('keypoints') or ())}
    if not labeled:
        raise UserError(f'{file} has no keypoints in any of its {len(content["annotations"]):,} annotations')
    found = [category for category in content['categories'] if category.get('id') in labeled]
    if len(found) != 1:
        told = ', '.join(str(category.get('name', category.get('id'))) for category in found) or 'none that is listed'
        raise UserError(
            f'{file} has keypoints of {len(found)} categories ({told}), and a student learns those of one: take the '
            'others out'
        )
    names = found[0].get('keypoints') or []
    if not names or not all(isinstance(one, str) and one.isprintable() for one in names) or len({*names}) < len(names):
        raise UserError(
            f'{file}: the category {found[0].get("name", found[0]["id"])} has to list the names of its keypoints, each '
            'once and in printable letters, under "keypoints"'
        )
    return found[0]


def mirror_pairs(names: Sequence[str]) -> List[Tuple[int, int]]:
    """Index pairs (left, right) of keypoints whose names differ only in the side, such as left_eye and right_eye."""
    places = {name.lower(): place for place, name in enumerate(names)}
    pairs = []
    for name, place in places.items():
        for left, right in SIDES:
            other = re.sub(left, right, name, count=1)
            if other != name and other in places:
                pairs.append((place, places[other]))
                break
    return pairs


def print_findings(findings: Sequence[Finding]) -> bool:
    """Prints them as a table.

    Returns:
        Whether no error is among them.
    """
    table = Table('level', 'where', 'what', box=box.SIMPLE, show_header=False)
    for column in table.columns[1:]:
        column.overflow = 'fold'  # names are shown in full
    colors = dict(ok='green', warning='yellow', error='red')
    for finding in findings:
        level = Text(finding.level, style=colors[finding.level])
        table.add_row(level, Text(printable(finding.subject)), Text(printable(finding.message)))
    Console().print(table)
    return all(finding.level != 'error' for finding in findings)


def _load(read: Callable[..., Any], folder: Path, name: str, downloads: str, *options: Any) -> Any:
    """What a file holds, or the finding that says why it cannot be used."""
    try:
        return read(str(folder / name), *options)
    except UserError as error:
        return Finding('error', name, f'{error}. It comes from {downloads}')


def _examine_labels(folder: Path, labels: ExpectedLabels) -> List[Finding]:
    loaded = _load(read_labels, folder, labels.ann_file, labels.downloads, labels.num_keypoints, labels.has_areas)
    if isinstance(loaded, Finding):
        return [loaded]
    content, report = loaded
    images = {image['id']: image for image in content['images']}
    findings: List[Optional[Finding]] = [
        _check_counts(labels, len(images), report),
        _check_sizes(labels, report.used, images),
        *_check_images(folder, labels, images),
    ]
    if labels.boxes is not None:
        findings.append(_check_boxes(folder, labels, content))
    return [finding for finding in findings if finding is not None]


def _check_counts(labels: ExpectedLabels, num_images: int, report: LabelReport) -> Finding:
    counted = f'{num_images:,} images, {report.counts()}'
    expected = f'{labels.num_images:,} images'
    if labels.num_people is not None:
        expected += f', {labels.num_people:,} instances'
    if num_images != labels.num_images or labels.num_people not in (None, len(report.used)):
        return Finding(
            'warning', labels.ann_file, f'{counted}; the published set has {expected}: a part, or another version'
        )
    return Finding('ok', labels.ann_file, counted)


def _check_sizes(labels: ExpectedLabels, people: List[dict], images: Dict[int, dict]) -> Optional[Finding]:
    """Finds keypoints outside of their images.

    In CrowdPose's original labels, width and height of the images are swapped: keypoints fit if they are swapped back.
    """
    outside, swapped = 0, 0
    for person in people:
        image, joints = images[person['image_id']], np.reshape(person['keypoints'], (-1, 3))
        joints = joints[joints[:, 2] > 0, :2]
        size = np.array([image['width'], image['height']])
        if (joints > size + 1).any():
            outside += 1
            swapped += bool((joints <= size[::-1] + 1).all())
    if swapped > 0.5 * outside and swapped > 0.01 * len(people):
        return Finding(
            'error',
            labels.ann_file,
            f'width and height of the images are swapped ({swapped:,} instances fit only so), as in the original '
            f'CrowdPose labels; take the corrected mmpose_crowdpose_*.json from {labels.downloads}',
        )
    if outside:
        return Finding('warning', labels.ann_file, f'{outside:,} instances have keypoints outside of their image')
    return None


def _check_sides(name: str, joints: Sequence[str], people: List[dict]) -> List[Finding]:
    """Finds keypoints without a counterpart, and pairs that mostly lie the other way round than the other pairs."""
    pairs = mirror_pairs(joints)
    paired = {joint for pair in pairs for joint in pair}
    alone = [one for k, one in enumerate(joints) if k not in paired and re.search('left|right', one.lower())]
    findings = []
    if alone:
        message = f'{", ".join(alone)} has no keypoint of the other side: it will be mirrored to itself'
        findings.append(Finding('warning', name, message))
    if len(pairs) < 3 or not people:
        return findings
    poses = np.array([person['keypoints'] for person in people], float).reshape(len(people), -1, 3)
    left, right = poses[:, [pair[0] for pair in pairs]], poses[:, [pair[1] for pair in pairs]]
    side = np.sign(left[..., 0] - right[..., 0]) * ((left[..., 2] > 0) & (right[..., 2] > 0))
    others = np.sign(side.sum(1, keepdims=True) - side)
    compared = np.maximum((side * others != 0).sum(0), 1)
    agrees = (side * others > 0).sum(0) / compared
    for place, (k, other) in enumerate(pairs):
        if agrees[place] < 0.4 and compared[place] >= 10:
            findings.append(
                Finding(
                    'warning',
                    name,
                    f'{joints[k]} and {joints[other]} lie the other way round than the other pairs of an instance in '
                    f'{1 - agrees[place]:.0%} of {compared[place]:,} instances: are the two exchanged?',
                )
            )
    return findings


def _check_duplicates(name: str, people: List[dict], images: Dict[int, dict]) -> Optional[Finding]:
    """Instances that are labeled twice, and images that are listed twice."""
    by_image: Dict[int, List[np.ndarray]] = defaultdict(list)
    for person in people:
        by_image[person['image_id']].append(np.array(person['bbox'], float))
    duplicates = 0
    for boxes in by_image.values():
        start = np.array(boxes)[:, :2]
        end = start + np.array(boxes)[:, 2:]
        shared = (np.minimum(end[:, None], end) - np.maximum(start[:, None], start)).clip(0).prod(-1)
        area = (end - start).prod(-1)
        duplicates += int((np.triu(shared / (area[:, None] + area - shared), 1) > SAME_BOX).sum())
    files = len(images) - len({image['file_name'] for image in images.values()})
    told = [f'{duplicates:,} instances labeled twice (the same box)'] * bool(duplicates)
    told += [f'{files:,} images listed twice'] * bool(files)
    return Finding('warning', name, '; '.join(told)) if told else None


def _check_images(folder: Path, labels: ExpectedLabels, images: Dict[int, dict]) -> List[Finding]:
    root = folder / labels.images
    if not root.is_dir():
        return [
            Finding(
                'error', f'{labels.images}/', f'missing; from {labels.downloads}' if labels.downloads else 'missing'
            )
        ]
    missing = sorted(image['file_name'] for image in images.values() if not (root / image['file_name']).exists())
    if missing:
        message = f'{len(missing):,} images of {labels.ann_file} are missing, such as {missing[0]}'
        return [Finding('error', f'{labels.images}/', message)]
    wrong = []
    sample = sorted(images.values(), key=lambda image: image['id'])[:: max(1, len(images) // 500)]
    for image in sample:
        try:
            check_whole(str(root / image['file_name']))
            with Image.open(root / image['file_name']) as opened:
                size = opened.size
                if opened.getexif().get(ORIENTATION, 1) >= 5:  # turned by 90 degrees when it is read for training
                    size = size[::-1]
        except Exception as error:  # Pillow's readers raise all kinds
            message = f'cannot be read ({error}); download it again'
            return [Finding('error', f'{labels.images}/{image["file_name"]}', message)]
        if size != (image['width'], image['height']):
            wrong.append(f'{image["file_name"]} is {size[0]}×{size[1]}, not {image["width"]}×{image["height"]}')
    if wrong:
        message = f'{len(wrong)} of {len(sample)} images have another size than {labels.ann_file} says: {wrong[0]}'
        return [Finding('error', f'{labels.images}/', message)]
    return [
        Finding('ok', f'{labels.images}/', f'all {len(images):,} images of {labels.ann_file}; sizes of {len(sample)}')
    ]


def _check_boxes(folder: Path, labels: ExpectedLabels, content: Dict[str, list]) -> Finding:
    name = str(labels.boxes)
    boxes = _load(read_boxes, folder, name, DETECTIONS, content)
    if isinstance(boxes, Finding):
        return boxes
    people = sum(box['category_id'] == 1 for box in boxes)
    without = len({image['id'] for image in content['images']} - {box['image_id'] for box in boxes})
    return Finding('ok', name, f'{people:,} boxes of people; {without:,} images without one')


def _examine_mpii(folder: Path) -> List[Finding]:
    findings = []
    for name, count in MPII:
        loaded = _load(read_labels, folder, name, 'the same page as CrowdPose, MPII', 16, False, True)
        if isinstance(loaded, Finding):
            findings.append(loaded)
            continue
        people = loaded[0]['images']
        level = 'ok' if len(people) == count else 'warning'
        findings.append(Finding(level, name, f'{len(people):,} instances; the published set has {count:,}'))
        there = {path.name for path in (folder / 'images').glob('*')}
        missing = sorted({person['file_name'] for person in people} - there)
        if missing:
            message = (
                f'{len(missing):,} images of {name} are missing, such as {missing[0]}; from human-pose.mpi-inf.mpg.de'
            )
            findings.append(Finding('error', 'images/', message))
    if not (folder / 'annotations' / 'mpii_gt_val.mat').is_file():
        findings.append(Finding('error', 'annotations/mpii_gt_val.mat', 'missing: PCKh needs the sizes of the heads'))
    return findings


def fingerprints(folder: Path, names: Iterable[str], size: int = 8) -> Dict[str, int]:
    """64 bits an image: whether each of 8×8 cells is darker than its right neighbor. Unreadable images are left out."""
    bits = {}
    for name in names:
        try:
            image = read_image(str(folder / name), cv2.IMREAD_REDUCED_GRAYSCALE_4)
        except UserError:  # of many, some may be missing
            continue
        else:
            small = cv2.resize(image, (size + 1, size), interpolation=cv2.INTER_AREA).astype(int)
            bits[name] = int(''.join('01'[int(b)] for b in (small[:, 1:] > small[:, :-1]).flatten()), 2)
    return bits


def _find_coco_val_images(folder: Path, coco_root: Path) -> List[Finding]:
    labels = LAYOUTS['crowdpose'][0]
    trainval = _load(read_json, folder, labels.ann_file, labels.downloads)
    val = _load(read_json, coco_root, 'annotations/person_keypoints_val2017.json', COCO)
    for content in (trainval, val):
        if isinstance(content, Finding):
            return [content]
    ours = fingerprints(folder / 'images', [image['file_name'] for image in trainval['images']])
    theirs = fingerprints(coco_root / 'val2017', [image['file_name'] for image in val['images']])
    for images, found in ((folder / 'images', ours), (coco_root / 'val2017', theirs)):
        if not found:
            return [Finding('error', f'{images}/', 'no image can be read: COCO val was not looked for in CrowdPose')]
    names = {bits: name for name, bits in theirs.items()}
    same = sorted((name, names[bits]) for name, bits in ours.items() if bits in names)
    if not same:
        return [
            Finding(
                'ok', labels.ann_file, f'none of {len(ours):,} images looks like one of {len(theirs):,} of COCO val'
            )
        ]
    message = f'{len(same)} images look like images of COCO val ({same[0][0]} like {same[0][1]}): '
    return [
        Finding('warning', labels.ann_file, message + 'report no COCO val of a model or teacher trained on CrowdPose')
    ]
