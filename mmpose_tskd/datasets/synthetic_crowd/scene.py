from typing import Dict, List, NamedTuple, Optional, Tuple

import cv2
import numpy as np

from .body import Part, body_parts, sample_body

JOINTS = (
    'nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder',
    'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist', 'left_hip', 'right_hip',
    'left_knee', 'right_knee', 'left_ankle', 'right_ankle',
)  # fmt: skip
SUPERSAMPLING = 2  # drawn at twice the size and shrunk, so that edges are smooth
MIN_JOINTS, MIN_SEEN = 6, 3  # of every person in an image
ANGLES = np.linspace(0, 2 * np.pi, 16, endpoint=False)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=-1)  # corners of the disc of radius 1


class Person(NamedTuple):
    """One person's labels in pixels of the image, as COCO has them."""

    keypoints: np.ndarray  # 17×3: x, y, and v = 2 seen, 1 hidden by a person or a thing, 0 out of the image
    bbox: Tuple[float, float, float, float]  # x, y, width, height of the silhouette, hidden parts too
    area: float  # of that silhouette


class _Canvas:
    def __init__(self, image: np.ndarray) -> None:
        self.image = image
        self.size = (image.shape[0], image.shape[1])
        self.owner = np.zeros(self.size, np.int32)  # the number of the part that lies on top; 0 is background
        self.num_parts = 0


def random_color(
    rng: np.random.Generator, saturation: Tuple[int, int] = (0, 220), value: Tuple[int, int] = (30, 240)
) -> np.ndarray:
    hsv = np.array([[[rng.integers(180), rng.integers(*saturation), rng.integers(*value)]]], np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float32)


def _skin_color(rng: np.random.Generator) -> np.ndarray:
    hsv = np.array([[[rng.integers(5, 16), rng.integers(60, 160), rng.integers(70, 245)]]], np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float32)


def _smooth_noise(rng: np.random.Generator, shape: Tuple[int, int], cells: int, channels: int = 1) -> np.ndarray:
    """Values about 0, as blotches of which `cells` fit into the shape."""
    noise = rng.standard_normal((cells, cells, channels)).astype(np.float32)
    return cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC).reshape(*shape, channels)


def random_texture(rng: np.random.Generator, shape: Tuple[int, int], mask: Optional[np.ndarray] = None) -> np.ndarray:
    """A factor on a surface's color, about 1: plain, stripes, checks or blotches.

    Args:
        rng: Where the randomness comes from.
        shape: Height and width of the surface.
        mask: H×W, bool: the N pixels where it is wanted; all if None.

    Returns:
        What multiplies colors of H×W×3, or of N×3 with a mask.
    """
    kind = rng.choice(['plain', 'stripes', 'checks', 'blotches'])
    if kind == 'plain':
        return np.ones(1, np.float32)
    strength = rng.uniform(0.1, 0.5)
    if kind == 'blotches':
        factor = 1 + strength * 0.6 * _smooth_noise(rng, shape, int(rng.integers(4, 24)))
        return factor if mask is None else factor[mask]
    places = np.indices(shape, sparse=True) if mask is None else np.nonzero(mask)
    y, x = (place.astype(np.float32) for place in places)
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 24)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    if kind == 'checks':
        wave = wave * np.sin((y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / period)
    return (1 + strength * np.sign(wave))[..., None]


def _hull(points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Corners (M×1×2) of the convex hull of discs with these centers (n×2) and radii (n)."""
    corners = points[:, None] + radii[:, None, None] * CIRCLE
    return cv2.convexHull(corners.reshape(-1, 2).astype(np.float32))


def _fill(image: np.ndarray, corners: np.ndarray, value) -> None:
    cv2.fillConvexPoly(image, np.round(corners * 16).astype(np.int32), value, shift=4)


def _background(rng: np.random.Generator, shape: Tuple[int, int]) -> np.ndarray:
    """Something between a wall and a street: blotches, a horizon, and clutter in the shapes and colors of people."""
    h, w = shape
    image = random_color(rng, (0, 150)) + rng.uniform(5, 50) * _smooth_noise(rng, shape, int(rng.integers(2, 6)), 3)
    if rng.random() < 0.6:  # a ground
        horizon = int(rng.uniform(0.3, 0.8) * h)
        image[horizon:] = random_color(rng, (0, 150)) * random_texture(rng, (h - horizon, w))
    image = np.ascontiguousarray(image)
    for _ in range(rng.integers(1, 10)):
        center = rng.uniform(0, 1, 2) * (w, h)
        color = _skin_color(rng) if rng.random() < 0.2 else random_color(rng)
        if rng.random() < 0.5:  # as long and thin as a limb
            angle, length = rng.uniform(0, np.pi), rng.uniform(0.05, 0.3) * h
            ends = center + np.outer([-0.5, 0.5], [np.cos(angle), np.sin(angle)]) * length
            corners = _hull(ends, rng.uniform(0.008, 0.04, 2) * h)
        else:
            corners = _hull(center + rng.normal(0, 0.12, (5, 2)) * h, rng.uniform(0.005, 0.03, 5) * h)
        _fill(image, corners, color.tolist())
    return image * random_texture(rng, shape) if rng.random() < 0.3 else image


class _Figure:
    """A person with clothes and a place in the image, before it is drawn."""

    def __init__(self, rng: np.random.Generator, height: float, feet: float, center: float) -> None:
        self.rng = rng
        points = sample_body(rng)
        names, xyz = list(points), np.stack(list(points.values())) * height
        xyz[:, 0] += center - (xyz[:, 0].min() + xyz[:, 0].max()) / 2
        xyz[:, 1] += feet - xyz[:, 1].max()
        self.points: Dict[str, np.ndarray] = dict(zip(names, xyz))
        self.height = height
        parts = body_parts(
            rng.choice(['none', 'short', 'long'], p=[0.15, 0.45, 0.4]),
            rng.choice(['short', 'long', 'skirt'], p=[0.3, 0.58, 0.12]),
            rng.uniform(0.85, 1.3),
        )
        self.parts: List[Part] = sorted(parts, key=self._depth, reverse=True)  # what is farthest is drawn first
        skin = _skin_color(rng)
        self.materials = dict(
            skin=skin,
            nose=skin * 0.75,
            mouth=skin * (0.6, 0.55, 0.8),
            eye=np.full(3, rng.uniform(10, 60)),
            hair=random_color(rng, (20, 150), (15, 170)),
            shirt=random_color(rng),
            trousers=random_color(rng, (0, 160), (20, 190)),
            shoe=random_color(rng, (0, 120), (10, 200)),
        )

    def _depth(self, part: Part) -> float:
        return float(np.mean([self.points[name][2] for name in part.points]))

    def draw(self, canvas: _Canvas) -> Optional[Tuple[np.ndarray, int]]:
        """Returns the silhouette's mask and the number of parts drawn before it; None if it misses the image."""
        hulls = []
        for part in self.parts:
            centers = np.stack([self.points[name][:2] for name in part.points])
            hulls.append(_hull(centers, np.array(part.radii) * self.height))
        corners = np.concatenate(hulls)[:, 0]
        size = np.array(canvas.owner.shape[::-1])
        x0, y0 = np.clip(np.floor(corners.min(0)), 0, size).astype(int)
        x1, y1 = np.clip(np.ceil(corners.max(0)) + 1, 0, size).astype(int)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return None
        label = np.zeros((y1 - y0, x1 - x0), np.uint8)
        for number, hull in enumerate(hulls, start=1):
            _fill(label, hull - (x0, y0), number)

        rng, shape = self.rng, label.shape
        colors = np.stack([np.zeros(3)] + [self.materials[p.material] * rng.uniform(0.88, 1.08) for p in self.parts])
        surface = colors.astype(np.float32).take(label, axis=0)
        for material in ('shirt', 'trousers'):
            mine = np.array([False] + [p.material == material for p in self.parts])[label]
            surface[mine] = surface[mine] * random_texture(rng, shape, mine)
        contour = cv2.morphologyEx(label, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        surface[contour] *= rng.uniform(0.6, 0.95)
        surface *= 1 + 0.12 * _smooth_noise(rng, shape, 3)  # light and folds

        mask = label > 0
        np.copyto(canvas.image[y0:y1, x0:x1], surface, where=mask[..., None])
        np.add(canvas.num_parts, label, out=canvas.owner[y0:y1, x0:x1], where=mask, dtype=np.int32)
        before, canvas.num_parts = canvas.num_parts, canvas.num_parts + len(self.parts)
        silhouette = np.zeros(canvas.owner.shape, bool)
        silhouette[y0:y1, x0:x1] = mask
        return silhouette, before

    def labels(self, canvas: _Canvas, silhouette: np.ndarray, before: int) -> Person:
        """Reads off the finished canvas which keypoints are seen."""
        h, w = canvas.size
        keypoints = np.zeros((len(JOINTS), 3))
        for k, joint in enumerate(JOINTS):
            x, y, z = self.points[joint]
            if not (0 <= x <= w - 1 and 0 <= y <= h - 1):
                continue
            top = canvas.owner[int(round(y)), int(round(x))] - before - 1
            seen = 0 <= top < len(self.parts) and joint in self.parts[top].joints
            if seen and self.parts[top].bulky:
                seen = z < self._depth(self.parts[top]) + 0.03 * self.height
            keypoints[k] = x / SUPERSAMPLING, y / SUPERSAMPLING, 2 if seen else 1
        ys, xs = (np.flatnonzero(silhouette.any(axis)) for axis in (1, 0))
        x0, y0, x1, y1 = (float(v) / SUPERSAMPLING for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
        return Person(keypoints, (x0, y0, x1 - x0, y1 - y0), silhouette.sum() / SUPERSAMPLING**2)


def _draw_thing(rng: np.random.Generator, canvas: _Canvas) -> None:
    """A pole, a box, a table or a bush that stands in front of whoever was drawn before."""
    h, w = canvas.size
    kind = rng.choice(['pole', 'box', 'table', 'bush'])
    x = rng.uniform(0.05, 0.95) * w
    if kind == 'pole':
        half, top, bottom = rng.uniform(0.008, 0.03) * w, rng.uniform(-0.2, 0.4) * h, 1.2 * h
    elif kind == 'box':
        half, top = rng.uniform(0.04, 0.12) * w, rng.uniform(0.4, 0.8) * h
        bottom = top + rng.uniform(0.15, 0.4) * h
    elif kind == 'table':
        half, top = rng.uniform(0.12, 0.35) * w, rng.uniform(0.55, 0.85) * h
        bottom = top + rng.uniform(0.05, 0.5) * h
    mask = np.zeros((h, w), np.uint8)
    if kind == 'bush':
        center = np.array([x, rng.uniform(0.6, 1.0) * h])
        for offset in rng.normal(0, 0.06, (rng.integers(6, 16), 2)) * h:
            cv2.circle(mask, tuple(int(v) for v in center + offset), int(rng.uniform(0.015, 0.06) * h), 1, -1)
    else:
        corners = np.array([[x - half, top], [x + half, top], [x + half, bottom], [x - half, bottom]])
        _fill(mask, corners + rng.normal(0, 0.01 * h, (4, 2)), 1)
    canvas.num_parts += 1
    thing = mask > 0
    canvas.image[thing] = random_color(rng) * random_texture(rng, (h, w), thing)
    canvas.owner[thing] = canvas.num_parts


def _draw_scene(rng: np.random.Generator, size: Tuple[int, int]) -> Tuple[np.ndarray, List[Person]]:
    w, h = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
    canvas = _Canvas(_background(rng, (h, w)))
    num_people = int(rng.choice(6, p=[0.26, 0.24, 0.19, 0.13, 0.1, 0.08])) + 1
    middle, spread = rng.uniform(0.25, 0.75), rng.uniform(0.08, 0.35)
    heights = np.sort(rng.uniform(0.45, 0.95, num_people)) * h  # who is nearer is larger and drawn later
    drawn = []
    for height in heights:
        if rng.random() < 0.1:
            _draw_thing(rng, canvas)
        center = np.clip(middle + rng.normal(0, spread), -0.02, 1.02) * w
        figure = _Figure(rng, height, rng.uniform(0.75, 1.12) * h, center)
        placed = figure.draw(canvas)
        if placed is None:
            return _draw_scene(rng, size)
        drawn.append((figure, *placed))
        if rng.random() < 0.2:
            _draw_thing(rng, canvas)
    people = [figure.labels(canvas, silhouette, before) for figure, silhouette, before in drawn]
    for person in people:
        visibility = person.keypoints[:, 2]
        if (visibility > 0).sum() < MIN_JOINTS or (visibility == 2).sum() < MIN_SEEN:
            return _draw_scene(rng, size)  # a human could not label this one
    return canvas.image, people


def draw_scene(rng: np.random.Generator, size: Tuple[int, int] = (320, 240)) -> Tuple[np.ndarray, List[Person]]:
    """Draws an image of one to six people.

    Args:
        rng: Where the randomness comes from; the same state draws the same image.
        size: Width and height of the image in pixels.

    Returns:
        The image (H×W×3, uint8, BGR) and the people in it, the farthest first.
    """
    image, people = _draw_scene(rng, size)
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    image = image * rng.uniform(0.7, 1.2) + rng.normal(0, rng.uniform(1, 9), image.shape).astype(np.float32)
    if rng.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2))
    return np.clip(image, 0, 255).astype(np.uint8), people
