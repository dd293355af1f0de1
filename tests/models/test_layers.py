import pytest
import torch

from mmpose_tskd.models.layers import FeatureAdaption, GraphBlock, JointAttention, SemGraphConv, normalize_joints
from mmpose_tskd.poses import load_skeleton

CHAIN = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 1]], dtype=torch.bool)


def test_attention_is_a_softmax_over_a_joints_edges():
    conv = SemGraphConv(2, 2, CHAIN)
    assert torch.allclose(conv.attention(), torch.tensor([[0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3], [0, 0.5, 0.5]]))
    conv.edge_weight.data[0, 0] = 1 + torch.tensor(3.0).log()  # keypoint 0 to itself
    assert torch.allclose(conv.attention()[0], torch.tensor([0.75, 0.25, 0]))


def test_semantic_graph_convolution_equals_its_equation():
    conv = SemGraphConv(2, 3, CHAIN)
    conv.edge_weight.data.normal_()
    conv.bias.data.normal_()
    x, attention, eye = torch.randn(4, 3, 2), conv.attention(), torch.eye(3)
    expected = (attention * eye) @ x @ conv.weight[0] + (attention * (1 - eye)) @ x @ conv.weight[1] + conv.bias
    assert torch.allclose(conv(x), expected, atol=1e-6)


def test_zero_init_answers_zero_and_still_learns():
    conv = SemGraphConv(2, 3, CHAIN, zero_init=True)
    out = conv(torch.randn(4, 3, 2))
    assert out.abs().max() == 0
    (out - 1).square().sum().backward()
    assert conv.weight.grad.abs().sum() > 0


def test_joint_attention_equals_its_equation():
    layer, x = JointAttention(8, 3), torch.randn(2, 3, 8)
    mean = x.mean(1)
    weight = torch.sigmoid(layer.excite(torch.relu(layer.squeeze(mean))))
    assert weight.shape == (2, 3)
    assert torch.allclose(layer(x), x + x * weight[..., None])


def test_joint_batch_norm_is_over_people_and_joints():
    x = torch.randn(5, 3, 4) * 3 + 1
    out = normalize_joints(torch.nn.BatchNorm1d(4), x)
    assert torch.allclose(out.mean((0, 1)), torch.zeros(4), atol=1e-5)
    assert torch.allclose(out.var((0, 1), unbiased=False), torch.ones(4), atol=1e-3)


def test_graph_block_is_residual():
    block = GraphBlock(in_channels=4, feat_channels=6, hidden_channels=2, adjacency=CHAIN).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    torch.nn.init.zeros_(block.attention.excite.weight)
    torch.nn.init.constant_(block.attention.excite.bias, -1e4)  # a weight of 0 for each keypoint
    x, feat = torch.randn(2, 3, 4), torch.randn(2, 3, 6)
    assert torch.allclose(block(x, feat), torch.cat([feat, x], dim=-1).relu(), atol=1e-4)


def test_synchronized_batch_norm_takes_the_place_of_a_blocks():
    block = GraphBlock(in_channels=4, feat_channels=0, hidden_channels=2, adjacency=CHAIN).eval()
    x = torch.randn(2, 3, 4)
    expected = block(x)
    synchronized = torch.nn.SyncBatchNorm.convert_sync_batchnorm(block).eval()  # torch 2.1 sets it to train
    assert isinstance(synchronized.norm1, torch.nn.SyncBatchNorm)
    assert torch.allclose(synchronized(x), expected)


def test_graph_block_widens_by_the_image_feature():
    block = GraphBlock(in_channels=4, feat_channels=6, hidden_channels=2, adjacency=CHAIN)
    assert block(torch.randn(2, 3, 4), torch.randn(2, 3, 6)).shape == (2, 3, 10)


@pytest.mark.parametrize('dataset, joints, limbs', [('CocoDataset', 17, 19), ('CrowdPoseDataset', 14, 15)])
def test_skeleton_comes_from_the_datasets_metainfo(dataset, joints, limbs):
    skeleton = load_skeleton(dataset)
    assert skeleton.num_keypoints == joints
    assert skeleton.edges().shape == (2, limbs)
    adjacency = skeleton.adjacency()
    assert torch.equal(adjacency, adjacency.T)
    assert adjacency.sum() == joints + 2 * limbs


def test_feature_adaption_keeps_sizes_and_reads_coarser_maps():
    layer = FeatureAdaption((8, 6, 4), (16, 12, 10)).eval()
    feats = [torch.randn(2, 8, 4, 3), torch.randn(2, 6, 8, 6), torch.randn(2, 4, 16, 12)]
    adapted = layer(feats)
    assert [tuple(a.shape) for a in adapted] == [(2, 16, 4, 3), (2, 12, 8, 6), (2, 10, 16, 12)]
    changed = layer([feats[0] + 1, *feats[1:]])
    assert not torch.allclose(changed[2], adapted[2])
