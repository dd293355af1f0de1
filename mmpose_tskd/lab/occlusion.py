from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import cv2
import mmcv
import numpy as np

from ..datasets.synthetic_crowd.scene import random_color, random_texture
from .labels import Labels, write_labels

VERSION = 1  # of what is pasted; a copy written by another version is made anew
MOST = 0.7  # of an image's labeled keypoints
TRIES = 40
THICKNESS = 0.12  # of a limb, as part of the longer side of its owner's box
Link = Tuple[int, int]


class _Source:
    """The people of a set, by image, and cut out of their images."""

    def __init__(self, labels: Labels, links: Sequence[Link]) -> None:
        self.labels, self.links = labels, links
        self.content = labels.read()
        self.files = {image['id']: image['file_name'] for image in self.content['images']}
        self.people: Dict[int, List[dict]] = {number: [] for number in self.files}
        for person in self.content['annotations']:
            self.people[person['image_id']].append(person)
        self.labeled = [p for p in self.content['annotations'] if joints_of(p)[:, 2].any()]

    def image(self, image_id: int) -> np.ndarray:
        return mmcv.imread(str(self.labels.images / self.files[image_id]))

    def cut_out(self, person: dict) -> Tuple[np.ndarray, np.ndarray]:
        """A person's pixels (h×w×3) and which of them are the person's (h×w, bool), by the limbs."""
        image = self.image(person['image_id'])
        mask = _body_mask(joints_of(person), self.links, max(person['bbox'][2:]), image.shape[:2])
        x, y, w, h = cv2.boundingRect(mask)
        return image[y : y + h, x : x + w], mask[y : y + h, x : x + w] > 0


def joints_of(person: dict) -> np.ndarray:
    """K×3: x, y and v of an annotation."""
    return np.array(person['keypoints'], dtype=float).reshape(-1, 3)


def _body_mask(joints: np.ndarray, links: Sequence[Link], size: float, shape: Tuple[int, ...]) -> np.ndarray:
    """H×W, uint8: thick lines for the limbs, and the small gaps between them."""
    mask = np.zeros(shape, np.uint8)
    width = max(2, round(THICKNESS * size))
    points = np.round(joints[:, :2]).astype(int).tolist()
    labeled = joints[:, 2] > 0
    for a, b in links:
        if labeled[a] and labeled[b]:
            cv2.line(mask, points[a], points[b], 1, width)
    for k in np.flatnonzero(labeled):
        cv2.circle(mask, points[k], width // 2 + 1, 1, -1)
    return cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((2 * width + 1, 2 * width + 1), np.uint8))


def _thing(rng: np.random.Generator, size: float) -> Tuple[np.ndarray, np.ndarray]:
    """A bar, a box or a disc in one color and texture, turned at random, and which pixels it has."""
    kind = rng.choice(['bar', 'box', 'disc'])
    length = size * rng.uniform(0.15, 0.4)
    width = length * (rng.uniform(0.2, 0.4) if kind == 'bar' else rng.uniform(0.6, 1.0))
    length, width = max(length, 4), max(width, 4)
    side = int(np.ceil(np.hypot(length, width))) + 1
    mask = np.zeros((side, side), np.uint8)
    box = ((side / 2, side / 2), (length, width), rng.uniform(0, 180))
    if kind == 'disc':
        cv2.ellipse(mask, box, 1, -1)
    else:
        cv2.fillConvexPoly(mask, np.round(cv2.boxPoints(box)).astype(int), 1)
    surface = random_color(rng) * random_texture(rng, mask.shape)
    return np.broadcast_to(np.clip(surface, 0, 255), (side, side, 3)).astype(np.uint8), mask > 0


def _covered(joints: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """K, bool: the labeled keypoints at whose pixel the mask lies."""
    h, w = mask.shape
    x, y = np.round(joints[:, 0]).astype(int), np.round(joints[:, 1]).astype(int)
    inside = (joints[:, 2] > 0) & (x >= 0) & (x < w) & (y >= 0) & (y < h)
    return inside & mask[y.clip(0, h - 1), x.clip(0, w - 1)]


def _occlude_image(rng: np.random.Generator, source: _Source, image_id: int) -> Tuple[np.ndarray, np.ndarray]:
    """The image with people and things pasted over it, and where (H×W, bool)."""
    image = source.image(image_id).copy()
    pasted = np.zeros(image.shape[:2], bool)
    people = [person for person in source.people[image_id] if joints_of(person)[:, 2].any()]
    if not people:
        return image, pasted
    joints = np.concatenate([joints_of(person) for person in people])
    owners = np.repeat(np.arange(len(people)), len(joints) // len(people))
    strangers = [person for person in source.labeled if person['image_id'] != image_id]
    wanted = rng.uniform(0, MOST)
    for _ in range(TRIES):
        hidden = (joints[:, 2] == 1) | _covered(joints, pasted)
        if hidden.sum() >= wanted * (joints[:, 2] > 0).sum():
            break
        target = rng.choice(np.flatnonzero((joints[:, 2] > 0) & ~hidden))
        size = max(people[owners[target]]['bbox'][2:])
        if strangers and rng.random() < 0.5:
            person = strangers[rng.integers(len(strangers))]
            pixels, mask = source.cut_out(person)
            scale = size / max(person['bbox'][2:]) * rng.uniform(0.3, 0.7)
            new = (max(2, round(mask.shape[1] * scale)), max(2, round(mask.shape[0] * scale)))
            pixels, mask = cv2.resize(pixels, new), cv2.resize(mask.astype(np.uint8), new) > 0
        else:
            pixels, mask = _thing(rng, size)
        spots = np.argwhere(mask)
        if not len(spots):
            continue
        y, x = np.round(joints[target, 1::-1]).astype(int) - spots[rng.integers(len(spots))]
        height, width = mask.shape[:2]
        top, left = max(y, 0), max(x, 0)
        bottom, right = min(y + height, image.shape[0]), min(x + width, image.shape[1])
        if bottom <= top or right <= left:
            continue  # the keypoint is labeled outside of the image
        part = (slice(top - y, bottom - y), slice(left - x, right - x))
        place = (slice(top, bottom), slice(left, right))
        more = pasted.copy()
        more[place] |= mask[part]
        hidden = (joints[:, 2] == 1) | _covered(joints, more)
        if hidden.sum() > MOST * (joints[:, 2] > 0).sum():
            continue
        image[place][mask[part]] = pixels[part][mask[part]]
        pasted = more
    return image, pasted


def occlude(labels: Labels, folder: Path, links: Sequence[Link], seed: int = 0) -> Labels:
    """Makes a set's occluded copy: the same people, with others and things pasted over some of their keypoints.

    In each image keypoints are covered until a share of them, drawn evenly from 0 to 0.7, is hidden: one after the
    other, half of the time by the limbs and trunk of a person from another image of the set, else by a bar, a box or
    a disc. The labels stay as they are, but for covered keypoints, which become hidden (v = 1). Each image's draw
    depends on the seed and its id alone. What is there already, from the same labels and seed, is left as it is.

    Args:
        labels: The set.
        folder: ``images/*.png`` and ``labels.json`` are written there.
        links: The limbs, pairs of keypoint indices, by which people are cut out.
        seed: Of the draws.

    Returns:
        The copy.
    """
    copied = Labels(folder / 'labels.json', folder / 'images')
    info = dict(description='occluded copy', version=VERSION, seed=seed, labels=labels.digest())
    if copied.file.is_file() and copied.read().get('info') == info:
        return copied
    source = _Source(labels, links)
    copied.images.mkdir(parents=True, exist_ok=True)
    images: List[dict] = []
    annotations: List[Any] = []
    for image in source.content['images']:
        rng = np.random.default_rng([seed, image['id']])
        pixels, pasted = _occlude_image(rng, source, image['id'])
        name = f'{image["id"]}.png'
        mmcv.imwrite(pixels, str(copied.images / name))
        images.append(dict(image, file_name=name))
        for person in source.people[image['id']]:
            joints = np.array(person['keypoints']).reshape(-1, 3).tolist()
            for k in np.flatnonzero(_covered(joints_of(person), pasted)):
                joints[k][2] = 1
            annotations.append(dict(person, keypoints=[value for joint in joints for value in joint]))
    write_labels(dict(source.content, info=info, images=images, annotations=annotations), copied.file)
    return copied
