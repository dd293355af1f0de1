import json
import os
from pathlib import Path
from typing import Dict, List, Optional, Tuple, Union

import cv2
import mmcv
import numpy as np
from mmengine.utils import track_parallel_progress

from ...engine.atomic_backend import AtomicLocalBackend
from ...errors import UserError
from ...poses import load_skeleton
from .scene import JOINTS, Person, draw_scene

VERSION = 1  # of what is drawn; data written by another version is drawn anew
SIZE = (320, 240)


def crowd_index(people: List[Person]) -> float:
    """CrowdPose's measure of how crowded an image is.

    For each instance: the number of other instances' labeled keypoints inside its box, divided by the number of its own
    labeled keypoints there, at most 1. The index is the mean over all instances (Li et al., CrowdPose, CVPR 2019,
    section 3.1).

    Returns:
        0 (no box has another instance's keypoint) to 1. To MMPose's ``CocoMetric``, an image is easy below 0.2, medium
        below 0.8, and hard above.
    """
    ratios = []
    for i, person in enumerate(people):
        x, y, w, h = person.bbox
        inside = [
            (other.keypoints[:, 2] > 0)
            & (np.abs(other.keypoints[:, 0] - x - w / 2) <= w / 2)
            & (np.abs(other.keypoints[:, 1] - y - h / 2) <= h / 2)
            for other in people
        ]
        others = sum(mask.sum() for j, mask in enumerate(inside) if j != i)
        ratios.append(min(1.0, others / max(1, inside[i].sum())))
    return float(np.mean(ratios))


def _write_image(task: Tuple[Path, List[int]]) -> List[Person]:
    path, seed = task
    cv2.setNumThreads(0)
    image, people = draw_scene(np.random.default_rng(seed), SIZE)
    mmcv.imwrite(image, str(path), [cv2.IMWRITE_JPEG_QUALITY, 92])  # raises where cv2.imwrite only returns False
    return people


def _coco_labels(files: List[str], scenes: List[List[Person]], info: dict) -> dict:
    skeleton = load_skeleton('CocoDataset')
    images: List[dict] = []
    annotations: List[dict] = []
    for image_id, (file_name, people) in enumerate(zip(files, scenes), start=1):
        index = round(crowd_index(people), 4)
        images.append(dict(id=image_id, file_name=file_name, width=SIZE[0], height=SIZE[1], crowdIndex=index))
        for person in people:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=1,
                    iscrowd=0,
                    bbox=[round(v, 2) for v in person.bbox],
                    area=round(float(person.area), 2),
                    num_keypoints=int((person.keypoints[:, 2] > 0).sum()),
                    keypoints=person.keypoints.round(2).flatten().tolist(),
                )
            )
    links = [[a + 1, b + 1] for a, b in skeleton.links]
    categories = [dict(id=1, name='person', supercategory='person', keypoints=list(JOINTS), skeleton=links)]
    return dict(info=info, images=images, annotations=annotations, categories=categories)


def _contact_sheet(root: Path, labels: dict, columns: int = 6, rows: int = 4) -> np.ndarray:
    people: Dict[int, list] = {}
    for annotation in labels['annotations']:
        people.setdefault(annotation['image_id'], []).append(np.reshape(annotation['keypoints'], (-1, 3)))
    tiles = []
    for image in labels['images'][: columns * rows]:
        tile = mmcv.imread(str(root / 'images' / image['file_name']))
        for x, y, v in np.concatenate(people[image['id']]):
            if v > 0:
                color = (0, 220, 0) if v == 2 else (0, 0, 255)
                cv2.circle(tile, (int(x), int(y)), 2, color, -1 if v == 2 else 1, cv2.LINE_AA)
        text = f'crowd index {image["crowdIndex"]:.2f}'
        cv2.putText(tile, text, (4, SIZE[1] - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
        tiles.append(tile)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def generate_synthetic_crowd(
    root: Union[str, Path], num_train: int = 1000, num_val: int = 250, seed: int = 0, workers: Optional[int] = None
) -> Path:
    """Draws the synthetic crowd: articulated people who hide one another and stand behind things, in COCO's layout.

    Writes ``images/*.jpg``, ``annotations/synthetic_crowd_{train,val}.json`` (17 keypoints; v = 2 seen, 1 hidden by a
    person or a thing as the order of drawing has it, 0 out of the image; ``area`` and ``bbox`` are those of the whole
    silhouette; ``crowdIndex`` per image) and ``contact_sheet.png``. What is there already, from the same arguments,
    is left as it is, so a run that was stopped goes on.

    Args:
        root: The folder to write to.
        num_train, num_val: Images, with one to six people each.
        seed: The same seed draws the same images.
        workers: Processes; all cores by default.

    Returns:
        ``root``.

    Raises:
        UserError: ``root`` holds annotations of something else, or cannot be written.
    """
    root = Path(root)
    annotations = root / 'annotations'
    splits = dict(train=num_train, val=num_val)
    todo = []
    for number, (split, count) in enumerate(splits.items()):
        path = annotations / f'synthetic_crowd_{split}.json'
        info = dict(description='mmpose_tskd synthetic crowd', version=VERSION, seed=seed, num_images=count)
        if path.is_file():
            found = json.loads(path.read_text()).get('info')
            if found != info:
                raise UserError(
                    f'{path} was drawn with other settings ({found}, not {info}): name another folder, or delete it'
                )
            continue
        todo.append((number, split, count, path, info))
    if not todo:
        return root
    try:
        (root / 'images').mkdir(parents=True, exist_ok=True)
        annotations.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f'the synthetic crowd cannot be written to {root}: {error}') from error
    for number, split, count, path, info in todo:
        files = [f'{split}_{i:06d}.jpg' for i in range(1, count + 1)]
        tasks = [(root / 'images' / file, [seed, number, i]) for i, file in enumerate(files)]
        scenes = track_parallel_progress(_write_image, tasks, workers or os.cpu_count(), chunksize=8)
        labels = _coco_labels(files, scenes, info)
        if split == 'val':
            mmcv.imwrite(_contact_sheet(root, labels), str(root / 'contact_sheet.png'))
        AtomicLocalBackend().put_text(json.dumps(labels), path)  # last, so that what it names is there
    return root
