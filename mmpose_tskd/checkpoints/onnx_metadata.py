"""What an exported file says of itself."""

import json
from typing import Any, Callable, Dict, Optional

from ..errors import UserError

LARGEST_SIDE = 4096  # pixels of a crop


def _are_numbers(values: Any, count: int, low: float = -1e6, high: float = 1e6) -> bool:
    return isinstance(values, list) and len(values) == count and all(_is_number(value, low, high) for value in values)


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _are_places(values: Any, joints: int) -> bool:
    return isinstance(values, list) and all(isinstance(one, int) and 0 <= one < joints for one in values)


# for each entry of the metadata, whether its value is possible, given the number of keypoints
METADATA: Dict[str, Callable[[Any, int], bool]] = dict(
    keypoints=lambda names, joints: joints > 0 and all(isinstance(name, str) for name in names),
    format=lambda name, _: name in ('coords', 'rtmlib', 'mmdeploy'),
    input_size=lambda sides, _: _are_numbers(sides, 2, 1, LARGEST_SIDE) and all(isinstance(one, int) for one in sides),
    dtype=lambda name, _: name in ('uint8', 'float32'),
    rgb=lambda value, _: isinstance(value, bool),
    mean=lambda values, _: _are_numbers(values, 3),
    std=lambda values, _: _are_numbers(values, 3, 1e-6),
    padding=lambda value, _: _is_number(value, 1e-2, 1e2),
    use_udp=lambda value, _: isinstance(value, bool),
    skeleton=lambda links, joints: (
        isinstance(links, list) and all(_are_places(link, joints) and len(link) == 2 for link in links)
    ),
    flip_indices=lambda places, joints: _are_places(places, joints) and sorted(places) == list(range(joints)),
    sigmas=lambda values, joints: values == [] or _are_numbers(values, joints, 0),
    precision=lambda name, _: isinstance(name, str),
    flip_test=lambda value, _: isinstance(value, bool),
    checkpoint_sha256=lambda digest, _: isinstance(digest, str),
    versions=lambda values, _: isinstance(values, dict),
)


def read_metadata(session: Any, name: str) -> Optional[Dict[str, Any]]:
    """Reads a file's metadata and checks them.

    Args:
        session: The file's session in ONNX Runtime.
        name: The file's name, for the messages.

    Returns:
        What ``tools/export_onnx.py`` wrote; None where another tool wrote the file.

    Raises:
        UserError: The file has metadata of ``tools/export_onnx.py``, but an entry is missing or impossible.
    """
    stored = session.get_modelmeta().custom_metadata_map
    if not {'checkpoint_sha256', 'flip_indices'} & stored.keys():
        return None
    found: Dict[str, Any] = {}
    for key, is_possible in METADATA.items():
        try:
            found[key] = json.loads(stored[key])
        except (KeyError, ValueError, RecursionError) as error:
            raise UserError(f'{name} has no {key} in its metadata, as tools/export_onnx.py writes it') from error
        joints = len(found['keypoints']) if isinstance(found['keypoints'], list) else 0
        if not is_possible(found[key], joints):
            raise UserError(f'{name}: {key} in its metadata is not what tools/export_onnx.py writes: export it again')
    return found
