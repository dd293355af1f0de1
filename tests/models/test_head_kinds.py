"""Of each kind of head that is read: a twin teaches nothing, every term reaches the backbone, and it is refined."""

import copy

import numpy as np
import pytest
import torch
from mmengine.model import BaseModule
from mmengine.structures import InstanceData, PixelData
from mmpose.registry import KEYPOINT_CODECS, MODELS
from mmpose.structures import MultilevelPixelData, PoseDataSample
from test_any_teacher import MSRA, RTM, SIZE, SMOOTHED, UDP, estimator
from test_stock_heads import perfect_output

from mmpose_tskd.poses import build_reader, flip_coords, load_skeleton

COMBINED = dict(UDP, heatmap_type='combined')
MEGVII = dict(type='MegviiHeatmap', input_size=SIZE, heatmap_size=(16, 24), kernel_size=7)
REGRESSION = dict(type='RegressionLabel', input_size=SIZE)
INTEGRAL = dict(type='IntegralRegressionLabel', input_size=SIZE, heatmap_size=(16, 24), sigma=2.0)
FLIP = list(load_skeleton('CocoDataset').flip_indices)
DECONV = dict(deconv_out_channels=(8, 8, 8), deconv_kernel_sizes=(4, 4, 4))
POOLED = dict(type='GlobalAveragePooling')
PLAIN = estimator(MSRA)


def heatmap_head(codec, loss='KeypointMSELoss', out_channels=17):
    return dict(
        type='HeatmapHead',
        in_channels=64,
        out_channels=out_channels,
        decoder=codec,
        loss=dict(type=loss, use_target_weight=True),
        **DECONV,
    )


def regression_head(kind, loss):
    loss = dict(type=loss, use_target_weight=True)
    return dict(type=kind, in_channels=64, num_joints=17, decoder=REGRESSION, loss=loss)


def integral_head():
    losses = [dict(type=kind, use_target_weight=True) for kind in ('SmoothL1Loss', 'JSDiscretLoss')]
    return dict(
        type='DSNTHead',
        in_channels=64,
        in_featuremap_size=(2, 3),
        num_joints=17,
        decoder=INTEGRAL,
        loss=dict(type='MultipleLossWrapper', losses=losses),
        **DECONV,
    )


def visibility_head():
    loss = dict(type='BCELoss', use_target_weight=True, use_sigmoid=True)
    return dict(type='VisPredictHead', loss=loss, pose_cfg=heatmap_head(MSRA))


MSPN = dict(
    backbone=dict(type='MSPN', unit_channels=8, num_stages=2, num_units=2, num_blocks=[1, 1]),
    head=dict(
        type='MSPNHead',
        out_shape=(24, 16),
        unit_channels=8,
        out_channels=17,
        num_stages=2,
        num_units=2,
        level_indices=[0, 0, 0, 0],
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        decoder=MEGVII,
    ),
)


@MODELS.register_module()
class ToyStages(BaseModule):
    """As a CPM or a stack of hourglasses, the maps of whose stages are the pose, and whose head has no weights."""

    def __init__(self):
        super().__init__()
        self.convs = torch.nn.ModuleList(torch.nn.Conv2d(3, 17, 9, stride=8, padding=4) for _ in range(2))

    def forward(self, inputs):
        return [conv(inputs) for conv in self.convs]


CPM = dict(
    backbone=dict(type='ToyStages'),
    head=dict(
        type='CPMHead',
        in_channels=17,
        out_channels=17,
        num_stages=2,
        deconv_out_channels=None,
        final_layer=None,
        decoder=dict(MSRA, heatmap_size=(8, 12)),
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
    ),
)
# by kind: the codec, and what differs from a plain estimator
KINDS = {
    'simcc': (SMOOTHED, estimator(SMOOTHED, 'OfficialSimCCHead')),
    'rtmcc': (RTM, estimator(RTM, 'rtmcc')),
    'msra': (MSRA, PLAIN),
    'udp': (UDP, estimator(UDP)),
    'udp combined': (
        COMBINED,
        dict(PLAIN, train_cfg=dict(compute_acc=False), head=heatmap_head(COMBINED, 'CombinedTargetMSELoss', 51)),
    ),
    'visibility': (MSRA, dict(PLAIN, head=visibility_head())),
    'cpm': (CPM['head']['decoder'], dict(PLAIN, **CPM)),
    'mspn': (MEGVII, dict(PLAIN, **MSPN)),
    'regression': (REGRESSION, dict(PLAIN, neck=POOLED, head=regression_head('RegressionHead', 'SmoothL1Loss'))),
    'rle': (REGRESSION, dict(PLAIN, neck=POOLED, head=regression_head('RLEHead', 'RLELoss'))),
    'integral': (INTEGRAL, dict(PLAIN, head=integral_head())),
}
every_kind = pytest.mark.parametrize('kind', KINDS)


def batch(codec, num_people=2):
    """Random images and poses, as a pipeline with the codec hands them over."""
    rng = np.random.default_rng(0)
    codec = KEYPOINT_CODECS.build(codec)
    samples = []
    for _ in range(num_people):
        joints = (rng.uniform(0.1, 0.9, (1, 17, 2)) * SIZE).astype(np.float32)
        visible = np.ones((1, 17), dtype=np.float32)
        encoded = {name: torch.from_numpy(value) for name, value in codec.encode(joints, visible).items()}
        half = np.array(SIZE) / 2
        frame = dict(flip_indices=FLIP, input_center=half, input_scale=2 * half, input_size=SIZE)
        sample = PoseDataSample(metainfo=frame)
        sample.gt_instances = InstanceData(
            keypoints_visible=visible,
            transformed_keypoints=joints,
            bboxes=np.array([[0, 0, *SIZE]]),
            bbox_scores=np.ones(1),
        )
        heatmaps = encoded.pop('heatmaps', None)
        if 'Megvii' in type(codec).__name__:
            encoded['keypoint_weights'] = encoded['keypoint_weights'][None]  # one a level
            sample.gt_fields = MultilevelPixelData(heatmaps=[heatmaps])
        elif heatmaps is not None:
            sample.gt_fields = PixelData(heatmaps=heatmaps)
        sample.gt_instance_labels = InstanceData(**encoded)
        samples.append(sample)
    return torch.randn(num_people, 3, *SIZE[::-1]), samples


def spread(model):
    """Gives it weights whose answers differ from keypoint to keypoint."""
    model.init_weights()
    for weight in model.head.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.2)
    return model


def channels_of(cfg):
    return {'MSPN': 8, 'ToyStages': 17}.get(cfg['backbone']['type'], 64)


def distiller(kind, folder, teacher=None, same=False, **options):
    """A student of a kind and its teacher: one of its own kind, of the same weights or of others."""
    codec, cfg = KINDS[kind]
    teacher = copy.deepcopy(teacher or cfg)
    torch.manual_seed(1)
    torch.save(spread(MODELS.build(copy.deepcopy(teacher))).state_dict(), folder / 'teacher.pth')
    channels = dict(student_channels=channels_of(cfg), teacher_channels=channels_of(teacher))
    losses = dict(
        loss_feat=dict(type='FeatureMSELoss', **channels),
        loss_pose=dict(type='PoseL1Loss'),
        loss_structure=dict(type='StructureLoss'),
    )
    options = dict(dict(distill_losses=losses, metainfo='CocoDataset'), **options)
    model = MODELS.build(
        dict(
            copy.deepcopy(cfg),
            type='PoseDistiller',
            teacher=teacher,
            teacher_checkpoint=str(folder / 'teacher.pth'),
            student_checkpoint=str(folder / 'teacher.pth') if same else None,
            **options,
        )
    )
    model.init_weights()
    if not same:
        torch.manual_seed(2)
        spread(model)
    return codec, model


@every_kind
def test_a_twin_of_the_student_teaches_nothing(kind, tmp_path):
    codec, model = distiller(kind, tmp_path, same=True)
    model.eval().to(memory_format=torch.channels_last)  # as the teacher is: else they would differ by rounding
    losses = model.loss(*batch(codec))
    assert losses['loss_pose'].item() == losses['loss_structure'].item() == pytest.approx(0, abs=1e-6)


@every_kind
def test_a_known_shift_has_the_known_loss(kind):
    """Between two networks that have learned their targets; one wrist lies farther from its elbow than the rest."""
    reader = build_reader(MODELS.build(copy.deepcopy(KINDS[kind][1]['head'])))
    grid = np.meshgrid(np.arange(16, 48, 8), np.arange(32, 72, 8))
    joints = np.stack(grid, -1).reshape(1, -1, 2)[:, :17].astype(np.float32)
    moved = joints + np.float32([8, -8])
    moved[:, 9, 1] += 8
    student, teacher = (reader((), perfect_output(reader, pose)) for pose in (joints, moved))
    samples = batch(KINDS[kind][0], 1)[1]
    loss = MODELS.build(dict(type='PoseL1Loss', loss_weight=1.0))(student, teacher, samples)
    assert loss.item() == pytest.approx(17 * 16 - 8, rel=0.01)
    limbs = MODELS.build(dict(type='StructureLoss', loss_weight=1.0))
    limbs.set_skeleton(load_skeleton('CocoDataset'), torch.device('cpu'))
    first, second = load_skeleton('CocoDataset').edges().numpy()
    lengths = [np.linalg.norm(pose[0, first] - pose[0, second], axis=-1) for pose in (joints, moved)]
    expected = np.abs(lengths[0] - lengths[1]).sum()
    assert expected > 4 and limbs(student, teacher, samples).item() == pytest.approx(expected, abs=1)


@every_kind
def test_every_term_reaches_the_backbone(kind, tmp_path):
    codec, model = distiller(kind, tmp_path)
    losses = model.train().loss(*batch(codec))
    for name in ('loss_kpt', *model.distill_losses):
        gradients = torch.autograd.grad(losses[name], model.backbone.parameters(), retain_graph=True, allow_unused=True)
        reached = [gradient.abs().sum() for gradient in gradients if gradient is not None]
        assert losses[name].isfinite() and sum(reached) > 0 and all(r.isfinite() for r in reached), name
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    untouched = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert [name for name in untouched if not name.startswith('backbone.')] == []


@every_kind
def test_every_kind_teaches_a_simcc_student_with_its_flip_test(kind, tmp_path):
    codec, model = distiller('simcc', tmp_path, teacher=KINDS[kind][1], teacher_flip_test=True)
    inputs, samples = batch(codec)
    assert model.train().loss(inputs, samples)['loss_pose'] > 0
    model.learn_joints()
    plain, mirrored = (model.teacher(view).coords for view in (inputs, inputs.flip(-1)))
    if kind in ('regression', 'rle', 'integral'):  # what is read off an untrained map jumps with its shift
        assert torch.allclose(plain, flip_coords(mirrored, FLIP, SIZE[0]), atol=1e-3)
    coords = model.teacher.reader.merge_flipped(model.teacher._read(inputs), model.teacher._read(inputs.flip(-1)), FLIP)
    assert torch.allclose(coords.coords, plain, atol=1e-4)


@every_kind
def test_an_untrained_refiner_returns_the_pose_of_any_head(kind):
    codec, cfg = KINDS[kind]
    cfg, (inputs, samples) = copy.deepcopy(cfg), batch(codec)
    channels = channels_of(cfg)
    refiner = dict(
        type='IGPGCNHead',
        base_head=cfg['head'],
        metainfo='CocoDataset',
        in_channels=(channels,) * 3,
        in_indices=(-1,) * 3,
        feat_channels=(8, 8, 8),
        hidden_channels=16,
    )
    torch.manual_seed(3)
    plain = spread(MODELS.build(copy.deepcopy(cfg))).eval()
    model = MODELS.build(dict(cfg, head=refiner))
    model.init_weights()
    weights = {name.replace('head.', 'head.base_head.', 1): value for name, value in plain.state_dict().items()}
    model.load_state_dict(weights, strict=False)
    model.eval()
    mode = 'udp_combined' if kind == 'udp combined' else 'heatmap'
    for flip_test in (False, True):
        said = []
        for network in (model, plain):
            network.test_cfg = dict(
                flip_test=flip_test, flip_mode=mode, shift_heatmap='msra' in kind or kind in ('visibility', 'cpm')
            )
            with torch.no_grad():
                results = network(inputs, copy.deepcopy(samples), mode='predict')
            said.append([result.pred_instances for result in results])
        scores = np.stack([instance.keypoint_scores for instance in said[0]])
        assert scores.min() >= 0 and scores.max() <= 1
        if not flip_test:
            reader = model.head.base_reader
            with torch.no_grad():
                feats = model.extract_feat(inputs)
                confidence = reader(feats, reader.head.forward(feats)).confidence
            assert scores[:, 0] == pytest.approx(confidence.numpy(), abs=1e-4)
        poses, expected = (np.stack([instance.keypoints for instance in instances]) for instances in said)
        if kind in ('simcc', 'regression', 'rle', 'integral'):
            assert poses == pytest.approx(expected, abs=1e-2)
        elif kind != 'udp' and not flip_test:  # a flip test, and the expansion of an empty map, are MMPose's own
            # what is not found MMPose puts into the corner, and it leaves what lies at a map's border
            found = (np.stack([instance.keypoint_scores for instance in said[1]]) > 0) & (expected > 16).all(-1)
            assert found.any() and poses[found] == pytest.approx(expected[found], abs=0.1)
    losses = model.train().loss(inputs, samples)
    assert losses['loss_refine'].isfinite() and losses['loss_kpt'].isfinite()
