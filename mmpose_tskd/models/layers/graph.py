"""Graph layers over the keypoints of a skeleton; every tensor is N×K×C (instances, keypoints, channels)."""

from typing import Optional

import torch
from torch import Tensor, nn


class SemGraphConv(nn.Module):
    r"""Semantic graph convolution: each edge of the skeleton has a learnable weight.

    .. math::
        Y = (A \odot I) X W_0 + (A \odot (1 - I)) X W_1 + b

    with :math:`A` the row-wise softmax of the edges' weights, which are 1 at first and :math:`-\infty` where there is
    no edge. From `Semantic Graph Convolutional Networks for 3D Human Pose Regression
    <https://arxiv.org/abs/1904.03345>`_ (Zhao et al., 2019), as OPEC-Net uses it. Every pair of keypoints has a weight,
    and a buffer says which are edges: a layer can be made before its graph is known, and a checkpoint brings it.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        adjacency: K×K, bool, with self-loops.
        zero_init: Start with an output of zero.
    """

    adjacency: Tensor

    def __init__(self, in_channels: int, out_channels: int, adjacency: Tensor, zero_init: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2, in_channels, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.edge_weight = nn.Parameter(torch.ones(adjacency.shape))
        self.register_buffer('adjacency', adjacency.clone())
        if zero_init:
            nn.init.zeros_(self.weight)
        else:
            for matrix in self.weight:
                nn.init.xavier_uniform_(matrix, gain=1.414)

    def attention(self) -> Tensor:
        """K×K: A, its rows summing to 1."""
        return self.edge_weight.masked_fill(~self.adjacency, float('-inf')).softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """N×K×C_in to N×K×C_out."""
        attention = self.attention()
        own, neighbors = self.weight
        diagonal = attention.diagonal()
        return diagonal[:, None] * (x @ own) + (attention - diagonal.diag()) @ (x @ neighbors) + self.bias


def normalize_joints(norm: nn.Module, x: Tensor) -> Tensor:
    """Normalizes N×K×C by a batch norm of C channels, whose statistics are over instances and keypoints.

    This is a function and no subclass of :class:`nn.BatchNorm1d`: a run that synchronizes batch norm replaces the
    module, and would lose the subclass.
    """
    return norm(x.flatten(0, 1)).view_as(x)


class JointAttention(nn.Module):
    r"""Weighs each keypoint by the pose as a whole: :math:`x_k \leftarrow x_k + a_k x_k`.

    :math:`a = \sigma(W_2\, \mathrm{relu}(W_1 \bar x))` with :math:`\bar x` the mean over the keypoints.

    Args:
        channels: C.
        num_joints: K.
    """

    def __init__(self, channels: int, num_joints: int):
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // 4)
        self.excite = nn.Linear(channels // 4, num_joints)

    def forward(self, x: Tensor) -> Tensor:
        """N×K×C to N×K×C."""
        weight = self.excite(self.squeeze(x.mean(dim=1)).relu()).sigmoid()
        return x + x * weight[..., None]


class GraphBlock(nn.Module):
    """A residual block of IGP-GCN: two graph convolutions over the keypoints and the image features at them.

    Args:
        in_channels: C of the keypoints' features.
        feat_channels: D of the image features, 0 for a block without image.
        hidden_channels: Width between the two convolutions.
        adjacency: K×K, bool, with self-loops.
    """

    def __init__(self, in_channels: int, feat_channels: int, hidden_channels: int, adjacency: Tensor):
        super().__init__()
        width = in_channels + feat_channels
        self.conv1 = SemGraphConv(width, hidden_channels, adjacency)
        self.norm1 = nn.BatchNorm1d(hidden_channels)
        self.conv2 = SemGraphConv(hidden_channels, width, adjacency)
        self.norm2 = nn.BatchNorm1d(width)
        self.attention = JointAttention(width, len(adjacency))

    def forward(self, x: Tensor, feat: Optional[Tensor] = None) -> Tensor:
        """N×K×C and N×K×D to N×K×(D+C)."""
        if feat is not None:
            x = torch.cat([feat, x], dim=-1)
        out = self.conv2(normalize_joints(self.norm1, self.conv1(x)).relu())
        return self.attention(normalize_joints(self.norm2, x + out).relu())
