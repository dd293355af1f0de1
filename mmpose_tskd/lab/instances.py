"""An image for the README: the same instances as several models see them, cut out."""

from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Union

import cv2
import numpy as np
from xtcocotools.coco import COCO

from ..apis.compare import COLORS, open_column, people_of, sides

TALL = 300  # pixels of a cell
WIDE = 200
TITLE = 34


class _Instance(NamedTuple):
    image_id: int
    image: np.ndarray
    box: Sequence[float]
    truth: np.ndarray
    poses: List[np.ndarray]
    errors: List[float]

    def gain(self) -> float:
        """How much nearer to the labels the second model is than the first, in percent of the box."""
        return self.errors[0] - self.errors[1]


def draw_instances(
    models: Mapping[str, Union[str, Sequence[str]]],
    labels: str,
    images: str,
    out: str,
    count: int = 6,
    right: float = 4.0,
) -> List[float]:
    """Draws labels and models in rows, instances in columns.

    The instances are chosen to show a difference, not to measure one: of those that the second model gets right, the
    ones where it gains most over the first.

    Args:
        models: By the name to show, two or more; what :func:`open_column` takes.
        labels: In COCO format.
        images: The folder of the images.
        out: The JPEG file to write.
        count: How many instances, each of another image.
        right: The largest mean error of a pose that counts as right, in percent of the square root of the box's area.

    Returns:
        The gain of each instance that is drawn, in percent of the square root of its box's area.
    """
    columns = {name: open_column(source) for name, source in models.items()}
    skeleton = next(iter(columns.values())).skeleton
    found = _instances(COCO(labels), Path(images), list(columns.values()))
    best: Dict[int, _Instance] = {}  # of each image
    for instance in sorted(found, key=_Instance.gain):
        if instance.errors[1] <= right:
            best[instance.image_id] = instance
    chosen = sorted(best.values(), key=_Instance.gain)[-count:]
    colors = dict(zip(COLORS, [(255, 119, 31), (14, 127, 255), (44, 160, 44)]))  # BGR
    joint_sides = sides(skeleton)
    rows = []
    for number, name in enumerate(['labels', *columns]):
        title = np.full((TITLE, WIDE * len(chosen), 3), 255, dtype=np.uint8)
        cv2.putText(title, name, (6, TITLE - 11), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (30, 30, 30), 1, cv2.LINE_AA)
        cells = []
        for instance in chosen:
            pose = instance.truth[:, :2] if number == 0 else instance.poses[number - 1]
            cells.append(_cell(instance, pose, skeleton.links, joint_sides, colors))
        rows += [title, np.concatenate(cells, axis=1)]
    cv2.imwrite(out, np.concatenate(rows), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return [instance.gain() for instance in chosen]


def _instances(coco: COCO, folder: Path, columns: Sequence[Any]) -> List[_Instance]:
    """All that have eight labeled keypoints or more."""
    found = []
    for image_id in coco.getImgIds():
        people = people_of(coco, image_id)
        if not people:
            continue
        image: Any = cv2.imread(str(folder / coco.imgs[image_id]['file_name']))
        truth = np.array([a['keypoints'] for a in people], dtype=np.float32).reshape(len(people), -1, 3)
        xywh = np.array([a['bbox'] for a in people], dtype=np.float32)
        boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        poses = [column(image, boxes, image_id=image_id, truth=truth).poses[-1] for column in columns]
        for i, labeled in enumerate(truth[..., 2] > 0):
            if labeled.sum() < 8:
                continue
            scale = 100 / np.sqrt(xywh[i, 2] * xywh[i, 3])
            errors = [scale * np.linalg.norm((p[i] - truth[i, :, :2])[labeled], axis=-1).mean() for p in poses]
            found.append(_Instance(image_id, image, xywh[i], truth[i], [p[i] for p in poses], errors))
    return found


def _cell(instance: _Instance, pose: np.ndarray, links: Any, joint_sides: Sequence[str], colors: Any) -> np.ndarray:
    """The instance's surroundings, enlarged, with one pose on them."""
    x, y, w, h = instance.box
    zoom = min(WIDE / (1.3 * w), TALL / (1.2 * h))
    move = np.array([WIDE, TALL]) / 2 - zoom * np.array([x + w / 2, y + h / 2])
    warp = np.array([[zoom, 0, move[0]], [0, zoom, move[1]]])
    cell: Any = cv2.warpAffine(instance.image, warp, (WIDE, TALL), flags=cv2.INTER_CUBIC, borderValue=(225, 225, 225))
    cell = cv2.addWeighted(cell, 0.7, np.full_like(cell, 255), 0.3, 0)
    points = np.round(pose * zoom + move).astype(int)
    known = instance.truth[:, 2] > 0
    for thickness, outline in ((7, True), (4, False)):
        for first, second in links:
            if known[first] and known[second]:
                side = joint_sides[first] if joint_sides[first] == joint_sides[second] else 'middle'
                color = (255, 255, 255) if outline else colors[side]
                cv2.line(cell, points[first].tolist(), points[second].tolist(), color, thickness, cv2.LINE_AA)
    for k in np.flatnonzero(known):
        cv2.circle(cell, points[k].tolist(), 5, colors[joint_sides[k]], -1, cv2.LINE_AA)
    return cell
