from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Union

import cv2
import mmcv
import numpy as np
from mmengine.utils import track_iter_progress
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from ..errors import UserError
from ..poses import load_skeleton
from .labels import Labels, write_labels

# For each of CrowdPose's 14 keypoints, its place in the archive's order: right ankle, knee and hip, left hip, knee and
# ankle, right wrist, elbow and shoulder, left shoulder, elbow and wrist, neck, top of the head.
FROM_LSPET = (9, 8, 10, 7, 11, 6, 3, 2, 4, 1, 5, 0, 13, 12)
SHOULDERS, HIPS, HEAD, NECK = [0, 1], [6, 7], [12], [13]
MARGIN = 0.12  # of the keypoints' extent, on each side of the box
LEAST = 6  # labeled keypoints of an instance
CROP, SIZE = 1.5, 200  # of an upright image: times the box, and its longer side in pixels at most


class _Sample(NamedTuple):
    image: np.ndarray
    joints: np.ndarray


def convert_lspet(
    archive: Union[str, Path],
    out: Union[str, Path],
    upright: bool = True,
    num_val: int = 1000,
    seed: int = 0,
) -> Dict[str, Labels]:
    """Leeds Sports Pose Extended (Johnson and Everingham, CVPR 2011), from its archive to COCO's format.

    Keypoints are in CrowdPose's order, so ``CrowdPoseDataset`` reads the result. A labeled keypoint has v = 2, another
    0. A person's box is the extent of the keypoints and 12 % of it on each side, within the image; ``area`` is 0.53
    times the box. Instances with fewer than 6 labeled keypoints are left out.

    Args:
        archive: The folder that holds ``images/`` and ``joints.mat``.
        out: ``images/`` and ``annotations/lspet_{train,val}.json`` are written there.
        upright: Turn each image about its person until the hips lie below the neck (where it has no label, the
            shoulders, else the head), cut it to 1.5 times the box and shrink it to 200 pixels; the corners that come
            in are gray. A person without hips is not turned. Else images and labels stay as they are.
        num_val: Instances set apart for validation.
        seed: Of their draw.

    Returns:
        The two sets, ``'train'`` and ``'val'``.

    Raises:
        UserError: A file is missing or is not what the archive has, or ``out`` holds another conversion.
    """
    archive, out = Path(archive), Path(out)
    people = _read_joints(archive / 'joints.mat')
    numbers = [i for i, joints in enumerate(people, start=1) if (joints[:, 2] > 0).sum() >= LEAST]
    if not 0 < num_val < len(numbers):
        raise UserError(f'--num-val is {num_val}, but {len(numbers)} instances have {LEAST} or more labeled keypoints')
    val = set(np.random.default_rng(seed).permutation(numbers)[:num_val].tolist())
    info = dict(
        description='LSPET', source='Johnson and Everingham, CVPR 2011', upright=upright, seed=seed, num_val=num_val
    )
    sets = {split: Labels(out / 'annotations' / f'lspet_{split}.json', out / 'images') for split in ('train', 'val')}
    for labels in sets.values():
        if labels.file.is_file() and (found := labels.read().get('info')) != info:
            raise UserError(
                f'{labels.file} is of another conversion ({found}, not {info}): name another folder, or delete it'
            )
    (out / 'images').mkdir(parents=True, exist_ok=True)
    images: Dict[str, List[dict]] = dict(train=[], val=[])
    annotations: Dict[str, List[dict]] = dict(train=[], val=[])
    for number in track_iter_progress(numbers):
        name = f'im{number:05d}.jpg'
        image = cv2.imread(str(archive / 'images' / name))
        if image is None:
            raise UserError(f'{archive / "images" / name} is missing or is no image')
        sample = _Sample(image, people[number - 1])
        if upright:
            sample = _turn_upright(sample)
            mmcv.imwrite(sample.image, str(out / 'images' / name), [cv2.IMWRITE_JPEG_QUALITY, 92])
        else:
            (out / 'images' / name).write_bytes((archive / 'images' / name).read_bytes())
        split = 'val' if number in val else 'train'
        height, width = sample.image.shape[:2]
        images[split].append(dict(id=number, file_name=name, width=width, height=height, crowdIndex=0.0))
        annotations[split].append(_annotation(number, sample))
    skeleton = load_skeleton('CrowdPoseDataset')
    categories = [dict(id=1, name='person', supercategory='person', keypoints=list(skeleton.names), skeleton=[])]
    for split, labels in sets.items():
        content = dict(info=info, images=images[split], annotations=annotations[split], categories=categories)
        write_labels(content, labels.file)
    return sets


def _read_joints(path: Path) -> np.ndarray:
    """N×14×3 in CrowdPose's order: x and y from 0, and 1 for a label, 0 for none."""
    if not path.is_file():
        raise UserError(f'there is no {path}: name the folder of the archive, which holds images/ and joints.mat')
    try:
        content = loadmat(path)
    except (MatReadError, ValueError, NotImplementedError, TypeError, IndexError) as error:
        raise UserError(f'{path} is not a MATLAB file that can be read ({error}): get the archive again') from error
    joints = content.get('joints')
    if joints is None or joints.ndim != 3 or joints.shape[:2] != (14, 3):
        found = 'no "joints"' if joints is None else f'"joints" of {joints.shape}'
        raise UserError(f'{path} holds {found}, where LSPET has 14×3×10000')
    joints = joints.transpose(2, 0, 1)[:, FROM_LSPET].astype(float)
    joints[..., :2] -= 1  # MATLAB counts from 1
    return joints * (joints[..., 2:] > 0)


def _middle(joints: np.ndarray, *choices: List[int]) -> Optional[np.ndarray]:
    """The mean of the labeled keypoints of the first choice that has any; None where none has."""
    for choice in choices:
        labeled = [k for k in choice if joints[k, 2] > 0]
        if labeled:
            return joints[labeled, :2].mean(axis=0)
    return None


def _extent(joints: np.ndarray) -> np.ndarray:
    """x0, y0, x1, y1 of the labeled keypoints with the margin."""
    points = joints[joints[:, 2] > 0, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    return np.concatenate([low - MARGIN * (high - low), high + MARGIN * (high - low)])


def _turn_upright(sample: _Sample) -> _Sample:
    top, bottom = _middle(sample.joints, NECK, SHOULDERS, HEAD), _middle(sample.joints, HIPS)
    angle = 0.0
    if top is not None and bottom is not None:
        right, down = bottom - top
        angle = -np.degrees(np.arctan2(right, down))
    points = sample.joints[sample.joints[:, 2] > 0, :2]
    turn = cv2.getRotationMatrix2D(points.mean(axis=0).tolist(), angle, 1.0)
    joints = _transform(sample.joints, turn)
    x0, y0, x1, y1 = _extent(joints)
    width, height = CROP * (x1 - x0), CROP * (y1 - y0)
    scale = min(1.0, SIZE / max(width, height))
    shift = np.array([[scale, 0, scale * (width - x0 - x1) / 2], [0, scale, scale * (height - y0 - y1) / 2]])
    shift = shift @ np.vstack([turn, [0, 0, 1]])
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    image = cv2.warpAffine(sample.image, shift, size, borderValue=(128, 128, 128))
    return _Sample(image, _transform(sample.joints, shift))


def _transform(joints: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    moved = joints.copy()
    moved[:, :2] = joints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return moved * (joints[:, 2:] > 0)


def _annotation(number: int, sample: _Sample) -> Dict[str, Any]:
    height, width = sample.image.shape[:2]
    x0, y0, x1, y1 = _extent(sample.joints).clip(0, [width, height, width, height])
    keypoints = sample.joints * [1, 1, 2]
    return dict(
        id=number,
        image_id=number,
        category_id=1,
        iscrowd=0,
        bbox=[round(float(v), 2) for v in (x0, y0, x1 - x0, y1 - y0)],
        area=round(float(0.53 * (x1 - x0) * (y1 - y0)), 2),
        num_keypoints=int((keypoints[:, 2] > 0).sum()),
        keypoints=keypoints.round(2).flatten().tolist(),
    )
