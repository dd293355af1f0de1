from typing import Dict, List, NamedTuple, Tuple

import cv2
import numpy as np

# Lengths in units of a body's height; x points to the right of the image, y down, z away from the viewer. A body at
# rest stands upright and faces the viewer, so that its left side is on the right of the image.
HIP_WIDTH, SHOULDER_WIDTH, SPINE = 0.052, 0.105, 0.29
UPPER_ARM, FOREARM, HAND = 0.165, 0.15, 0.035
THIGH, SHIN, FOOT = 0.24, 0.235, 0.07
HEAD = dict(
    head=(0, 0, 0),
    chin=(0, 0.045, -0.02),
    hair=(0, -0.025, 0.022),
    fringe=(0, -0.045, -0.03),
    mouth=(0, 0.038, -0.062),
    nose=(0, 0.008, -0.068),
    left_eye=(0.026, -0.018, -0.056),
    right_eye=(-0.026, -0.018, -0.056),
    left_ear=(0.054, 0, 0),
    right_ear=(-0.054, 0, 0),
)


class Limb(NamedTuple):
    """Angles in degrees of a limb's two bones: the first hangs down at 0, the second goes on straight at 0."""

    forward: float
    outward: float
    flexion: float
    inward: float = 0.0


def _rotation(x: float, y: float, z: float) -> np.ndarray:
    """Rotation matrix, about x first, then z, then y; degrees."""
    about = [cv2.Rodrigues(np.radians(axis) * 1.0)[0] for axis in ((x, 0.0, 0.0), (0.0, 0.0, z), (0.0, y, 0.0))]
    return about[2] @ about[1] @ about[0]


def _direction(forward: float, outward: float, side: int) -> np.ndarray:
    f, o = np.radians([forward, outward])
    return np.array([side * np.sin(o), np.cos(o) * np.cos(f), -np.cos(o) * np.sin(f)])


def _sample_legs(rng: np.random.Generator) -> Tuple[Limb, Limb]:
    action = rng.choice(['stand', 'walk', 'sit', 'squat', 'sport'], p=[0.42, 0.28, 0.1, 0.06, 0.14])
    if action == 'stand':
        left, right = (Limb(rng.normal(0, 8), abs(rng.normal(4, 5)), abs(rng.normal(0, 8))) for _ in range(2))
    elif action == 'walk':
        stride = rng.uniform(12, 45)
        left = Limb(stride, abs(rng.normal(2, 3)), rng.uniform(0, 25))
        right = Limb(-stride * rng.uniform(0.5, 1), abs(rng.normal(2, 3)), rng.uniform(5, 60))
        if rng.random() < 0.5:
            left, right = right, left
    elif action == 'sit':
        left, right = (Limb(rng.uniform(70, 100), rng.uniform(0, 20), rng.uniform(65, 105)) for _ in range(2))
    elif action == 'squat':
        left, right = (Limb(rng.uniform(50, 120), rng.uniform(0, 30), rng.uniform(70, 140)) for _ in range(2))
    else:
        left, right = (Limb(rng.uniform(-40, 90), rng.uniform(0, 60), rng.uniform(0, 110)) for _ in range(2))
    return left, right


def _sample_arm(rng: np.random.Generator) -> Limb:
    action = rng.choice(['hang', 'bent', 'raised', 'sideways'], p=[0.45, 0.3, 0.15, 0.1])
    if action == 'hang':
        return Limb(rng.normal(0, 18), abs(rng.normal(8, 8)), abs(rng.normal(10, 20)))
    if action == 'bent':
        return Limb(rng.uniform(-30, 60), rng.uniform(0, 40), rng.uniform(50, 130), rng.uniform(0, 60))
    if action == 'raised':
        return Limb(rng.uniform(80, 190), rng.uniform(0, 50), rng.uniform(0, 110), rng.uniform(-20, 40))
    return Limb(rng.uniform(-20, 60), rng.uniform(40, 100), rng.uniform(0, 110), rng.uniform(-20, 70))


def sample_body(rng: np.random.Generator) -> Dict[str, np.ndarray]:
    """Draws a person in a random posture, seen from a random side.

    Args:
        rng: Where the randomness comes from.

    Returns:
        Points (x, y, z) by name, in units of the body's height: COCO's 17 keypoints, and those that only drawing needs.
    """
    yaw = rng.normal(0, 40) if rng.random() < 0.75 else rng.uniform(-180, 180)
    roll = rng.uniform(-70, 70) if rng.random() < 0.05 else rng.normal(0, 6)
    view = _rotation(rng.normal(4, 6), yaw, 0)
    view = _rotation(0, 0, roll) @ view
    lean = -abs(rng.normal(0, 35)) if rng.random() < 0.2 else rng.normal(0, 7)  # forward is towards -z
    chest = view @ _rotation(lean, rng.normal(0, 12), rng.normal(0, 6))
    face = chest @ _rotation(rng.normal(0, 12) - 0.5 * lean, rng.normal(0, 25), rng.normal(0, 8))
    length = dict(arm=rng.normal(1, 0.06), leg=rng.normal(1, 0.06), spine=rng.normal(1, 0.05), width=rng.normal(1, 0.1))
    head_size = rng.uniform(0.9, 1.25)

    points = dict(pelvis=np.zeros(3))
    points['neck'] = chest @ np.array([0, -SPINE * length['spine'], 0])
    head = points['neck'] + chest @ np.array([0, -0.03, 0]) + face @ np.array([0, -0.08 * head_size, -0.01])
    for name, offset in HEAD.items():
        points[name] = head + face @ (np.array(offset) * head_size)

    legs = _sample_legs(rng)
    for side, name, leg in ((1, 'left', legs[0]), (-1, 'right', legs[1])):
        arm = _sample_arm(rng)
        shoulder = points['neck'] + chest @ np.array([side * SHOULDER_WIDTH * length['width'], 0.025, 0])
        forearm = chest @ _direction(arm.forward + arm.flexion, arm.outward - arm.inward, side)
        points[f'{name}_shoulder'] = shoulder
        points[f'{name}_elbow'] = (
            shoulder + chest @ _direction(arm.forward, arm.outward, side) * UPPER_ARM * length['arm']
        )
        points[f'{name}_wrist'] = points[f'{name}_elbow'] + forearm * FOREARM * length['arm']
        points[f'{name}_hand'] = points[f'{name}_wrist'] + forearm * HAND

        hip = view @ np.array([side * HIP_WIDTH * length['width'], 0, 0])
        shin = _direction(leg.forward - leg.flexion, leg.outward, side)
        toe = _direction(leg.forward - leg.flexion + 75, leg.outward, side)
        points[f'{name}_hip'] = hip
        points[f'{name}_knee'] = hip + view @ _direction(leg.forward, leg.outward, side) * THIGH * length['leg']
        points[f'{name}_ankle'] = points[f'{name}_knee'] + view @ shin * SHIN * length['leg']
        points[f'{name}_foot'] = points[f'{name}_ankle'] + view @ (toe * FOOT + shin * 0.015)
    return points


class Part(NamedTuple):
    """The convex hull of discs, in one material.

    ``joints`` names the keypoints that are seen where this part is drawn on top of them. A keypoint inside a ``bulky``
    part (a torso, a head) is seen only if it lies on the part's side towards the viewer.
    """

    points: Tuple[str, ...]
    radii: Tuple[float, ...]
    material: str
    joints: Tuple[str, ...] = ()
    bulky: bool = False


def body_parts(sleeves: str, trousers: str, build: float) -> List[Part]:
    """What a person is drawn with.

    Args:
        sleeves: ``'none'``, ``'short'`` or ``'long'``.
        trousers: ``'short'``, ``'long'`` or ``'skirt'``.
        build: The factor on the widths of trunk and limbs.
    """
    upper_arm = 'skin' if sleeves == 'none' else 'shirt'
    forearm = 'shirt' if sleeves == 'long' else 'skin'
    shin = 'trousers' if trousers == 'long' else 'skin'
    sides = ('left', 'right')
    b = build

    torso = tuple(f'{side}_{joint}' for joint in ('shoulder', 'hip') for side in sides)
    parts = [
        Part(torso, (0.035 * b, 0.035 * b, 0.045 * b, 0.045 * b), 'shirt', torso, bulky=True),
        Part(torso[2:], (0.05 * b, 0.05 * b), 'trousers', torso[2:], bulky=True),
        Part(('neck', 'head'), (0.028 * b, 0.03), 'skin'),
        Part(
            ('head', 'chin'),
            (0.062, 0.04),
            'skin',
            ('nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear'),
            bulky=True,
        ),
        Part(('hair', 'head'), (0.066, 0.058), 'hair'),
        Part(('fringe',), (0.03,), 'hair'),
        Part(('mouth',), (0.012,), 'mouth'),
        Part(('nose',), (0.011,), 'nose', ('nose',)),
    ]
    for side in sides:
        shoulder, elbow, wrist, hand = (f'{side}_{joint}' for joint in ('shoulder', 'elbow', 'wrist', 'hand'))
        hip, knee, ankle, foot = (f'{side}_{joint}' for joint in ('hip', 'knee', 'ankle', 'foot'))
        parts += [
            Part((f'{side}_eye',), (0.009,), 'eye', (f'{side}_eye',)),
            Part((f'{side}_ear',), (0.014,), 'skin', (f'{side}_ear',)),
            Part((shoulder, elbow), (0.036 * b, 0.028 * b), upper_arm, (shoulder, elbow)),
            Part((elbow, wrist), (0.027 * b, 0.019 * b), forearm, (elbow, wrist)),
            Part((wrist, hand), (0.018, 0.021), 'skin', (wrist,)),
            Part((hip, knee), (0.05 * b, 0.036 * b), 'trousers', (hip, knee)),
            Part((knee, ankle), (0.035 * b, 0.022 * b), shin, (knee, ankle)),
            Part((ankle, foot), (0.022, 0.018), 'shoe', (ankle,)),
        ]
    if trousers == 'skirt':
        parts.append(
            Part(
                ('left_hip', 'right_hip', 'left_knee', 'right_knee'),
                (0.05 * b,) * 2 + (0.045,) * 2,
                'trousers',
                torso[2:],
            )
        )
    return parts
