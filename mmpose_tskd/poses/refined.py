from dataclasses import replace
from typing import Any, List, Sequence, Tuple

from mmpose.models.heads.base_head import BaseHead
from torch import Tensor

from .outputs import PoseOutputs
from .reader import HeadReader


class RefinerReader(HeadReader):
    """Reads :class:`IGPGCNHead`: the pose is the last refined one, the confidence its base head's."""

    def __init__(self, head: BaseHead, base: HeadReader):
        self.head = head
        self.base = base
        self.input_size = base.input_size
        self.best_score = base.best_score
        self.least_score = base.least_score
        self.codec = base.codec
        self.is_udp = base.is_udp

    @property
    def num_keypoints(self) -> int:
        return self.base.num_keypoints

    def __call__(self, feats: Tuple[Tensor, ...], output: Any) -> PoseOutputs:
        refined, base_output = output
        base = self.base(feats, base_output)
        return replace(base, reader=self, refined=refined)

    def labels(self, data_samples: Sequence) -> PoseOutputs:
        """A batch's targets, as if the base head had put them out."""
        return self.base.labels(data_samples)

    def unmerged(self, feats: Tuple[Tensor, ...]) -> Any:
        """The base head's output alone, since :meth:`merge_flipped` refines only the average."""
        return (), self.base.unmerged(feats)

    def merge_flipped(self, outputs: PoseOutputs, mirrored: PoseOutputs, flip_indices: List[int]) -> PoseOutputs:
        """Averages the base head's outputs for the two images, and refines the averaged pose in both."""
        merged = self.base.merge_flipped(outputs, mirrored, flip_indices)
        initial = replace(merged, reader=self.base)
        views = (outputs.feats, mirrored.feats)
        return replace(merged, refined=self.head.refine_flipped(views, initial.peaks, initial.confidence, flip_indices))

    def decoded(self, coords: Tensor) -> Tensor:
        """As the base head's codec decodes."""
        return self.base.decoded(coords)

    def coords(self, outputs: PoseOutputs) -> Tensor:
        return outputs.refined[-1].float()

    def peaks(self, outputs: PoseOutputs) -> Tensor:
        return outputs.refined[-1].detach().float()

    def scores(self, outputs: PoseOutputs) -> Tensor:
        return self.base.scores(outputs)
