"""The labels of a training batch, in the form in which losses compare them with poses."""

from typing import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError

NO_COORDS = (
    'the batches hold no key points in input pixels: write dict(type="PackPoseInputs", pack_transformed=True) at the '
    'end of each training pipeline'
)


def labelled_joints(data_samples: Sequence, device: torch.device) -> Tensor:
    """N×K, fp32: 1 where a joint has a label (visible or hidden), else 0.

    Unlike ``keypoint_weights`` it holds for joints that lie outside the crop, too.
    """
    visible = np.concatenate([s.gt_instances.keypoints_visible for s in data_samples])
    if visible.ndim == 3:  # (N, K, 2): visibility and weight
        visible = visible[..., 0]
    return torch.from_numpy((visible > 0).astype(np.float32)).to(device, non_blocking=True)


def labelled_coords(data_samples: Sequence, device: torch.device) -> Tensor:
    """N×K×2, fp32, input pixels: the labels of a training batch.

    Raises:
        UserError: The pipeline did not pack them.
    """
    if 'transformed_keypoints' not in data_samples[0].gt_instances:
        raise UserError(NO_COORDS)
    coords = np.concatenate([s.gt_instances.transformed_keypoints for s in data_samples])
    return torch.from_numpy(coords[..., :2].astype(np.float32)).to(device, non_blocking=True)
