"""From label files to what configs need: two sets, keypoints with limbs and mirror pairs, counts."""

import hashlib
import json
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from mmengine.config import Config
from mmpose.registry import DATASETS

from ...datasets.label_checks import read_json, read_labels
from ...engine.atomic_backend import AtomicLocalBackend
from ...errors import UserError
from ...poses import Skeleton, load_skeleton
from ..doctor import Finding, examine_labels, fingerprints, keypoint_category, mirror_pairs, print_findings

FEW = 50  # instances, with fewer there is nothing to train
VAL_SHARE = 0.1  # of the groups of images, where no validation set is given
SIGMA = 0.05  # OKS's, of keypoints that COCO does not know
KEPT = ('id', 'image_id', 'category_id', 'iscrowd', 'bbox', 'area', 'num_keypoints', 'keypoints')


class Data(NamedTuple):
    """What is trained and tested on.

    Args:
        folder: Where ``train.json`` and ``val.json`` lie.
        images: The folder of the images.
        val_images: The same of ``val.json``.
        skeleton: The keypoints.
        dataset_type: MMPose's class.
        metainfo: The keypoints for a config, where they are not the class's own.
        people: How many instances with keypoints, by ``'train'`` and ``'val'``.
        num_images: How many images, by ``'train'`` and ``'val'``.
        has_areas, has_hidden, has_crowd: Whether the validation set has areas, hidden keypoints (v = 1), a crowd index
            that is above 0.1 somewhere: up to there CrowdPose counts images as easy.
        shape: The median of the boxes' width over height.
        findings: Of the doctor.
        notes: For the report: where the validation set and the keypoints come from.
    """

    folder: Path
    images: Path
    val_images: Path
    skeleton: Skeleton
    dataset_type: str
    metainfo: Optional[dict]
    people: Dict[str, int]
    num_images: Dict[str, int]
    has_areas: bool
    has_hidden: bool
    has_crowd: bool
    shape: float
    findings: List[Finding]
    notes: List[str]


def prepare_data(labels: Sequence[str], images: Sequence[str], out: Path, metainfo: Optional[str] = None) -> Data:
    """Checks labels by the doctor, and writes ``data/train.json``, ``data/val.json`` and own keypoints' metainfo.

    Args:
        labels: The training set, and the validation set, in COCO format; of one alone a tenth is set apart.
        images: The folder of the images, or one for each label file.
        out: The folder to write to.
        metainfo: A metainfo file or the name of a data set's class, in place of the labels' own names and limbs.

    Raises:
        UserError: The doctor finds an error, the two differ in their keypoints, or there are too few instances.
    """
    folders = [Path(folder).absolute() for folder in images] * (len(labels) if len(images) == 1 else 1)
    if len(folders) != len(labels):
        raise UserError('--images is one folder, or one for each file of --labels')
    findings = [finding for file, folder in zip(labels, folders) for finding in examine_labels(file, str(folder))]
    if not print_findings(findings):
        faults = '; '.join(f'{one.subject}: {one.message}' for one in findings if one.level == 'error')
        raise UserError(f'the labels cannot be used: {faults}')
    contents = [_one_category(read_json(file), file) for file in labels]
    joints = [content['categories'][0]['keypoints'] for content in contents]
    if joints[0] != joints[-1]:
        raise UserError(f'{labels[0]} and {labels[1]} have other keypoints: {joints[0]} and {joints[1]}')
    notes = []
    if len(contents) == 1:
        contents, note = _split(contents[0], folders[0])
        notes.append(note)
    else:
        shared = {image['file_name'] for image in contents[0]['images']} & {
            image['file_name'] for image in contents[1]['images']
        }
        if shared and folders[0] == folders[1]:
            raise UserError(
                f'{len(shared):,} images, such as {min(shared)}, are in both {labels[0]} and {labels[1]}: what is '
                'trained on cannot be tested on'
            )
    kind, info, told = _joints(contents[0]['categories'][0], metainfo, out / 'configs' / 'metainfo.py')
    skeleton = load_skeleton(info or kind)
    if skeleton.num_keypoints != len(joints[0]):
        raise UserError(f'--metainfo has {skeleton.num_keypoints} keypoints, the labels {len(joints[0])}')
    notes += told
    used: Dict[str, List[dict]] = {}
    for name, content in zip(('train', 'val'), contents):
        path = out / 'data' / f'{name}.json'
        AtomicLocalBackend().put_text(json.dumps(content), path)
        used[name] = read_labels(str(path), len(joints[0]))[1].used
    people = {name: len(found) for name, found in used.items()}
    if people['train'] < FEW or not people['val']:
        raise UserError(
            f'{people["train"]} instances to train on and {people["val"]} to test on are too few: label {FEW} at '
            'least, a network of any use needs hundreds'
        )
    levels = {v for person in used['val'] for v in person['keypoints'][2::3]}
    boxes = np.array([person['bbox'] for person in used['train']], float)
    crowd = [image.get('crowdIndex') for image in contents[1]['images']]
    return Data(
        out / 'data',
        folders[0],
        folders[-1],
        skeleton,
        kind,
        info,
        people,
        {name: len(content['images']) for name, content in zip(('train', 'val'), contents)},
        all(person.get('area') for person in used['val']),
        1 in levels,
        None not in crowd and max(crowd) > 0.1,
        float(np.median(boxes[:, 2] / boxes[:, 3])),
        findings,
        notes,
    )


def digest_of(*files: Optional[str]) -> str:
    """12 hexadecimal digits of the SHA-256 of files' content."""
    digest = hashlib.sha256()
    for file in files:
        if file is not None and Path(file).is_file():
            digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:12]


def _one_category(content: dict, file: str) -> dict:
    """The labels of the one category that has keypoints, without segmentations; the category's id becomes 1."""
    category = keypoint_category(content, file)
    people = [
        {**{key: person[key] for key in KEPT if key in person}, 'category_id': 1}
        for person in content['annotations']
        if person['category_id'] == category['id'] and person.get('keypoints') and 'bbox' in person
    ]
    for person in people:
        person.setdefault('iscrowd', 0)
        person.setdefault('num_keypoints', sum(v > 0 for v in person['keypoints'][2::3]))
        person.setdefault('area', 0.0)  # COCO's evaluation wants the key, where it does not use the area
    return dict(images=content['images'], annotations=people, categories=[dict(category, id=1)])


def _split(content: dict, images: Path) -> Tuple[List[dict], str]:
    """Sets groups of images apart for validation; a group is a video, a folder, or images that look alike."""
    groups = _groups(content['images'], images)
    names = sorted(set(groups))
    count = max(1, round(VAL_SHARE * len(names)))
    if len(names) < 2:
        raise UserError('all images are of one video or folder: give a validation set, --labels train.json val.json')
    chosen = set(np.random.default_rng(0).permutation(names)[:count].tolist())
    apart = {image['id'] for image, group in zip(content['images'], groups) if group in chosen}
    parts = [
        dict(
            content,
            images=[image for image in content['images'] if (image['id'] in apart) is wanted],
            annotations=[person for person in content['annotations'] if (person['image_id'] in apart) is wanted],
        )
        for wanted in (False, True)
    ]
    note = (
        f'No validation set was given: {len(apart):,} of {len(groups):,} images were set apart, in whole groups of '
        f'images that belong together ({len(names):,} groups: a video_id or a folder, or images that look alike)'
    )
    return parts, note


def _groups(images: List[dict], folder: Path) -> List[str]:
    files = [image['file_name'] for image in images]
    parents = {file: str(Path(file).parent) for file in files}
    if all('video_id' in image for image in images):
        return [f'video {image["video_id"]}' for image in images]
    if len(set(parents.values())) > 1:
        return [parents[file] for file in files]
    looks = fingerprints(folder, files)
    return [f'{looks[file]:016x}' for file in files]


def _joints(category: dict, metainfo: Optional[str], path: Path) -> Tuple[str, Optional[dict], List[str]]:
    """MMPose's class for the keypoints, the configs' metainfo where it is not the class's, and lines for the report."""
    if metainfo is not None:
        if Path(metainfo).is_file():
            return (
                'CocoDataset',
                dict(from_file=str(Path(metainfo).absolute())),
                [f'The keypoints are those of {metainfo}'],
            )
        load_skeleton(metainfo)
        return metainfo, None, [f'The keypoints are those of {metainfo}']
    names, links = category['keypoints'], _links(category)
    known = _known_dataset(names, links)
    if known is not None:
        return known, None, [f'The keypoints are those of {known}']
    pairs = mirror_pairs(names)
    AtomicLocalBackend().put_text(metainfo_text(category.get('name', 'own'), names, links, pairs), path)
    told = ', '.join(f'{names[a]} ↔ {names[b]}' for a, b in pairs) or 'none'
    return (
        'CocoDataset',
        dict(from_file=str(path.absolute())),
        [
            f'{len(names)} keypoints and {len(links)} limbs of the labels. Mirrored to each other, by name: {told}. '
            f'If that is wrong, correct {path} and give it by --metainfo'
        ],
    )


def _links(category: dict) -> List[Tuple[int, int]]:
    """The limbs; COCO counts keypoints from 1, some files from 0."""
    given = category.get('skeleton') or []
    count = len(category['keypoints'])
    start = 0 if any(0 in link for link in given) else 1
    links = [(a - start, b - start) for a, b in given]
    if any(not 0 <= end < count for link in links for end in link):
        raise UserError(f'the skeleton of the category {category.get("name")} links keypoints that it does not have')
    return links


def _known_dataset(names: Sequence[str], links: Sequence[Tuple[int, int]]) -> Optional[str]:
    """The data set's class of MMPose that has these keypoints, and these limbs where the labels have some."""
    for kind in ('CocoDataset', *sorted(DATASETS.module_dict)):
        if getattr(DATASETS.get(kind), 'METAINFO', None):
            known = load_skeleton(kind)
            same = {frozenset(link) for link in links} == {frozenset(link) for link in known.links}
            if list(known.names) == list(names) and (same or not links):
                return kind
    return None


def metainfo_text(
    name: str, names: Sequence[str], links: Sequence[Tuple[int, int]], pairs: Sequence[Tuple[int, int]]
) -> str:
    """A metainfo file as MMPose has them.

    MMEngine runs the file when it reads it, so names that come from labels are written as literals.
    """
    coco = load_skeleton('CocoDataset')
    parts = {joint['name']: joint['type'] for joint in _coco_info()['keypoint_info'].values()}
    sigmas = dict(zip(coco.names, coco.sigmas))
    swap = {a: names[b] for pair in pairs for a, b in (pair, pair[::-1])}
    lines = [
        f'# The keypoints of {_literal(name)}. sigmas: of COCO where it has a keypoint of that name, else {SIGMA}.',
        'dataset_info = dict(',
        f'    dataset_name={_literal(name)},',
        '    paper_info=dict(),',
        '    keypoint_info={',
    ]
    for k, joint in enumerate(names):
        color = [255, 128, 0] if k in swap and k > names.index(swap[k]) else [51, 153, 255]
        lines.append(
            f'        {k}: dict(name={_literal(joint)}, id={k}, color={color}, type={parts.get(joint, "")!r}, '
            f'swap={_literal(swap.get(k, ""))}),'
        )
    lines += ['    },', '    skeleton_info={']
    for number, (a, b) in enumerate(links):
        ends = ', '.join(map(_literal, (names[a], names[b])))
        lines.append(f'        {number}: dict(link=({ends}), id={number}, color=[51, 153, 255]),')
    lines += ['    },', f'    joint_weights={[1.0] * len(names)},']
    lines += [f'    sigmas={[sigmas.get(joint, SIGMA) for joint in names]})', '']
    return '\n'.join(lines)


def _literal(text: str) -> str:
    """A Python literal of a text, with ``{`` escaped: MMEngine replaces names in braces by paths and variables."""
    return repr(str(text)).replace('{', '\\x7b')


def _coco_info() -> dict:
    import mmpose

    file = Path(mmpose.__file__).parent / '.mim' / DATASETS.get('CocoDataset').METAINFO['from_file']
    return Config.fromfile(str(file)).dataset_info
