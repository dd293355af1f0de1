"""What every pose network says about a batch of people; :mod:`mmpose_tskd.readers` reads it off a head.

Letters in the shapes: N people, K key points, (W, H) input size in pixels, (Wx, Wy) SimCC bins, (w, h) heatmap size.
Coordinates are (x, y) in pixels of the network's input image.
"""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Iterator, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from .errors import UserError

if TYPE_CHECKING:
    from .readers import Reader


@dataclass(eq=False)
class PoseOutputs:
    """The outputs of one pose network for one batch; coordinates and scores are worked out when first asked for.

    Args:
        feats: The backbone's (or neck's) feature maps, each N×C×H×W.
        reader: The reader that made this, which knows how the head encodes a pose.
        simcc: SimCC logits, N×K×Wx and N×K×Wy; their softmax is the distribution that the head means.
        heatmaps: Heatmaps, N×K×h×w.
        refined: A refiner's progressive poses, coarse to fine, each N×K×2 in input pixels.
        weights: Of a teacher: how much each joint teaches, N×K or 1×K. None counts every joint as 1.
    """

    feats: Tuple[Tensor, ...]
    reader: 'Reader'
    simcc: Any = None
    heatmaps: Any = None
    refined: Tuple[Tensor, ...] = ()
    weights: Optional[Tensor] = None

    @cached_property
    def coords(self) -> Tensor:
        """N×K×2, input pixels, fp32, differentiable: an expectation that is unbiased for the head's own target."""
        return self.reader.coords(self)

    @cached_property
    def peaks(self) -> Tensor:
        """N×K×2, input pixels, fp32, no gradient: the hard decode by the highest bin or pixel, on the device."""
        with torch.no_grad():
            return self.reader.peaks(self)

    @cached_property
    def scores(self) -> Tensor:
        """N×K, fp32, no gradient: the confidence of each key point."""
        with torch.no_grad():
            return self.reader.scores(self)

    @property
    def confidence(self) -> Tensor:
        """N×K, in [0, 1]: the scores over the score of the head's own target, so that all heads' compare."""
        return (self.scores / self.reader.best_score).clamp(0, 1)

    def select_joints(self, indices: Tensor) -> 'PoseOutputs':
        """The outputs of other joints, or the same in another order.

        Args:
            indices: The joints to take, int64.
        """

        def select(values: Any) -> Any:
            return values if values is None else tuple(value[:, indices] for value in values)

        heatmaps = None if self.heatmaps is None else self.heatmaps[:, indices]
        return replace(self, simcc=select(self.simcc), heatmaps=heatmaps, refined=select(self.refined))

    @property
    def codec(self) -> Any:
        """The codec of the head."""
        return self.reader.codec

    @property
    def input_size(self) -> Tuple[int, int]:
        """(W, H) of the network's input, in pixels."""
        return self.reader.input_size


@contextmanager
def replay_forward(head: Any, *known: Tuple[Any, Any]) -> Iterator[None]:
    """Lets a head's ``loss`` or ``predict`` use outputs that are worked out already.

    MMPose's heads call ``self.forward`` inside both, so a head whose output is needed elsewhere would run twice. The
    outputs are handed over in fp32: MMPose's accuracies go through NumPy, which has no bfloat16.

    Args:
        head: An MMPose head.
        known: Pairs of features and the output of ``head.forward`` for them.
    """
    own = head.__dict__.get('forward')  # such as a compiled one
    head.forward = lambda feats: next(_in_fp32(output) for seen, output in known if seen is feats)
    try:
        yield
    finally:
        del head.forward
        if own is not None:
            head.forward = own


def _in_fp32(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.float()
    return type(output)(map(_in_fp32, output)) if type(output) in (tuple, list) else output


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
        raise UserError(
            'the batch holds no key points in input pixels: '
            'write dict(type="PackPoseInputs", pack_transformed=True) at the end of the training pipeline'
        )
    coords = np.concatenate([s.gt_instances.transformed_keypoints for s in data_samples])
    return torch.from_numpy(coords[..., :2].astype(np.float32)).to(device, non_blocking=True)
