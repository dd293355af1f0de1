"""The labels of a training batch, in the form in which losses compare them with poses."""

from typing import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError

NO_COORDS = (
    'the batches hold no keypoints in input pixels: write dict(type="PackPoseInputs", pack_transformed=True) at the '
    'end of each training pipeline'
)


def visible_joints(data_samples: Sequence) -> np.ndarray:
    """N×K, bool: whether a keypoint has a label (visible or hidden).

    Unlike ``keypoint_weights`` it holds for keypoints that lie outside the crop, too.
    """
    visible = np.concatenate([s.gt_instances.keypoints_visible for s in data_samples])
    return (visible[..., 0] if visible.ndim == 3 else visible) > 0  # (N, K, 2): visibility and weight


def labeled_joints(data_samples: Sequence, device: torch.device) -> Tensor:
    """:func:`visible_joints` as 1 and 0, fp32, on a device."""
    return torch.from_numpy(visible_joints(data_samples).astype(np.float32)).to(device, non_blocking=True)


def keypoint_weights(data_samples: Sequence) -> Tensor:
    """N×K: the weights that the codec gives the labeled keypoints; of a codec for each level (MSPN), the last one's."""
    weights = [s.gt_instance_labels.keypoint_weights for s in data_samples]
    return torch.cat([weight[-1] if weight.ndim == 3 else weight for weight in weights])


def labeled_coords(data_samples: Sequence, device: torch.device) -> Tensor:
    """N×K×2, fp32, input pixels: the labels of a training batch.

    Raises:
        UserError: The pipeline did not pack them.
    """
    if 'transformed_keypoints' not in data_samples[0].gt_instances:
        raise UserError(NO_COORDS)
    coords = np.concatenate([s.gt_instances.transformed_keypoints for s in data_samples])
    return torch.from_numpy(coords[..., :2].astype(np.float32)).to(device, non_blocking=True)
