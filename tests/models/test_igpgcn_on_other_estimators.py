"""IGP-GCN refines what other backbones and heads than the paper's put out, frozen or trained along."""

import copy

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from test_any_teacher import MSRA, RTM, SIMCC, SIZE, SMOOTHED, UDP, estimator, labeled_batch
from torch.nn.modules.batchnorm import _BatchNorm

from mmpose_tskd.errors import UserError
from mmpose_tskd.poses import build_reader, flip_coords, load_skeleton

FLIP = list(load_skeleton('CocoDataset').flip_indices)
LITE = dict(
    stem=dict(stem_channels=8, out_channels=8, expand_ratio=1),
    num_stages=1,
    stages_spec=dict(
        num_modules=(1,),
        num_branches=(2,),
        num_blocks=(1,),
        module_type=('LITE',),
        with_fuse=(True,),
        reduce_ratios=(4,),
        num_channels=((8, 16),),
    ),
    with_head=True,
)
# A backbone, the channels of its maps coarse to fine, and which of them the steps read.
BACKBONES = {
    'resnet': (
        dict(type='ResNet', depth=18, base_channels=8, stem_channels=8, out_indices=(1, 2, 3)),
        (64, 32, 16),
        (2, 1, 0),
    ),
    'cspnext': (
        dict(
            type='CSPNeXt',
            _scope_='mmdet',
            arch='P5',
            deepen_factor=0.167,
            widen_factor=1 / 16,
            out_indices=(2, 3, 4),
            norm_cfg=dict(type='BN'),
        ),
        (64, 32, 16),
        (2, 1, 0),
    ),
    'mobilenetv2': (
        dict(type='MobileNetV2', widen_factor=0.1, out_indices=(2, 4, 7)),
        (1280, 16, 8),
        (2, 1, 0),
    ),
    'litehrnet': (dict(type='LiteHRNet', extra=LITE, init_cfg=None), (8, 8, 8), (-1, -1, -1)),
}
HEADS = {
    'simcc': (SIMCC, 'SimCCHead'),
    'official simcc': (SMOOTHED, 'OfficialSimCCHead'),
    'rtmcc': (RTM, 'rtmcc'),
    'msra': (MSRA, 'heatmap'),
    'udp': (UDP, 'heatmap'),
}
every_estimator = pytest.mark.parametrize('head', HEADS)
on_every_backbone = pytest.mark.parametrize('backbone', BACKBONES)


def refined(backbone='resnet', head='msra', skeleton='CocoDataset', **options):
    """The config of an estimator with IGP-GCN, for the keypoints of a metainfo."""
    backbone_cfg, channels, indices = copy.deepcopy(BACKBONES[backbone])
    model = estimator(*HEADS[head], num_keypoints=load_skeleton(skeleton).num_keypoints, backbone=backbone_cfg)
    base = model['head']
    base['in_channels'] = channels[0]
    if backbone == 'litehrnet':  # its map has the size of the heatmaps
        if 'in_featuremap_size' in base:
            base['in_featuremap_size'] = (16, 24)
        else:
            base.update(deconv_out_channels=None, deconv_kernel_sizes=None)
    model['head'] = dict(
        type='IGPGCNHead',
        base_head=base,
        metainfo=skeleton,
        in_channels=channels,
        in_indices=indices,
        feat_channels=(16, 8, 8),
        hidden_channels=16,
    )
    return dict(model, **options)


def build(cfg, trained=True):
    """Initialized; ``trained``: its refiner moves keypoints. Its answers differ between keypoints and places."""
    model = MODELS.build(cfg)
    model.init_weights()
    for weight in model.head.base_head.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    if trained:
        for layer in model.head.output_layers:
            torch.nn.init.normal_(layer.weight, std=0.01)
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        model(torch.randn(4, 3, 96, 64), None)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    model.train()
    return model


def make_teacher(folder, num_keypoints=17):
    """A distiller's options: a SimCC teacher with weights."""
    init_default_scope('mmpose')
    cfg = estimator(SIMCC, 'OfficialSimCCHead', num_keypoints=num_keypoints)
    torch.save(MODELS.build(cfg).state_dict(), folder / 'teacher.pth')
    return dict(teacher=cfg, teacher_checkpoint=str(folder / 'teacher.pth'))


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    return make_teacher(tmp_path_factory.mktemp('teacher'))


def step(model, codec):
    """One training step, which reaches what is to be trained; the loss's parts, and the names of what has moved."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs, samples = labeled_batch(codec, model.head.base_head.out_channels)
    losses = model.loss(inputs, samples)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    wanted = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, p in wanted.items() if p.grad is None or not p.grad.isfinite().all()] == []
    assert [name for name, p in model.named_parameters() if not p.requires_grad and p.grad is not None] == []
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}
    return losses, moved


def is_refiner(name):
    return name.startswith('head.') and not name.startswith('head.base_head.')


@on_every_backbone
@every_estimator
def test_a_frozen_estimator_is_refined_by_a_teacher(backbone, head, teacher):
    model = build(
        refined(
            backbone,
            head,
            type='PoseDistiller',
            frozen=('backbone', 'head.base_head'),
            task_loss=False,
            distill_losses=dict(loss_refine=dict(type='ProgressivePoseLoss')),
            **teacher,
        )
    )
    losses, moved = step(model, HEADS[head][0])
    assert set(losses) == {'loss_refine', 'distill_gamma'} and losses['loss_refine'] > 0
    assert all(map(is_refiner, moved))
    assert {name for name, _ in model.head.named_children()} - {'base_head'} == {name.split('.')[1] for name in moved}


@on_every_backbone
@every_estimator
def test_an_estimator_and_its_refiner_train_jointly_on_labels(backbone, head):
    model = build(refined(backbone, head, type='PoseDistiller'))
    losses, moved = step(model, HEADS[head][0])
    assert set(losses) == {'loss_refine', 'loss_kpt', 'acc_pose'}
    assert all(value.isfinite() for value in losses.values()) and losses['loss_refine'] > 0 and losses['loss_kpt'] > 0
    assert any(map(is_refiner, moved))
    for part in ('backbone.', 'head.base_head.'):
        assert any(name.startswith(part) for name in moved), part


@every_estimator
def test_an_estimator_learns_from_labels_and_teacher_at_once(head, teacher):
    losses = dict(
        loss_teacher=dict(type='ProgressivePoseLoss'),
        loss_structure=dict(type='StructureLoss'),
    )
    model = build(refined(head=head, type='PoseDistiller', metainfo='CocoDataset', distill_losses=losses, **teacher))
    losses, _ = step(model, HEADS[head][0])
    assert set(losses) == {'loss_refine', 'loss_kpt', 'acc_pose', 'loss_teacher', 'loss_structure', 'distill_gamma'}
    assert losses['loss_teacher'] > 0 and losses['loss_structure'] > 0


# Prediction


def images(flip_indices=FLIP):
    """Images, and samples as the test pipeline hands them over; the instance's box is the image."""
    inputs, samples = labeled_batch(MSRA)
    for sample in samples:
        half = np.array(SIZE) / 2
        sample.set_metainfo(dict(flip_indices=flip_indices, input_center=half, input_scale=2 * half, input_size=SIZE))
        sample.gt_instances = InstanceData(bboxes=np.array([[0, 0, *SIZE]]), bbox_scores=np.ones(1))
    return inputs, samples


def predict(model, inputs, samples, **test_cfg):
    """N×K×2 and N×K, by the model's own predict."""
    model.test_cfg = test_cfg
    with torch.no_grad():
        results = model(inputs, samples, mode='predict')
    assert len(results) == len(inputs)
    instances = [result.pred_instances for result in results]
    assert all(isinstance(instance, InstanceData) for instance in instances)
    return np.concatenate([i.keypoints for i in instances]), np.concatenate([i.keypoint_scores for i in instances])


@on_every_backbone
@every_estimator
def test_a_prediction_is_the_mean_of_one_pose_refined_in_both_views(backbone, head):
    model, (inputs, samples) = build(refined(backbone, head)).eval(), images()
    coords, scores = predict(model, inputs, samples)
    head, reader = model.head, model.head.base_reader
    with torch.no_grad():
        views = [model.extract_feat(view) for view in (inputs, inputs.flip(-1))]
        assert coords == pytest.approx(reader.decoded(head(views[0]).refined[-1]).numpy(), abs=1e-3)
        alone = reader(views[0], head.base_head(views[0]))
        start = reader.merge_flipped(*(reader(view, head.base_head(view)) for view in views), FLIP)
        straight = head.refine(views[0], start.peaks, start.confidence)[-1]
        mirrored = head.refine(views[1], flip_coords(start.peaks, FLIP, SIZE[0]), start.confidence[:, FLIP])[-1]
    expected = reader.decoded((straight + flip_coords(mirrored, FLIP, SIZE[0])) / 2)
    flipped, flipped_scores = predict(model, inputs, samples, flip_test=True)
    assert flipped == pytest.approx(expected.numpy(), abs=1e-3)
    assert scores == pytest.approx(alone.confidence.numpy(), abs=1e-5)
    assert flipped_scores == pytest.approx(start.confidence.numpy(), abs=1e-5)


@on_every_backbone
@every_estimator
def test_an_untrained_refiner_predicts_what_the_plain_estimator_does(backbone, head):
    cfg, (inputs, samples) = refined(backbone, head), images()
    model = build(cfg, trained=False).eval()
    plain = MODELS.build(dict(cfg, head=cfg['head']['base_head'])).eval()
    weights = {k.replace('head.base_head.', 'head.'): v for k, v in model.state_dict().items() if not is_refiner(k)}
    plain.load_state_dict(weights, strict=True)
    coords, scores = predict(model, inputs, samples)
    expected, _ = predict(plain, inputs, samples)
    with torch.no_grad():
        feats = plain.extract_feat(inputs)
        outputs = build_reader(plain.head)(feats, plain.head(feats))
    assert scores == pytest.approx(outputs.confidence.numpy(), abs=1e-6)  # MMPose's heads have scales of their own
    assert coords == pytest.approx(outputs.reader.decoded(outputs.peaks).numpy(), abs=1e-3)
    if head != 'udp':  # MMPose's expansion of an untrained map, nearly all below the value that it clips, is singular
        # MMPose puts keypoints that are not found into the corner, and leaves those on a heatmap's first two columns.
        compared = (scores > 0) & (coords > 8).all(-1)
        assert compared.mean() > 0.3 and coords[compared] == pytest.approx(expected[compared], abs=1e-3)


@pytest.mark.parametrize('head', ['msra', 'udp'])
def test_the_test_options_of_a_heatmap_head_reach_it(head):
    """They turn the mirrored maps that it puts out, and leave the refined poses and their confidences alone."""
    model, (inputs, samples) = build(refined(head=head)).eval(), images()
    coords, maps = {}, {}
    for shift in (False, True):
        options = dict(flip_test=True, flip_mode='heatmap', shift_heatmap=shift, output_heatmaps=True)
        coords[shift], scores = predict(model, inputs, samples, **options)
        maps[shift] = np.stack([sample.pred_fields.heatmaps for sample in samples])
        assert scores.min() >= 0 and scores.max() <= 1
    assert np.array_equal(coords[False], coords[True]) and not np.allclose(maps[False], maps[True])
    maps = dict(flip_test=True, output_heatmaps=True, output_keypoint_indices=[0, 3])
    chosen, _ = predict(model, inputs, samples, **maps)
    assert np.array_equal(chosen, coords[False][:, [0, 3]])
    assert all(sample.pred_fields.heatmaps.shape == (2, 24, 16) for sample in samples)


# Maps


@pytest.mark.parametrize('adaption', [True, False])
def test_maps_of_one_size_or_fewer_steps_than_three_will_do(adaption):
    """Two steps on ResNet's two stages that keep the size, and one step alone."""
    cfg = refined()
    cfg['backbone'].update(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2))
    cfg['head']['base_head'].update(deconv_out_channels=(8, 8), deconv_kernel_sizes=(4, 4))
    for channels, indices in (((64, 32), (2, 1)), ((16, 64), (0, 2)), ((32,), (1,))):
        count = len(channels)
        cfg['head'].update(
            in_channels=channels,
            in_indices=indices,
            feat_channels=(8,) * count,
            stage_weights=(1.0,) * count,
            feature_adaption=adaption,
        )
        model = build(dict(cfg, type='PoseDistiller'))
        losses, _ = step(model, MSRA)
        assert len(model.head.output_layers) == count and losses['loss_refine'] > 0


@pytest.mark.parametrize(
    'backbone, change, message',
    [
        ('resnet', dict(in_channels=(32, 64, 16)), r'head.in_channels is \(32, 64, 16\), .* must be \(64, 32, 16\)'),
        ('resnet', dict(in_indices=(0, 1, 2)), r'with head.in_indices=\(0, 1, 2\) it must be \(16, 32, 64\)'),
        ('resnet', dict(in_indices=(3, 2, 1)), r'head.in_indices is \(3, 2, 1\), .* 3 map\(s\) with \[16, 32, 64\]'),
        (
            'litehrnet',
            dict(in_indices=(0, 1, 2)),
            r'head.in_indices .* 1 map\(s\) with \[8\] .*backbone.out_indices',
        ),
        ('litehrnet', dict(in_indices=(-2, -1, -1)), r'head.in_indices'),
    ],
)
def test_maps_that_the_backbone_does_not_hand_out_are_named(backbone, change, message):
    cfg = refined(backbone)
    cfg['head'].update(change)
    with pytest.raises(UserError, match=message):
        MODELS.build(cfg)(torch.randn(2, 3, 96, 64), None)


def test_a_distiller_names_them_before_the_first_batch(teacher):
    cfg = refined(type='PoseDistiller', distill_losses=dict(loss_refine=dict(type='ProgressivePoseLoss')), **teacher)
    cfg['head']['in_channels'] = (128, 64, 32)
    with pytest.raises(UserError, match=r'head.in_channels is \(128, 64, 32\)'):
        MODELS.build(cfg).init_weights()
