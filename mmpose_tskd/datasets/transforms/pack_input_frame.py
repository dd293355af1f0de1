from typing import Any, Dict, List

import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.datasets.transforms import PackPoseInputs, TopdownAffine
from mmpose.structures.bbox import get_udp_warp_matrix, get_warp_matrix

from ...poses.record import instance_key


def image_to_input(results: Dict[str, Any], use_udp: bool) -> np.ndarray:
    """2×3, the affine map from the image on the disk to the input that a top-down pipeline made of it.

    MMPose's ``RandomFlip`` mirrors the image about its center, and ``TopdownAffine`` crops it; the other transforms
    of a top-down pipeline move the box alone.

    Args:
        results: What the pipeline has put together, after ``TopdownAffine``.
        use_udp: As in ``TopdownAffine``.
    """
    height, width = results['img_shape'][:2]
    direction = results.get('flip_direction') if results.get('flip') else None
    flip = np.eye(3)
    if direction in ('horizontal', 'diagonal'):
        flip[0] = [-1, 0, width - 1]
    if direction in ('vertical', 'diagonal'):
        flip[1] = [0, -1, height - 1]
    rotation = float(results['bbox_rotation'][0]) if 'bbox_rotation' in results else 0.0
    warp = get_udp_warp_matrix if use_udp else get_warp_matrix
    return warp(results['input_center'], results['input_scale'], rotation, output_size=results['input_size']) @ flip


class PackInputFrame(BaseTransform):
    """Packs a sample as ``pack`` does, and adds where its instance lies in the image on the disk.

    The sample's metainfo ``input_frame`` is a dict of ``key`` (:func:`instance_key`), ``matrix``
    (:func:`image_to_input`), and ``swaps``, whether left and right keypoints have changed places.

    Args:
        pack: MMPose's ``PackPoseInputs``, or what packs like it.
        use_udp: As in the pipeline's ``TopdownAffine``.
    """

    def __init__(self, pack: BaseTransform, use_udp: bool):
        self.pack = pack
        self.use_udp = use_udp

    def transform(self, results: dict) -> dict:
        packed = self.pack(results)
        frame = dict(
            key=instance_key(results['img_path'], results['id']),
            matrix=image_to_input(results, self.use_udp),
            # MMPose's diagonal flip turns the image by 180 degrees and lets every keypoint keep its name
            swaps=results.get('flip_direction') in ('horizontal', 'vertical'),
        )
        packed['data_samples'].set_metainfo(dict(input_frame=frame))
        return packed


def pack_input_frames(transforms: List[Any]) -> bool:
    """Lets a top-down pipeline pack input frames, in place.

    Args:
        transforms: The pipeline's.

    Returns:
        Whether it does now: it needs exactly one ``TopdownAffine``, and ``PackPoseInputs``.
    """
    crops = [step for step in transforms if isinstance(step, TopdownAffine)]
    for place, step in enumerate(transforms):
        if isinstance(step, PackPoseInputs) and len(crops) == 1:
            transforms[place] = PackInputFrame(step, crops[0].use_udp)
    return any(isinstance(step, PackInputFrame) for step in transforms)
