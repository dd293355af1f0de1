"""Checks a data set's files before a long run finds out."""

from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence

import cv2
import numpy as np
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..datasets.label_checks import LabelReport, read_boxes, read_json, read_labels
from ..datasets.safe_samples import check_whole, read_picture
from ..errors import UserError, printable


class Finding(NamedTuple):
    """What one check found."""

    level: str  # 'ok', 'warning' or 'error'
    subject: str  # the file or folder
    message: str  # what is wrong with it and what to do, or what was counted


class ExpectedLabels(NamedTuple):
    """One annotation file and what is known of it."""

    ann_file: str
    images: str  # the folder of its pictures
    num_images: int
    num_people: Optional[int] = None  # with key points, where the number is published
    num_keypoints: int = 17
    has_areas: bool = True
    boxes: Optional[str] = None  # a detector's results for its pictures
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
ORIENTATION = 0x112  # of EXIF
MPII = [('annotations/mpii_train.json', 22246), ('annotations/mpii_val.json', 2958)]


def examine(data: str, root: str, coco_root: Optional[str] = None) -> List[Finding]:
    """Checks a data set's files, counts, labels, pictures and detections.

    Args:
        data: ``'coco'``, ``'crowdpose'`` or ``'mpii'``.
        root: Its folder, ``data_root`` in the configs.
        coco_root: With ``'crowdpose'``, COCO's folder: looks for pictures of COCO val in CrowdPose trainval.

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
        findings += _find_coco_val_pictures(folder, Path(coco_root))
    return findings


def print_findings(findings: Sequence[Finding]) -> bool:
    """Prints them as a table.

    Returns:
        Whether no error is among them.
    """
    table = Table('level', 'where', 'what', box=box.SIMPLE, show_header=False)
    for column in table.columns[1:]:
        column.overflow = 'fold'  # names are shown in full
    colours = dict(ok='green', warning='yellow', error='red')
    for finding in findings:
        level = Text(finding.level, style=colours[finding.level])
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
        *_check_pictures(folder, labels, images),
    ]
    if labels.boxes is not None:
        findings.append(_check_boxes(folder, labels, content))
    return [finding for finding in findings if finding is not None]


def _check_counts(labels: ExpectedLabels, num_images: int, report: LabelReport) -> Finding:
    counted = f'{num_images:,} pictures, {report.counts()}'
    expected = f'{labels.num_images:,} pictures'
    if labels.num_people is not None:
        expected += f', {labels.num_people:,} people'
    if num_images != labels.num_images or labels.num_people not in (None, len(report.used)):
        return Finding(
            'warning', labels.ann_file, f'{counted}; the published set has {expected}: a part, or another version'
        )
    return Finding('ok', labels.ann_file, counted)


def _check_sizes(labels: ExpectedLabels, people: List[dict], images: Dict[int, dict]) -> Optional[Finding]:
    """CrowdPose's original labels have width and height swapped: joints lie outside, and inside when swapped back."""
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
            f'width and height of the pictures are swapped ({swapped:,} people fit only so), as in the original '
            f'CrowdPose labels; take the corrected mmpose_crowdpose_*.json from {labels.downloads}',
        )
    if outside:
        return Finding('warning', labels.ann_file, f'{outside:,} people have joints outside of their picture')
    return None


def _check_pictures(folder: Path, labels: ExpectedLabels, images: Dict[int, dict]) -> List[Finding]:
    pictures = folder / labels.images
    if not pictures.is_dir():
        return [Finding('error', f'{labels.images}/', f'missing; from {labels.downloads}')]
    there = {path.name for path in pictures.iterdir()}
    missing = sorted(image['file_name'] for image in images.values() if image['file_name'] not in there)
    if missing:
        message = f'{len(missing):,} pictures of {labels.ann_file} are missing, such as {missing[0]}'
        return [Finding('error', f'{labels.images}/', message)]
    wrong = []
    sample = sorted(images.values(), key=lambda image: image['id'])[:: max(1, len(images) // 500)]
    for image in sample:
        try:
            check_whole(str(pictures / image['file_name']))
            with Image.open(pictures / image['file_name']) as picture:
                size = picture.size
                if picture.getexif().get(ORIENTATION, 1) >= 5:  # turned by 90 degrees when it is read for training
                    size = size[::-1]
        except Exception as error:  # Pillow's readers raise all kinds
            message = f'cannot be read ({error}); download it again'
            return [Finding('error', f'{labels.images}/{image["file_name"]}', message)]
        if size != (image['width'], image['height']):
            wrong.append(f'{image["file_name"]} is {size[0]}×{size[1]}, not {image["width"]}×{image["height"]}')
    if wrong:
        message = f'{len(wrong)} of {len(sample)} pictures have another size than {labels.ann_file} says: {wrong[0]}'
        return [Finding('error', f'{labels.images}/', message)]
    return [
        Finding('ok', f'{labels.images}/', f'all {len(images):,} pictures of {labels.ann_file}; sizes of {len(sample)}')
    ]


def _check_boxes(folder: Path, labels: ExpectedLabels, content: Dict[str, list]) -> Finding:
    name = str(labels.boxes)
    boxes = _load(read_boxes, folder, name, DETECTIONS, content)
    if isinstance(boxes, Finding):
        return boxes
    people = sum(box['category_id'] == 1 for box in boxes)
    without = len({image['id'] for image in content['images']} - {box['image_id'] for box in boxes})
    return Finding('ok', name, f'{people:,} boxes of people; {without:,} pictures without one')


def _examine_mpii(folder: Path) -> List[Finding]:
    findings = []
    for name, count in MPII:
        loaded = _load(read_labels, folder, name, 'the same page as CrowdPose, MPII', 16, False, True)
        if isinstance(loaded, Finding):
            findings.append(loaded)
            continue
        people = loaded[0]['images']
        level = 'ok' if len(people) == count else 'warning'
        findings.append(Finding(level, name, f'{len(people):,} people; the published set has {count:,}'))
        there = {path.name for path in (folder / 'images').glob('*')}
        missing = sorted({person['file_name'] for person in people} - there)
        if missing:
            message = (
                f'{len(missing):,} pictures of {name} are missing, such as {missing[0]}; from human-pose.mpi-inf.mpg.de'
            )
            findings.append(Finding('error', 'images/', message))
    if not (folder / 'annotations' / 'mpii_gt_val.mat').is_file():
        findings.append(Finding('error', 'annotations/mpii_gt_val.mat', 'missing: PCKh needs the sizes of the heads'))
    return findings


def _fingerprints(folder: Path, names: Iterable[str], size: int = 8) -> Dict[str, int]:
    """64 bits a picture: whether each of 8×8 cells is brighter than its right neighbour."""
    bits = {}
    for name in names:
        try:
            picture = read_picture(str(folder / name), cv2.IMREAD_REDUCED_GRAYSCALE_4)
        except UserError:  # of many, some may be missing
            continue
        else:
            small = cv2.resize(picture, (size + 1, size), interpolation=cv2.INTER_AREA).astype(int)
            bits[name] = int(''.join('01'[int(b)] for b in (small[:, 1:] > small[:, :-1]).flatten()), 2)
    return bits


def _find_coco_val_pictures(folder: Path, coco_root: Path) -> List[Finding]:
    labels = LAYOUTS['crowdpose'][0]
    trainval = _load(read_json, folder, labels.ann_file, labels.downloads)
    val = _load(read_json, coco_root, 'annotations/person_keypoints_val2017.json', COCO)
    for content in (trainval, val):
        if isinstance(content, Finding):
            return [content]
    ours = _fingerprints(folder / 'images', [image['file_name'] for image in trainval['images']])
    theirs = _fingerprints(coco_root / 'val2017', [image['file_name'] for image in val['images']])
    for pictures, found in ((folder / 'images', ours), (coco_root / 'val2017', theirs)):
        if not found:
            return [
                Finding('error', f'{pictures}/', 'no picture can be read: COCO val was not looked for in CrowdPose')
            ]
    names = {bits: name for name, bits in theirs.items()}
    same = sorted((name, names[bits]) for name, bits in ours.items() if bits in names)
    if not same:
        return [
            Finding(
                'ok', labels.ann_file, f'none of {len(ours):,} pictures looks like one of {len(theirs):,} of COCO val'
            )
        ]
    message = f'{len(same)} pictures look like pictures of COCO val ({same[0][0]} like {same[0][1]}): '
    return [
        Finding('warning', labels.ann_file, message + 'report no COCO val of a model or teacher trained on CrowdPose')
    ]
