import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmpose.registry import MODELS

from mmpose_tskd.errors import UserError
from mmpose_tskd.models.heads.igp_gcn_head import sample_at

SIZE, STEPS = (64, 96), (16, 8, 4)
BASE = dict(
    type='OfficialSimCCHead',
    in_channels=4,
    out_channels=17,
    input_size=SIZE,
    in_featuremap_size=(16, 24),
    deconv_out_channels=None,
    decoder=dict(type='SimCCLabel', input_size=SIZE, smoothing_type='standard', label_smooth_weight=0.1),
)


def make_head(**options):
    cfg = dict(
        type='IGPGCNHead',
        base_head=BASE,
        metainfo='CocoDataset',
        in_channels=STEPS,
        feat_channels=(16, 8, 8),
        hidden_channels=16,
        feature_adaption=True,
    )
    head = MODELS.build({**cfg, **options})
    head.init_weights()
    return head.eval()


def make_feats(people=2):
    return tuple(torch.randn(people, c, 24 // s, 16 // s) for c, s in zip((*STEPS, 4), (4, 2, 1, 1)))


def train_a_little(head):
    """Moves the output layers off zero."""
    for layer in head.output_layers:
        torch.nn.init.normal_(layer.weight, std=0.01)
    return head


@pytest.mark.parametrize('feature_adaption', [True, False])
def test_the_untrained_offset_head_leaves_the_pose_where_it_is(feature_adaption):
    head, feats = make_head(feature_adaption=feature_adaption), make_feats()
    output = head(feats)
    peaks = head.base_reader(feats, output.base).peaks
    assert len(output.refined) == 3
    for pose in output.refined:
        assert torch.allclose(pose, peaks, atol=1e-4)


def test_the_default_refiner_reads_the_maps_as_they_are():
    option = dict(type='IGPGCNHead', base_head=BASE, in_channels=STEPS, feat_channels=(16, 8, 8))
    light, heavy = MODELS.build(option), MODELS.build(dict(option, feature_adaption=True))
    assert light.feature_adaption is None and heavy.projections is None
    coords = torch.rand(2, 17, 2) * 10
    for head in (light, heavy):
        assert len(head.eval().refine(make_feats()[:3], coords, torch.rand(2, 17))) == 3


def test_absolute_output_does_not_start_at_the_pose():
    head, feats = make_head(output='absolute'), make_feats()
    output = head(feats)
    assert not torch.allclose(output.refined[-1], head.base_reader(feats, output.base).peaks, atol=1.0)


def test_features_are_read_at_the_joints_with_aligned_corners():
    feat = torch.arange(12.0).view(1, 1, 3, 4)
    coords = torch.tensor([[[-1.0, -1.0], [1.0, 1.0], [1 / 3, 0.0], [0.0, 0.0]]])
    assert sample_at(feat, coords).flatten().tolist() == pytest.approx([0.0, 11.0, 6.0, 5.5])


@pytest.mark.parametrize('size', [(24, 16), (1, 16), (24, 1), (1, 1), (2, 2)])
def test_gathered_features_are_grid_samples(size):
    """Values and gradients, also outside of the map and for maps of one row or column."""
    feat, coords = torch.randn(2, 5, *size, requires_grad=True), torch.rand(2, 40, 2) * 2.4 - 1.2
    coords[0, :4] = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [1.0, -1.0], [0.0, 0.0]])
    expected = F.grid_sample(feat, coords.unsqueeze(2), align_corners=True, padding_mode='border')
    expected = expected.squeeze(-1).transpose(1, 2)
    sampled = sample_at(feat, coords)
    assert torch.allclose(sampled, expected, atol=1e-6)
    weight = torch.randn_like(sampled)
    gradients = [torch.autograd.grad((out * weight).sum(), feat)[0] for out in (sampled, expected)]
    assert torch.allclose(*gradients, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_the_gradient_of_gathered_features_is_deterministic_on_a_gpu(monkeypatch):
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        feat = torch.randn(2, 5, 24, 16, device='cuda', requires_grad=True)
        coords = torch.zeros(2, 400, 2, device='cuda')
        gradients = [torch.autograd.grad(sample_at(feat, coords).square().sum(), feat)[0] for _ in range(5)]
    finally:
        torch.use_deterministic_algorithms(before)
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


def test_features_at_a_pose_that_is_not_a_number_are_not_numbers():
    """A run that diverged has to show it, and not end in an index out of bounds."""
    assert sample_at(torch.randn(1, 2, 4, 3), torch.full((1, 2, 2), float('nan'))).isnan().all()


def test_each_step_reads_its_own_map_and_later_steps_follow():
    head = train_a_little(make_head(feature_adaption=False))
    feats = make_feats()
    poses = head(feats).refined
    for step in range(3):
        changed = [f + 1 if i == step else f for i, f in enumerate(feats)]
        new = head(tuple(changed)).refined
        same = [torch.equal(a, b) for a, b in zip(poses, new)]
        assert same == [i < step for i in range(3)]


def test_gradients_reach_the_refiner_and_not_its_initial_pose():
    head, feats = train_a_little(make_head()).train(), make_feats()
    sum(p.sum() for p in head(feats).refined).backward()
    own = {n: p for n, p in head.named_parameters() if not n.startswith('base_head.')}
    assert [n for n, p in own.items() if p.grad is None] == []
    assert all(p.grad is None for p in head.base_head.parameters())


def samples(people=2):
    from mmpose.datasets.datasets import CocoDataset
    from mmpose.datasets.datasets.utils import parse_pose_metainfo
    from mmpose.structures import PoseDataSample

    indices = parse_pose_metainfo(CocoDataset.METAINFO)['flip_indices']
    return [PoseDataSample(metainfo=dict(flip_indices=indices)) for _ in range(people)]


def mirrored_back(coords):
    coords = coords[:, samples()[0].metainfo['flip_indices']].copy()
    coords[..., 0] = 63 - coords[..., 0]
    return coords


def test_an_untrained_refiner_leaves_the_base_heads_flip_test_as_it_is():
    head, views = make_head(), [make_feats(), make_feats()]
    refined, base = (module.predict(views, samples(), dict(flip_test=True)) for module in (head, head.base_head))
    assert np.allclose([p.keypoints for p in refined], [p.keypoints for p in base], atol=1e-4)
    each = [head(view).refined[-1].detach().numpy() for view in views]
    between = (each[0] + mirrored_back(each[1])) / 2  # which is another pose: the views do not agree
    assert not np.allclose([p.keypoints[0] for p in refined], between, atol=5)


def test_flip_test_refines_one_pose_in_both_views_and_averages():
    head, views = train_a_little(make_head()), [make_feats(), make_feats()]
    preds = np.concatenate([p.keypoints for p in head.predict(views, samples(), dict(flip_test=True))])
    base = head.base_head.predict(views, samples(), dict(flip_test=True))
    start = np.concatenate([p.keypoints for p in base])
    confidence = torch.from_numpy(np.concatenate([p.keypoint_scores for p in base]))
    flipped = confidence[:, samples()[0].metainfo['flip_indices']]
    straight = head.refine(views[0], torch.from_numpy(start), confidence)[-1].detach().numpy()
    mirrored = head.refine(views[1], torch.from_numpy(mirrored_back(start)), flipped)[-1].detach().numpy()
    assert not np.allclose(straight, mirrored_back(mirrored), atol=0.5)
    assert np.allclose(preds, (straight + mirrored_back(mirrored)) / 2, atol=1e-3)


def test_scores_are_the_base_heads():
    head, feats = train_a_little(make_head()), make_feats()
    refined, base = head.predict(feats, samples()), head.base_head.predict(feats, samples())
    assert np.allclose([p.keypoint_scores for p in refined], [p.keypoint_scores for p in base])
    assert not np.allclose([p.keypoints for p in refined], [p.keypoints for p in base])


def test_only_joints_of_low_score_are_refined_when_asked():
    feats = make_feats()
    head = train_a_little(make_head())
    confidence = head.base_reader(feats, head.base_head(feats)).confidence.numpy()
    head.refine_score_thr = float(np.median(confidence))
    base = np.concatenate([p.keypoints for p in head.base_head.predict(feats, samples())])
    preds = np.concatenate([p.keypoints for p in head.predict(feats, samples())])
    kept = confidence >= head.refine_score_thr
    assert 0 < kept.sum() < kept.size
    assert np.array_equal(preds[kept], base[kept])
    assert not np.allclose(preds[~kept], base[~kept])
    said = head(feats).refined[-1].detach().numpy()  # which is what a teacher that refines says, too
    assert np.allclose(said, preds, atol=1e-4)
    in_training = head.train()(feats).refined[-1].detach().numpy()
    assert not np.allclose(in_training[kept], base[kept])


@pytest.mark.parametrize('feature_adaption', [True, False])
def test_a_head_in_another_dtype_refines(feature_adaption):
    head, feats = train_a_little(make_head(feature_adaption=feature_adaption)), make_feats()
    expected = head(feats).refined[-1]
    refined = head.double()([feat.double() for feat in feats]).refined[-1]
    assert torch.allclose(refined.float(), expected, atol=1e-2)
    assert head.bfloat16()([feat.bfloat16() for feat in feats]).refined[-1].isfinite().all()


def test_coordinates_keep_full_precision_under_autocast():
    head, feats = make_head(output='absolute', feature_adaption=False), make_feats()
    with torch.no_grad():
        expected = head.refine(feats, torch.full((2, 17, 2), 30.0), torch.full((2, 17), 0.5))[-1]
        with torch.autocast('cpu', dtype=torch.bfloat16):
            refined = head.refine(feats, torch.full((2, 17, 2), 30.0), torch.full((2, 17), 0.5))[-1]
    assert refined.dtype == torch.float32
    assert torch.equal(refined, expected)  # bf16 would round 95 pixels to half a pixel


def test_a_joints_confidence_is_an_input():
    head, feats = train_a_little(make_head()), make_feats()
    pose, low = torch.full((2, 17, 2), 30.0), torch.full((2, 17), 0.2)
    assert not torch.allclose(head.refine(feats, pose, low)[0], head.refine(feats, pose, low + 0.6)[0])


def test_resampling_reads_later_steps_at_the_refined_pose():
    feats = make_feats()
    head = train_a_little(make_head())
    fixed = head(feats).refined
    head.resample = True
    moved = head(feats).refined
    assert torch.equal(fixed[0], moved[0])
    assert not torch.equal(fixed[2], moved[2])


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(metainfo='CrowdPoseDataset'), 'base_head has 17 keypoints, but the metainfo has 14'),
        (dict(in_channels=(8, 4)), 'one entry a step'),
        (dict(output='both'), 'IGPGCNHead.output'),
        (dict(refine_score_thr=2.0), 'IGPGCNHead.refine_score_thr is a confidence'),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        make_head(**options)
