"""A teacher's recorded poses. Their file is a label file in COCO format, too."""

import hashlib
import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np

from ..errors import UserError
from .skeleton import Skeleton

FARTHEST = 1e6  # pixels from the image's corner
Key = Tuple[str, Any]  # of an instance: its image's file name, without folders, and its annotation's id


class PoseRecord(NamedTuple):
    """N recorded instances.

    Args:
        file: Where it was read from.
        digest: The SHA-256 of the file, in hexadecimal digits.
        info: What it was recorded with.
        skeleton: The K keypoints, without limbs.
        keys: N keys.
        files: N, the images' files as the labels name them.
        boxes: N×4, fp32, the corners (x1, y1, x2, y2) in pixels of the image, within the image.
        keypoints: N×K×3, fp32: x and y in pixels of the image, and the confidence in [0, 1].
    """

    file: str
    digest: str
    info: Dict[str, Any]
    skeleton: Skeleton
    keys: List[Key]
    files: List[str]
    boxes: np.ndarray
    keypoints: np.ndarray


def instance_key(img_path: str, annotation: Any) -> Key:
    """An instance's key, by its image's path and its annotation's id."""
    return str(img_path).rsplit('/', 1)[-1], annotation


def load_record(file: str) -> PoseRecord:
    """Reads what ``tools/record_teacher.py`` wrote.

    Raises:
        UserError: There is no such file, it is no record, or a coordinate, box or confidence in it is impossible.
    """
    if not Path(file).is_file():
        raise UserError(f'there is no {file}: record the teacher first, by tools/record_teacher.py')
    raw = Path(file).read_bytes()
    try:
        content = json.loads(raw)
        images = {image['id']: image for image in content['images']}
        annotations, names = content['annotations'], content['categories'][0]['keypoints']
        scores = [annotation['keypoint_scores'] for annotation in annotations]
        keypoints = np.array([annotation['keypoints'] for annotation in annotations], np.float32)
        keypoints = keypoints.reshape(len(annotations), len(names), 3)
        keypoints[..., 2] = np.array(scores, np.float32).reshape(len(annotations), len(names))
        their_images = [images[annotation['image_id']] for annotation in annotations]
        sizes = [(image['width'], image['height']) for image in their_images]
        boxes = clip_boxes([annotation['bbox'] for annotation in annotations], sizes)
        files = [str(image['file_name']) for image in their_images]
        keys = [instance_key(name, annotation['id']) for name, annotation in zip(files, annotations)]
        hash(tuple(keys))
        info = dict(content.get('info', {}))
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(
            f'{file} is no record of a teacher ({type(error).__name__}: {error}): it is written by '
            'tools/record_teacher.py, which gives each annotation keypoint_scores'
        ) from error
    if not isinstance(names, list) or len({*map(str, names)}) < len(names):
        raise UserError(f'{file} has two keypoints of one name, or no list of them: record it again')
    if not keys:
        raise UserError(f'{file} has a pose of nobody: record it again')
    if not (np.isfinite(keypoints).all() and np.isfinite(boxes).all()):
        raise UserError(f'{file} has a coordinate or a score that is no number: record it again')
    if ((keypoints[..., 2] < 0) | (keypoints[..., 2] > 1)).any() or np.abs(keypoints).max() > FARTHEST:
        raise UserError(f'{file} has a score outside of 0 and 1, or a place far from any image: record it again')
    skeleton = Skeleton(tuple(map(str, names)), (), (), (), str(info.get('dataset', file)))
    return PoseRecord(file, hashlib.sha256(raw).hexdigest(), info, skeleton, keys, files, boxes, keypoints)


def clip_boxes(boxes: Any, sizes: Any) -> np.ndarray:
    """COCO's boxes as MMPose's data sets read them.

    Args:
        boxes: N×4: x, y, width and height.
        sizes: N×2: width and height of the image.

    Returns:
        N×4, fp32: the corners (x1, y1, x2, y2), within the image.
    """
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    last = np.tile(np.array(sizes, np.float64).reshape(-1, 2) - 1, 2)
    return np.clip(corners, 0, last).astype(np.float32)
