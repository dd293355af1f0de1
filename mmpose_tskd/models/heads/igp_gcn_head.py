from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from mmengine.structures import InstanceData
from mmpose.models.heads.base_head import BaseHead
from mmpose.registry import MODELS
from mmpose.utils.tensor_utils import to_numpy
from torch import Tensor, nn

from ...errors import UserError
from ...poses import (
    Skeleton,
    build_reader,
    flip_coords,
    labeled_coords,
    labeled_joints,
    load_skeleton,
    training_skeleton,
)
from ..layers import FeatureAdaption, GraphBlock, SemGraphConv, normalize_joints
from ..losses.progressive_pose_loss import denormalize_coords, normalize_coords, progressive_pose_loss
from ..replay_forward import replay_forward


class RefinedOutput(NamedTuple):
    """What :class:`IGPGCNHead` answers: its poses (each N×K×2, input pixels), and its base head's output."""

    refined: Tuple[Tensor, ...]
    base: Any


@MODELS.register_module()
class IGPGCNHead(BaseHead):
    """Image-guided progressive graph network: refines the pose of another head in steps, coarse to fine.

    Each keypoint of the base head's pose P_init is a node (x, y, score): x and y in [-1, 1], and as score the
    confidence (:attr:`PoseOutputs.confidence`), which has the same scale for any head. The nodes pass an input layer
    and a block without image features. Then each step reads one feature map at the keypoints, coarse to fine, and puts
    out a pose. From `OPEC-Net <https://arxiv.org/abs/2003.10506>`_ (Qiu et al., 2020), as the paper's section III-C
    uses it.

    The graph is that of the training data. The first training step sets it, and checkpoints hold it. Before that, each
    keypoint is connected with itself alone.

    Args:
        base_head: The head whose pose is refined, such as :class:`OfficialSimCCHead`.
        metainfo: The keypoints and limbs, as a dataset class's name or a metainfo dict (see :func:`load_skeleton`).
            Needed where the training data do not say them: outside of a Runner, or where the pipeline converts them
            (``KeypointConverter``).
        in_channels: Channels of the feature maps to read, coarse to fine; one map for each step.
        in_indices: Indices of these maps among the backbone's (or neck's); steps may share a map, as in (-1, -1, -1).
        feat_channels: Channels of the image feature that each step adds to its keypoints.
        hidden_channels: Width of the input layer; half of it lies between a block's two convolutions.
        feature_adaption: Adapt the maps with :class:`FeatureAdaption`, as OPEC-Net does and the paper's sizes imply.
            False projects only the features read at the keypoints, by one linear layer a step, which is far lighter.
        output: ``'offset'``: each step puts out an offset from P_init, which is 0 before training. ``'absolute'``: each
            step puts out coordinates, as in OPEC-Net.
        resample: Read each step's features at the pose of the step before, instead of at P_init.
        refine_score_thr: In testing, refine only keypoints whose confidence is below this, in (0, 1]. None refines all.
            Training always refines all.
        stage_weights: λ of Eq. 7, coarse to fine, for :meth:`loss`; :class:`ProgressivePoseLoss` has its own.

    Raises:
        UserError: The base head and the metainfo have different numbers of keypoints, ``in_channels``, ``in_indices``,
            ``feat_channels`` and ``stage_weights`` differ in length, or ``output`` or ``refine_score_thr`` is none of
            the above. At the first training step: the keypoints are not known, or are not those of the data.
    """

    def __init__(
        self,
        base_head: dict,
        metainfo: Union[str, dict, None] = None,
        in_channels: Sequence[int] = (128, 64, 32),
        in_indices: Sequence[int] = (0, 1, 2),
        feat_channels: Sequence[int] = (256, 128, 128),
        hidden_channels: int = 128,
        feature_adaption: bool = False,
        output: str = 'offset',
        resample: bool = False,
        refine_score_thr: Optional[float] = None,
        stage_weights: Sequence[float] = (0.3, 0.5, 1.0),
        init_cfg: Optional[dict] = None,
    ):
        super().__init__(init_cfg)
        if not len(in_channels) == len(in_indices) == len(feat_channels) == len(stage_weights):
            raise UserError(
                'IGPGCNHead takes one entry a step in in_channels, in_indices, feat_channels and stage_weights, got '
                f'{len(in_channels)}, {len(in_indices)}, {len(feat_channels)} and {len(stage_weights)}'
            )
        if output not in ('offset', 'absolute'):
            raise UserError(f'IGPGCNHead.output is "offset" or "absolute", not {output!r}')
        if refine_score_thr is not None and not 0 < refine_score_thr <= 1:
            raise UserError(f'IGPGCNHead.refine_score_thr is a confidence, in (0, 1], or None, not {refine_score_thr}')
        self.base_head = MODELS.build(base_head)
        self.base_reader = build_reader(self.base_head, where='head.base_head')
        self.decoder = self.base_reader.codec
        self.input_size = self.base_reader.input_size
        self.in_channels = tuple(in_channels)
        self.in_indices = tuple(in_indices)
        self.output = output
        self.resample = resample
        self.refine_score_thr = refine_score_thr
        self.stage_weights = tuple(stage_weights)

        self.skeleton: Optional[Skeleton] = None
        self.knows_joints = False
        adjacency = torch.eye(self.base_reader.num_keypoints, dtype=torch.bool)
        self.feature_adaption = FeatureAdaption(in_channels, feat_channels) if feature_adaption else None
        self.projections = None
        if not feature_adaption:
            self.projections = nn.ModuleList(nn.Linear(i, o) for i, o in zip(in_channels, feat_channels))
        self.input_layer = SemGraphConv(3, hidden_channels, adjacency)
        self.input_norm = nn.BatchNorm1d(hidden_channels)
        self.blocks = nn.ModuleList([GraphBlock(hidden_channels, 0, hidden_channels // 2, adjacency)])
        self.output_layers = nn.ModuleList()
        width = hidden_channels
        for channels in feat_channels:
            self.blocks.append(GraphBlock(width, channels, hidden_channels // 2, adjacency))
            width += channels
            self.output_layers.append(SemGraphConv(width, 2, adjacency, zero_init=output == 'offset'))
        if metainfo is not None:
            self.set_skeleton(load_skeleton(metainfo, 'head.metainfo'))

    def set_skeleton(self, skeleton: Skeleton) -> None:
        """Connects the keypoints as a skeleton does.

        Raises:
            UserError: It has not the base head's number of keypoints, or no limbs.
        """
        if self.base_reader.num_keypoints != skeleton.num_keypoints:
            raise UserError(
                f'IGPGCNHead.base_head has {self.base_reader.num_keypoints} keypoints, '
                f'but the metainfo has {skeleton.num_keypoints} keypoints'
            )
        adjacency = skeleton.adjacency()
        for layer in self.modules():
            if isinstance(layer, SemGraphConv):
                layer.adjacency.copy_(adjacency)
        self.skeleton = skeleton

    def learn_joints(self) -> None:
        """Takes the graph from the training data; the first training step calls it.

        Raises:
            UserError: Neither a Runner nor the config names the keypoints, or the data's are not those of ``metainfo``.
        """
        count = self.base_reader.num_keypoints
        skeleton = training_skeleton(count, self.skeleton, 'model.head.metainfo')
        if skeleton is None:
            raise UserError(
                f'IGPGCNHead connects {count} keypoints by their limbs, and neither a Runner nor the config says which '
                "keypoints they are: set model.head.metainfo to the data's dataset class or metainfo dict"
            )
        self.set_skeleton(skeleton)
        self.knows_joints = True

    def refine(self, feats: Sequence[Tensor], coords: Tensor, confidence: Tensor) -> Tuple[Tensor, ...]:
        """Refines a pose.

        Args:
            feats: The backbone's feature maps, each N×C×h×w.
            coords: P_init, N×K×2, input pixels.
            confidence: The confidence of each keypoint of P_init, N×K, in [0, 1].

        Returns:
            The progressive poses, coarse to fine, each N×K×2, input pixels, fp32.

        Raises:
            UserError: ``in_indices`` or ``in_channels`` do not fit the maps.
        """
        maps = self.select_maps(feats)
        dtype = next(self.input_layer.parameters()).dtype
        if self.feature_adaption is not None:
            maps = self.feature_adaption(maps)
        # In half precision a coordinate would be rounded to half a pixel, and the graph network costs next to nothing.
        with torch.autocast(coords.device.type, enabled=False):
            start = pose = normalize_coords(coords.float(), self.input_size)
            x = torch.cat([start, confidence.float().unsqueeze(-1)], dim=-1).to(dtype)
            x = self.blocks[0](normalize_joints(self.input_norm, self.input_layer(x)).relu())
            poses = []
            for step, (block, output_layer) in enumerate(zip(self.blocks[1:], self.output_layers)):
                feat = sample_at(maps[step], pose.detach() if self.resample else start).to(dtype)
                if self.projections is not None:
                    feat = self.projections[step](feat)
                x = block(x, feat)
                pose = output_layer(x).float() + (start if self.output == 'offset' else 0)
                poses.append(denormalize_coords(pose, self.input_size))
        if self.refine_score_thr is None or self.training:
            return tuple(poses)
        low = (confidence < self.refine_score_thr).unsqueeze(-1)
        return tuple(torch.where(low, pose, coords.float()) for pose in poses)

    def refine_flipped(
        self, views: Sequence[Sequence[Tensor]], coords: Tensor, confidence: Tensor, flip_indices: List[int]
    ) -> Tuple[Tensor, ...]:
        """Refines one pose both in an image and, mirrored, in its mirror image, and averages the two results.

        Both start from the same P_init, decoded from the base head's output averaged over the two images (as in the
        flip test of :class:`OfficialSimCCHead`). Where the images disagree about a keypoint, this P_init is at one of
        the two places. If each image had its own P_init, the average of the two results would lie between the places.

        Args:
            views: The feature maps of the image and of its mirror image.
            coords: P_init in the image, N×K×2, input pixels.
            confidence: The confidence of each keypoint of P_init, N×K, in [0, 1].
            flip_indices: The keypoint on the other side of the body, for each keypoint.

        Returns:
            The progressive poses in the image, coarse to fine, each N×K×2, input pixels, fp32.
        """
        width = self.input_size[0]
        refined = self.refine(views[0], coords, confidence)
        mirrored = self.refine(views[1], flip_coords(coords, flip_indices, width), confidence[:, flip_indices])
        return tuple((pose + flip_coords(other, flip_indices, width)) / 2 for pose, other in zip(refined, mirrored))

    def select_maps(self, feats: Sequence[Tensor]) -> List[Tensor]:
        """The maps that the steps read, coarse to fine."""
        channels = [feat.shape[1] for feat in feats]
        known = all(-len(feats) <= i < len(feats) for i in self.in_indices)
        if known and tuple(channels[i] for i in self.in_indices) == self.in_channels:
            return [feats[i] for i in self.in_indices]
        given = f'the backbone (or neck) hands out {len(feats)} map(s) with {channels} channels'
        if not known:
            raise UserError(
                f'head.in_indices is {self.in_indices}, but {given}: name them by 0 to {len(feats) - 1}, where '
                'steps may share one, or let backbone.out_indices hand out more'
            )
        raise UserError(
            f'head.in_channels is {self.in_channels}, but {given}: with head.in_indices={self.in_indices} it must be '
            f'{tuple(channels[i] for i in self.in_indices)}'
        )

    def forward(self, feats: Tuple[Tensor, ...]) -> RefinedOutput:
        """Feature maps to the base head's output and its refined poses; P_init and its confidence carry no gradient."""
        if self.training and not self.knows_joints:
            self.learn_joints()
        base = self.base_reader.head.forward(feats)
        initial = self.base_reader(feats, base)
        return RefinedOutput(self.refine(initial.feats, initial.peaks, initial.confidence), base)

    def loss(self, feats: Tuple[Tensor, ...], batch_data_samples: Sequence, train_cfg: dict = {}) -> dict:
        """The loss of Eq. 7 against the labels, and the base head's own loss unless base head and backbone are frozen.

        Raises:
            UserError: The batch holds no keypoints in input pixels.
        """
        output = self.forward(feats)
        initial = self.base_reader(feats, output.base)
        device = output.refined[-1].device
        target, mask = labeled_coords(batch_data_samples, device), labeled_joints(batch_data_samples, device)
        loss = progressive_pose_loss(output.refined, target, mask, self.input_size, self.stage_weights)
        losses = dict(loss_refine=loss)
        if initial.coords.requires_grad:  # the base head, or the backbone below it, is trained
            with replay_forward(self.base_reader.head, (feats, output.base)):
                losses.update(self.base_head.loss(feats, batch_data_samples, train_cfg=train_cfg))
        return losses

    def predict(self, feats, batch_data_samples: Sequence, test_cfg: dict = {}) -> List[InstanceData]:
        """As the base head's ``predict``, its keypoints refined, its scores confidences in [0, 1].

        With ``test_cfg.flip_test``, one pose is refined in both views, see :meth:`refine_flipped`.
        """
        flip_test = test_cfg.get('flip_test', False)
        views = feats if flip_test else [feats]
        known = [(view, self.base_reader.head.forward(view)) for view in views]
        read = [self.base_reader(view, output) for view, output in known]
        with replay_forward(self.base_reader.head, *known):
            base = self.base_head.predict(feats, batch_data_samples, test_cfg)
        if flip_test:
            flip_indices = batch_data_samples[0].metainfo['flip_indices']
            initial = self.base_reader.merge_flipped(read[0], read[1], flip_indices)
            maps = [outputs.feats for outputs in read]
            coords = self.refine_flipped(maps, initial.peaks, initial.confidence, flip_indices)[-1]
        else:
            initial = read[0]
            coords = self.refine(initial.feats, initial.peaks, initial.confidence)[-1]
        instances = base[0] if isinstance(base, tuple) else base
        poses = to_numpy(self.base_reader.decoded(coords.float()))
        for instance, refined, confidence in zip(instances, poses, to_numpy(initial.confidence)):
            instance.keypoints, instance.keypoint_scores = refined[None], confidence[None]
        return base


def sample_at(feat: Tensor, coords: Tensor) -> Tensor:
    """Bilinear samples of a map at coordinates in [-1, 1] (corners aligned); those outside read its border.

    What :func:`torch.nn.functional.grid_sample` gives, by gathers: their gradient has a deterministic form on a GPU,
    and runtimes without GridSample can read them.

    Args:
        feat: N×C×h×w.
        coords: N×K×2.

    Returns:
        N×K×C, fp32.
    """
    channels, height, width = feat.shape[1:]
    x = ((coords[..., 0].float() + 1) * ((width - 1) / 2)).clamp(0, width - 1)
    y = ((coords[..., 1].float() + 1) * ((height - 1) / 2)).clamp(0, height - 1)
    left, top = x.long().clamp(0, max(width - 2, 0)), y.long().clamp(0, max(height - 2, 0))
    right, below = min(1, width - 1), min(1, height - 1) * width
    first = top * width + left
    corners = torch.cat([first, first + right, first + below, first + (right + below)], dim=1)
    values = feat.flatten(2).gather(-1, corners.unsqueeze(1).expand(-1, channels, -1)).float()
    top_left, top_right, bottom_left, bottom_right = values.chunk(4, dim=-1)
    dx, dy = (x - left).unsqueeze(1), (y - top).unsqueeze(1)
    upper, lower = torch.lerp(top_left, top_right, dx), torch.lerp(bottom_left, bottom_right, dx)
    return torch.lerp(upper, lower, dy).transpose(1, 2)
