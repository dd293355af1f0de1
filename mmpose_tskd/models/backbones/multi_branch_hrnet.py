from typing import Tuple

from mmpose.models.backbones import HRNet
from mmpose.registry import MODELS
from torch import Tensor

from ...errors import UserError


@MODELS.register_module()
class MultiBranchHRNet(HRNet):
    """:class:`HRNet` that also hands out the branches of its last module, before they are fused.

    IGP-GCN reads feature maps at several resolutions. ``multiscale_output=True`` would offer fused ones, but through
    layers that a single-output checkpoint does not have; the branches before the fusion are trained with it.
    Parameters, their names and the last output are those of :class:`HRNet`.

    Args:
        branches: Which of the last module's branches to hand out, in this order; 0 is at 1/4 resolution, 1 at 1/8, ...
        kwargs: Of :class:`HRNet`.

    Raises:
        UserError: The last module has no such branch.
    """

    def __init__(self, *args, branches: Tuple[int, ...] = (2, 1, 0), **kwargs):
        super().__init__(*args, **kwargs)
        self.out_branches = tuple(branches)
        number = self.stage4_cfg['num_branches']
        if not set(branches) <= set(range(number)):
            raise UserError(f'backbone.branches is {self.out_branches}, the last module has 0 to {number - 1}')

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """N×3×H×W to the branches asked for, each N×C×(H/4·2^-b)×(W/4·2^-b), and last the fused 1/4 map."""
        x = self.relu(self.norm1(self.conv1(x)))
        x = self.relu(self.norm2(self.conv2(x)))
        maps = [self.layer1(x)]
        last = self.stage4[-1]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4[:-1]),
        ):
            maps = stage([maps[i] if layer is None else layer(maps[-1]) for i, layer in enumerate(transition)])
        maps = [branch(m) for branch, m in zip(last.branches, maps)]
        fused = maps[0]
        for layer, branch_map in zip(last.fuse_layers[0][1:], maps[1:]):
            fused = fused + layer(branch_map)
        return (*(maps[b] for b in self.out_branches), last.relu(fused))
