"""Laws that hold for any pose, any skeleton and any order of its keypoints, tried on many."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from test_skeleton import HAND

from mmpose_tskd.models.layers import GraphBlock, SemGraphConv
from mmpose_tskd.models.losses import (
    feature_mse_loss,
    heatmap_mse_loss,
    joint_affinity_loss,
    pose_l1_loss,
    progressive_pose_loss,
    simcc_kl_loss,
    simcc_logit_kd_loss,
    structure_loss,
)

every = settings(
    max_examples=50,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SIZE = (64, 96)


def tensors(shape, least, most):
    """Tensors of a shape: values far and near, many of them alike."""
    values = st.floats(least, most, width=32)
    return arrays(np.float32, shape, elements=values).map(torch.from_numpy)


def poses(people, joints):
    """N×K×2, in the image and out of it; keypoints may coincide."""
    return tensors((people, joints, 2), -200, 300)


@st.composite
def scenes(draw):
    """Two poses of the same instances, their limbs (2×E, in any number of parts), and an order of the keypoints."""
    people, joints = draw(st.integers(1, 3)), draw(st.integers(2, 12))
    pairs = [(i, j) for i in range(joints) for j in range(i)]
    links = draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=2 * joints, unique=True))
    order = torch.tensor(draw(st.permutations(range(joints))))
    return draw(poses(people, joints)), draw(poses(people, joints)), torch.tensor(links).T, order


def limbs(form, student, teacher, edges):
    return structure_loss(student, teacher, edges, torch.linspace(0.5, 2, edges.shape[1]), form)


POSE_LOSSES = {
    'Eq. 2': lambda student, teacher, edges: pose_l1_loss(student, teacher),
    'Eq. 3, lengths': lambda student, teacher, edges: limbs('length', student, teacher, edges),
    'Eq. 3, vectors': lambda student, teacher, edges: limbs('vector', student, teacher, edges),
    'Eq. 6 and 7': lambda student, teacher, edges: progressive_pose_loss(
        [student] * 3, teacher, torch.ones(student.shape[:2]), SIZE
    ),
}
# of what two networks put out, N×K×h×w
MAP_LOSSES = {
    'Eq. 1': feature_mse_loss,
    'SimCCKLLoss': lambda student, teacher: simcc_kl_loss(
        (student.flatten(2),) * 2, (teacher.flatten(2).softmax(-1),) * 2, torch.ones(student.shape[:2])
    ),
    'SimCCLogitKDLoss': lambda student, teacher: simcc_logit_kd_loss(
        (student.flatten(2),) * 2, (teacher.flatten(2),) * 2
    ),
    'HeatmapMSELoss': heatmap_mse_loss,
    'JointAffinityLoss': joint_affinity_loss,
}


def close(first, second, size=1.0):
    """Up to fp32's rounding of numbers of a size."""
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5 * size)


@pytest.mark.parametrize('name', POSE_LOSSES)
@every
@given(scene=scenes())
def test_a_loss_of_poses_is_never_negative_and_zero_for_equal_ones(name, survived, scene):
    student, teacher, edges, _ = scene
    loss = POSE_LOSSES[name]
    assert loss(student, teacher, edges) >= 0
    assert loss(student, student, edges) == 0
    survived('properties', 'losses are 0 for equals and never negative')


@pytest.mark.parametrize('name', MAP_LOSSES)
@every
@given(student=tensors((2, 3, 4, 5), -100, 100), teacher=tensors((2, 3, 4, 5), -100, 100))
def test_a_loss_of_maps_is_never_negative_and_zero_for_equal_ones(name, survived, student, teacher):
    loss = MAP_LOSSES[name]
    assert loss(student, teacher) >= -1e-4  # rounding of logits up to 100
    assert loss(student, student).abs() < 1e-4
    survived('properties', 'losses are 0 for equals and never negative')


@pytest.mark.parametrize('form', ['length', 'vector'])
@every
@given(scene=scenes(), shift=poses(1, 1))
def test_limbs_do_not_change_where_a_person_moves(form, survived, scene, shift):
    student, teacher, edges, _ = scene
    close(limbs(form, student + shift, teacher, edges), limbs(form, student, teacher, edges), 1000)
    survived('properties', 'limbs do not change by a translation')


@every
@given(scene=scenes(), angle=st.floats(-3.2, 3.2))
def test_lengths_do_not_change_where_a_person_turns(survived, scene, angle):
    student, teacher, edges, _ = scene
    angle = torch.tensor(angle)
    turn = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    close(limbs('length', student @ turn, teacher, edges), limbs('length', student, teacher, edges), 1000)
    survived('properties', 'lengths do not change by a rotation')


@pytest.mark.parametrize('name', POSE_LOSSES)
@every
@given(scene=scenes())
def test_a_loss_does_not_hang_on_the_order_of_the_joints(name, survived, scene):
    student, teacher, edges, order = scene
    renumbered = order.argsort()[edges]
    loss = POSE_LOSSES[name]
    close(loss(student[:, order], teacher[:, order], renumbered), loss(student, teacher, edges), 10)
    survived('properties', 'losses do not hang on the order of the keypoints')


@pytest.mark.parametrize('name', POSE_LOSSES)
@every
@given(scene=scenes(), far=st.sampled_from([-1e6, -1.0, 64.0, 1e6]))
def test_a_gradient_is_finite_where_joints_coincide_or_leave_the_image(name, survived, scene, far):
    student, teacher, edges, _ = scene
    student[:, edges[0, 0]] = student[:, edges[1, 0]]
    teacher[:, edges[0, 0]] = far
    for pose in (student, student.clone().index_fill_(1, edges[0, 0], far)):
        pose.requires_grad_()
        loss = POSE_LOSSES[name](pose, teacher, edges)
        loss.backward()
        assert loss.isfinite() and pose.grad.isfinite().all()
    survived('properties', 'gradients are finite')


def relabel(layer, twin, order):
    """Gives ``twin``, the layer of the relabeled skeleton, the weights of ``layer``."""
    state = layer.state_dict()
    for name, module in layer.named_modules():
        prefix = f'{name}.' if name else ''
        if isinstance(module, SemGraphConv):
            for key in ('edge_weight', 'adjacency'):
                state[f'{prefix}{key}'] = state[f'{prefix}{key}'][order][:, order]
        elif name.endswith('attention'):
            for key in ('weight', 'bias'):  # a row for each keypoint
                state[f'{prefix}excite.{key}'] = state[f'{prefix}excite.{key}'][order]
    twin.load_state_dict(state)


LAYERS = {
    'SemGraphConv': lambda adjacency: SemGraphConv(6, 4, adjacency),
    'GraphBlock': lambda adjacency: GraphBlock(6, 0, 4, adjacency),
}


@pytest.mark.parametrize('name', LAYERS)
@every
@given(scene=scenes(), number=st.integers(0, 2**31), training=st.booleans())
def test_a_graph_layer_follows_a_relabeling_of_the_joints(name, survived, scene, number, training):
    _, _, edges, order = scene
    joints = len(order)
    adjacency = torch.eye(joints, dtype=torch.bool)
    adjacency[edges[0], edges[1]] = adjacency[edges[1], edges[0]] = True
    torch.manual_seed(number)
    layer, twin = LAYERS[name](adjacency), LAYERS[name](adjacency[order][:, order])
    for weight in layer.parameters():
        torch.nn.init.normal_(weight)
    relabel(layer, twin, order)
    x = torch.randn(2, joints, 6)
    close(twin.train(training)(x[:, order]), layer.train(training)(x)[:, order], 10)
    survived('properties', 'graph layers follow a relabeling')


@lru_cache
def refiner(skeleton, feature_adaption):
    """The whole head, every layer random but the last, which is as it starts."""
    init_default_scope('mmpose')
    joints = 5 if skeleton == 'hand' else 17
    base = dict(
        type='OfficialSimCCHead',
        in_channels=4,
        out_channels=joints,
        input_size=SIZE,
        in_featuremap_size=(16, 24),
        deconv_out_channels=None,
        decoder=dict(type='SimCCLabel', input_size=SIZE, smoothing_type='standard', label_smooth_weight=0.1),
    )
    head = MODELS.build(
        dict(
            type='IGPGCNHead',
            base_head=base,
            metainfo=HAND if skeleton == 'hand' else skeleton,
            in_channels=(8, 4),
            in_indices=(0, 1),
            feat_channels=(8, 8),
            hidden_channels=16,
            stage_weights=(0.5, 1.0),
            feature_adaption=feature_adaption,
        )
    )
    head.init_weights()
    return head


@pytest.mark.parametrize('feature_adaption', [True, False])
@pytest.mark.parametrize('skeleton, joints', [('hand', 5), ('CocoDataset', 17)])
@settings(every, max_examples=20)
@given(data=st.data(), number=st.integers(0, 2**31), training=st.booleans())
def test_an_untrained_refiner_leaves_any_pose_where_it_is(
    skeleton, joints, feature_adaption, survived, data, number, training
):
    """And its gradients are finite, wherever the keypoints are."""
    head, pose = refiner(skeleton, feature_adaption).train(training), data.draw(poses(2, joints))
    torch.manual_seed(number)
    feats = (100 * torch.randn(2, 8, 12, 8), 100 * torch.randn(2, 4, 24, 16))
    head.zero_grad()
    refined = head.refine(feats, pose, torch.rand(2, joints))
    for step in refined:
        close(step, pose, 100)
    progressive_pose_loss(refined, torch.zeros_like(pose), torch.ones(2, joints), SIZE, (0.5, 1.0)).backward()
    own = [p for name, p in head.named_parameters() if not name.startswith('base_head.')]
    assert all(p.grad.isfinite().all() for p in own)
    survived('properties', 'an untrained refiner is the identity')
