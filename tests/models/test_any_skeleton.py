"""The graph and the limbs are those of the metainfo, whatever the number of keypoints."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS
from test_any_teacher import SIMCC
from test_igpgcn_on_other_estimators import build, images, make_teacher, predict, refined, step
from test_skeleton import HAND

from mmpose_tskd.models.layers import SemGraphConv
from mmpose_tskd.poses import load_skeleton

FROZEN = ('backbone', 'head.base_head')


def distiller(skeleton, folder, **options):
    """The config of a SimCC estimator with IGP-GCN that a teacher of its keypoints teaches by the paper's losses."""
    losses = dict(
        loss_teacher=dict(type='ProgressivePoseLoss'),
        loss_structure=dict(type='StructureLoss'),
    )
    options.setdefault('metainfo', skeleton)
    teacher = make_teacher(folder, load_skeleton(skeleton).num_keypoints)
    return refined(
        head='official simcc', skeleton=skeleton, type='PoseDistiller', distill_losses=losses, **teacher, **options
    )


def graphs(model):
    """Each graph convolution's K×K: True where one keypoint's features reach another."""
    layers = [layer for layer in model.modules() if isinstance(layer, SemGraphConv)]
    return [layer.attention() > 0 for layer in layers]


@pytest.mark.parametrize(
    'dataset, num_keypoints, num_links',
    [
        ('CocoDataset', 17, 19),
        ('CrowdPoseDataset', 14, 15),
        ('MpiiDataset', 16, 15),
        ('AP10KDataset', 17, 17),
        ('CocoWholeBodyDataset', 133, 65),
    ],
)
@pytest.mark.parametrize('frozen', [(), FROZEN])
def test_graph_and_limbs_are_those_of_the_dataset(dataset, num_keypoints, num_links, frozen, tmp_path):
    model = build(distiller(dataset, tmp_path, frozen=frozen, task_loss=not frozen))
    model.learn_joints()
    links = parse_pose_metainfo(dict(DATASETS.get(dataset).METAINFO))['skeleton_links']
    assert model.distill_losses['loss_structure'].edges.T.tolist() == [list(link) for link in links]
    assert len(links) == num_links
    expected = torch.eye(num_keypoints, dtype=torch.bool)
    for first, second in links:
        expected[first, second] = expected[second, first] = True
    assert graphs(model) and all(torch.equal(graph, expected) for graph in graphs(model))
    losses, _ = step(model, SIMCC)
    assert losses['loss_teacher'] > 0 and losses['loss_structure'] > 0


def test_a_skeleton_of_ones_own_from_training_to_the_flip_test(tmp_path):
    """Five keypoints, by a metainfo dict in a config that was written to a file and read again."""
    options = dict(frozen=FROZEN, task_loss=False, teacher_flip_test=True)
    Config(dict(model=distiller(HAND, tmp_path, **options))).dump(tmp_path / 'config.py')
    model = build(Config.fromfile(tmp_path / 'config.py').model)
    losses, moved = step(model, SIMCC)
    assert losses['loss_teacher'] > 0 and moved
    assert model.head.base_head.out_channels == 5 and graphs(model)[0].sum() == 5 + 2 * 4
    for flip_test in (False, True):
        coords, scores = predict(model.eval(), *images(list(range(5))), flip_test=flip_test)
        assert coords.shape == (2, 5, 2) and scores.shape == (2, 5) and np.isfinite(coords).all()


def test_a_skeleton_in_parts_is_refined_part_by_part(tmp_path):
    """Two limbs apart, and a keypoint that no limb reaches."""
    limbs = {0: dict(link=('wrist', 'thumb'), id=0), 1: dict(link=('index', 'middle'), id=1)}
    model = build(distiller(dict(HAND, skeleton_info=limbs), tmp_path))
    expected = torch.eye(5, dtype=torch.bool)
    expected[0, 1] = expected[1, 0] = expected[2, 3] = expected[3, 2] = True
    assert all(torch.equal(graph, expected) for graph in graphs(model))
    losses, _ = step(model, SIMCC)
    assert all(value.isfinite() for value in losses.values())
    conv = SemGraphConv(3, 4, expected)
    x = torch.randn(1, 5, 3)
    moved = x.clone()
    moved[:, :2] += 1
    same = torch.isclose(conv(x), conv(moved)).all(-1)
    assert same[0].tolist() == [False, False, True, True, True]
