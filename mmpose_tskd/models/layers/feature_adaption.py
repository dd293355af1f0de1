from typing import Sequence, Tuple

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import Tensor, nn


class FeatureAdaption(nn.Module):
    """Cascaded feature adaption: brings a frozen backbone's maps, coarse to fine, to what the graph network reads.

    The coarsest map, where convolutions are cheap, goes through three 3×3 convolutions. Each finer one is projected
    and takes in the adapted coarser one, upsampled and weighed by a channel gate that sees both.

    Args:
        in_channels: Channels of the maps, coarse to fine.
        out_channels: Channels to adapt them to, coarse to fine.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: Sequence[int]):
        super().__init__()
        width = out_channels[0]
        norm = dict(norm_cfg=dict(type='BN'))
        self.coarsest = nn.Sequential(
            ConvModule(in_channels[0], width, 3, padding=1, **norm),
            ConvModule(width, width, 3, padding=1, **norm),
            ConvModule(width, width, 3, padding=1, **norm),
        )
        self.laterals = nn.ModuleList(ConvModule(i, o, 1, **norm) for i, o in zip(in_channels[1:], out_channels[1:]))
        self.from_coarser = nn.ModuleList(
            ConvModule(i, o, 1, **norm) for i, o in zip(out_channels[:-1], out_channels[1:])
        )
        self.gates = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * o, o), nn.ReLU(inplace=True), nn.Linear(o, o), nn.Sigmoid())
            for o in out_channels[1:]
        )

    def forward(self, feats: Sequence[Tensor]) -> Tuple[Tensor, ...]:
        """Maps N×C×h×w, coarse to fine, to maps of the same sizes with the adapted channels."""
        if feats[0].device.type == 'cpu':  # where upsampling would bring each map into this format and back
            feats = [feat.contiguous(memory_format=torch.channels_last) for feat in feats]
        adapted = [self.coarsest(feats[0])]
        for feat, lateral, from_coarser, gate in zip(feats[1:], self.laterals, self.from_coarser, self.gates):
            own, coarser = lateral(feat), from_coarser(adapted[-1])
            context = torch.cat([own.mean((-2, -1)), coarser.mean((-2, -1))], dim=-1)
            coarser = coarser * gate(context)[..., None, None]
            coarser = F.interpolate(coarser, size=own.shape[-2:], mode='bilinear', align_corners=False)
            adapted.append(own + coarser)
        return tuple(adapted)
