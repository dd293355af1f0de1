from dataclasses import replace
from typing import List, Sequence, Tuple, Union

import torch
from mmpose.models.heads.base_head import BaseHead
from torch import Tensor

from .keypoints import KeypointReader
from .outputs import PoseOutputs
from .reader import HeadReader, flip_coords


class RegressionReader(KeypointReader, HeadReader):
    """Reads heads that put out coordinates: :class:`RegressionHead`, :class:`RLEHead` and the integral ones.

    The coordinates are shares of the input's width and height. For a head that also puts out its uncertainty (RLE), the
    score is the codec's: 1 minus the mean of the two sigmas. For the others it is always 1.

    Args:
        head: The head; its ``decoder`` is :class:`RegressionLabel` or :class:`IntegralRegressionLabel`.
    """

    def __init__(self, head: BaseHead):
        self.head = head
        self.codec = head.decoder
        self.input_size = tuple(getattr(self.codec, 'keypoint_codec', self.codec).input_size)

    @property
    def num_keypoints(self) -> int:
        return self.head.num_joints

    def __call__(self, feats: Tuple[Tensor, ...], output: Union[Tensor, Tuple[Tensor, Tensor]]) -> PoseOutputs:
        coords = output[0] if isinstance(output, tuple) else output  # an integral head puts out its maps, too
        output = coords.float()
        sure = torch.ones_like(output[..., 0]) if output.shape[-1] == 2 else 1 - output[..., 2:].sigmoid().mean(-1)
        coords = output[..., :2] * output.new_tensor(self.input_size)
        return PoseOutputs(feats=feats, reader=self, keypoints=torch.cat([coords, sure[..., None]], dim=-1))

    def labels(self, data_samples: Sequence) -> PoseOutputs:
        """A batch's targets, as if a network had put them out."""
        return self((), torch.cat([s.gt_instance_labels.keypoint_labels for s in data_samples]))

    def merge_flipped(self, outputs: PoseOutputs, mirrored: PoseOutputs, flip_indices: List[int]) -> PoseOutputs:
        """The coordinates and their confidence averaged with those for the mirrored image."""
        own, other = outputs.require_keypoints(), mirrored.require_keypoints()
        coords = flip_coords(other[..., :2], flip_indices, self.input_size[0])
        other = torch.cat([coords, other[:, flip_indices, 2:]], dim=-1)
        return replace(outputs, keypoints=(own + other) / 2)
