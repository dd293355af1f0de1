"""Teachers and students of other heads, sizes, colors and keypoints than one another."""

import copy
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmpose.codecs import DecoupledHeatmap
from mmpose.registry import KEYPOINT_CODECS, MODELS
from mmpose.structures import PoseDataSample
from test_skeleton import HAND

from mmpose_tskd.engine.hooks import TeacherEvaluationHook
from mmpose_tskd.errors import UserError
from mmpose_tskd.models.teachers.frozen_teacher import load_whole_config
from mmpose_tskd.paths import load_config
from mmpose_tskd.poses import build_reader, config_skeleton, flip_coords, load_skeleton

SIZE = (64, 96)
SIMCC = dict(type='SimCCLabel', input_size=SIZE, sigma=4.0, normalize=True)
SMOOTHED = dict(type='SimCCLabel', input_size=SIZE, smoothing_type='standard', label_smooth_weight=0.1)
FINE = dict(SIMCC, simcc_split_ratio=3.0)
RTM = dict(type='SimCCLabel', input_size=SIZE, sigma=(3.0, 3.5), normalize=False)
MSRA = dict(type='MSRAHeatmap', input_size=SIZE, heatmap_size=(16, 24), sigma=2)
DARK = dict(MSRA, unbiased=True)
UDP = dict(type='UDPHeatmap', input_size=SIZE, heatmap_size=(16, 24), sigma=2)


def estimator(codec, head='heatmap', width=8, num_keypoints=17, **options):
    """A small ResNet with a head of each kind."""
    channels = 8 * width
    size = codec['input_size']
    common = dict(in_channels=channels, out_channels=num_keypoints, decoder=codec)
    if head == 'heatmap':
        loss = dict(type='KeypointMSELoss', use_target_weight=True)
        head_cfg = dict(type='HeatmapHead', deconv_out_channels=(8, 8, 8), deconv_kernel_sizes=(4, 4, 4), loss=loss)
    else:
        cells = (size[0] // 32, size[1] // 32)
        ratio = codec.get('simcc_split_ratio', 2.0)
        head_cfg = dict(input_size=size, in_featuremap_size=cells, simcc_split_ratio=ratio)
        if head == 'rtmcc':
            loss = dict(type='KLDiscretLoss', use_target_weight=True, beta=10.0, label_softmax=True)
            gau = dict(
                hidden_dims=16,
                s=8,
                expansion_factor=2,
                dropout_rate=0.0,
                drop_path=0.0,
                act_fn='SiLU',
                use_rel_bias=False,
                pos_enc=False,
            )
            head_cfg.update(type='RTMCCHead', loss=loss, gau_cfg=gau)
        else:
            head_cfg.update(type=head, deconv_out_channels=None)
    model = dict(
        type='TopdownPoseEstimator',
        data_preprocessor=dict(
            type='PoseDataPreprocessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
        ),
        backbone=dict(type='ResNet', depth=18, base_channels=width, stem_channels=width),
        head=dict(**head_cfg, **common),
        test_cfg=dict(flip_test=True),
    )
    model.update(options)
    return model


def refiner(base_head):
    """A small IGP-GCN on one map."""
    return dict(
        type='IGPGCNHead',
        base_head=base_head,
        metainfo='CocoDataset',
        in_channels=(64, 64, 64),
        in_indices=(0, 0, 0),
        feat_channels=(8, 8, 8),
        hidden_channels=16,
    )


@pytest.fixture
def distiller(tmp_path):
    """``distiller(student, teacher, **options)``: built, the teacher's weights saved first."""

    def make(student, teacher, losses=None, same=False, metainfo='CocoDataset', **options):
        init_default_scope('mmpose')
        torch.manual_seed(0)
        taught = MODELS.build(teacher)
        taught.init_weights()
        for weight in taught.head.parameters():  # answers that differ from keypoint to keypoint and place to place
            torch.nn.init.normal_(weight, std=0.3)
        torch.save(taught.state_dict(), tmp_path / 'teacher.pth')
        losses = losses or dict(loss_pose=dict(type='PoseL1Loss'), loss_structure=dict(type='StructureLoss'))
        cfg = dict(
            copy.deepcopy(student),
            type='PoseDistiller',
            teacher=teacher,
            teacher_checkpoint=str(tmp_path / 'teacher.pth'),
            student_checkpoint=str(tmp_path / 'teacher.pth') if same else None,
            distill_losses=losses,
            metainfo=metainfo,
            **options,
        )
        model = MODELS.build(cfg)
        model.init_weights()
        model.learn_joints()
        model.train()
        return model

    return make


def labeled_batch(codec, num_keypoints=17, size=2):
    """Random images and poses, encoded by a codec, as the data preprocessor hands them over."""
    rng = np.random.default_rng(0)
    codec = KEYPOINT_CODECS.build(codec)
    width, height = codec.input_size
    samples = []
    for _ in range(size):
        joints = rng.uniform(0.1, 0.9, (1, num_keypoints, 2)) * [width, height]
        encoded = codec.encode(joints.astype(np.float32), np.ones((1, num_keypoints), dtype=np.float32))
        sample = PoseDataSample()
        sample.gt_instances = InstanceData(
            keypoints_visible=np.ones((1, num_keypoints), dtype=np.float32),
            transformed_keypoints=joints.astype(np.float32),
        )
        sample.gt_instance_labels = InstanceData(
            **{k: torch.from_numpy(v) for k, v in encoded.items() if k != 'heatmaps'}
        )
        if 'heatmaps' in encoded:
            sample.gt_fields = PixelData(heatmaps=torch.from_numpy(encoded['heatmaps']))
        samples.append(sample)
    return torch.randn(size, 3, height, width), samples


PAIRINGS = {
    'simcc of other bins → simcc': ((SMOOTHED, 'OfficialSimCCHead'), (FINE, 'OfficialSimCCHead')),
    'stock simcc → simcc': ((SIMCC, 'OfficialSimCCHead'), (SIMCC, 'SimCCHead')),
    'msra heatmap → simcc': ((SIMCC, 'OfficialSimCCHead'), (MSRA, 'heatmap')),
    'udp heatmap → simcc': ((SIMCC, 'OfficialSimCCHead'), (UDP, 'heatmap')),
    'dark heatmap → simcc': ((SIMCC, 'OfficialSimCCHead'), (DARK, 'heatmap')),
    'rtmpose → rtmpose': ((RTM, 'rtmcc'), (RTM, 'rtmcc')),
    'rtmpose → simcc': ((SIMCC, 'OfficialSimCCHead'), (RTM, 'rtmcc')),
    'simcc → rtmpose': ((RTM, 'rtmcc'), (SIMCC, 'OfficialSimCCHead')),
    'heatmap → rtmpose': ((RTM, 'rtmcc'), (UDP, 'heatmap')),
    'heatmap → heatmap': ((MSRA, 'heatmap'), (UDP, 'heatmap')),
    'simcc → heatmap': ((MSRA, 'heatmap'), (SIMCC, 'OfficialSimCCHead')),
}


@pytest.mark.parametrize('name', PAIRINGS)
def test_every_teacher_teaches_every_student(distiller, name):
    student, teacher = PAIRINGS[name]
    losses = dict(
        loss_feat=dict(type='FeatureMSELoss', student_channels=64, teacher_channels=96),
        loss_pose=dict(type='PoseL1Loss'),
        loss_structure=dict(type='StructureLoss'),
    )
    model = distiller(estimator(*student), estimator(*teacher, width=12), losses)
    out = model.loss(*labeled_batch(student[0]))
    assert all(value.isfinite() for value in out.values()) and all(out[key] > 0 for key in losses)
    sum(out[key] for key in losses).backward(retain_graph=True)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.backbone.parameters())
    assert sum(p.grad.abs().sum() for p in model.backbone.parameters()) > 0
    sum(value for key, value in out.items() if 'loss' in key).backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize(
    'codec, head', [(FINE, 'OfficialSimCCHead'), (MSRA, 'heatmap'), (UDP, 'heatmap'), (RTM, 'rtmcc')]
)
def test_a_teacher_equal_to_the_student_teaches_nothing(distiller, codec, head):
    losses = dict(
        loss_feat=dict(type='FeatureMSELoss', student_channels=64, teacher_channels=64),
        loss_pose=dict(type='PoseL1Loss'),
        loss_structure=dict(type='StructureLoss'),
    )
    if head == 'heatmap':
        losses.update(loss_logit=dict(type='HeatmapMSELoss'), loss_affinity=dict(type='JointAffinityLoss'))
    else:
        losses.update(loss_logit=dict(type='SimCCLogitKDLoss'))
    model = distiller(estimator(codec, head), estimator(codec, head), losses, same=True).eval()
    model.to(memory_format=torch.channels_last)  # as the teacher is: in another one they would differ by rounding
    adapter = model.distill_losses['loss_feat'].adapter
    torch.nn.init.dirac_(adapter.weight)
    torch.nn.init.zeros_(adapter.bias)
    out = model.loss(*labeled_batch(codec))
    assert {name: out[name].item() for name in losses} == pytest.approx(dict.fromkeys(losses, 0), abs=1e-6)


def test_an_untrained_refiner_of_the_teachers_own_pose_has_nothing_to_learn(distiller):
    plain = estimator(SIMCC, 'OfficialSimCCHead')
    refined = dict(plain, head=refiner(plain['head']))
    losses = dict(loss_refine=dict(type='ProgressivePoseLoss'))
    model = distiller(refined, plain, losses, same=True, frozen=('backbone', 'head.base_head'), task_loss=False)
    assert model.loss(*labeled_batch(SIMCC))['loss_refine'].item() == pytest.approx(0, abs=1e-5)


def test_vitpose_is_a_teacher(distiller):
    pytest.importorskip('mmpretrain', reason='ViTPose takes its backbone from mmpretrain')
    vit = estimator(UDP)
    vit['backbone'] = dict(
        type='mmpretrain.VisionTransformer',
        arch=dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=32),
        img_size=(96, 64),
        patch_size=16,
        with_cls_token=False,
        out_type='featmap',
        patch_cfg=dict(padding=2),
    )
    vit['head'].update(in_channels=32, deconv_out_channels=(8, 8), deconv_kernel_sizes=(4, 4))
    losses = dict(
        loss_feat=dict(type='FeatureMSELoss', student_channels=64, teacher_channels=32),
        loss_pose=dict(type='PoseL1Loss'),
    )
    model = distiller(estimator(SIMCC, 'OfficialSimCCHead'), vit, losses)
    out = model.loss(*labeled_batch(SIMCC))
    assert all(out[name].isfinite() and out[name] > 0 for name in losses)


def test_a_loss_of_the_base_config_is_left_out_by_none(distiller):
    losses = dict(loss_pose=dict(type='PoseL1Loss'), loss_structure=None)
    model = distiller(estimator(MSRA), estimator(UDP), losses)
    assert set(model.distill_losses) == {'loss_pose'}


def test_a_loss_named_as_one_of_the_heads_is_refused(distiller):
    model = distiller(estimator(MSRA), estimator(UDP), dict(loss_kpt=dict(type='PoseL1Loss')))
    with pytest.raises(UserError, match="distill_losses.loss_kpt: the head's own losses have that name"):
        model.loss(*labeled_batch(MSRA))


def test_a_refined_model_is_a_teacher(distiller):
    refined = estimator(SIMCC, 'OfficialSimCCHead')
    refined['head'] = refiner(refined['head'])
    model = distiller(estimator(MSRA), refined, teacher_flip_test=True)
    assert model.loss(*labeled_batch(MSRA))['loss_pose'] > 0


def test_a_refined_teacher_with_a_flip_test_refines_each_view_once(distiller, monkeypatch):
    refined = estimator(SIMCC, 'OfficialSimCCHead')
    refined['head'] = refiner(refined['head'])
    model = distiller(estimator(MSRA), refined, teacher_flip_test=True)
    inputs, samples = labeled_batch(MSRA)
    teacher, head = model.teacher, model.teacher.model.head
    # as in answers of its own, without the flip test
    views = [teacher.reader(feats, head(feats)) for feats in map(teacher.model.extract_feat, (inputs, inputs.flip(-1)))]
    expected = teacher.reader.merge_flipped(*views, teacher.flip_indices)
    calls, own = [], head.refine
    monkeypatch.setattr(head, 'refine', lambda *args: calls.append(1) or own(*args))
    assert torch.allclose(teacher(inputs).coords, expected.coords, atol=1e-4)
    assert len(calls) == 2


# A faster pass


def randomise_norms(model):
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for value, low in ((module.weight, 0.5), (module.running_var, 0.5), (module.bias, -0.5)):
                torch.nn.init.uniform_(value, low, low + 1)
            torch.nn.init.normal_(module.running_mean)


@torch.no_grad()
def unfolded(distiller, codec, head):
    """A distiller whose teacher is yet to be folded."""
    model = distiller(estimator(SIMCC, 'OfficialSimCCHead'), estimator(codec, head))
    randomise_norms(model.teacher.model)
    model.teacher.forward_pass = 'folded'
    return model


@pytest.mark.parametrize(
    'codec, head, forward_pass',
    [
        (SMOOTHED, 'SimCCHead', 'folded'),
        (SIMCC, 'OfficialSimCCHead', 'compiled'),
        (UDP, 'heatmap', 'folded'),
        (RTM, 'rtmcc', 'folded'),
    ],
)
def test_folding_moves_no_joint_and_leaves_the_checkpoint_alone(distiller, monkeypatch, codec, head, forward_pass):
    compiled, own = [], torch.compile
    monkeypatch.setattr(torch, 'compile', lambda fn: compiled.append(fn) or own(fn, backend='eager'))
    model = unfolded(distiller, codec, head)
    teacher, inputs = model.teacher, torch.randn(2, 3, *SIZE[::-1])
    teacher.forward_pass = forward_pass
    plain, digest = teacher(inputs), teacher.digest()
    teacher.match(model.skeleton, 17)
    folded = teacher(inputs)
    assert not [m for m in teacher.model.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert (folded.coords - plain.coords).abs().max() < 0.01
    assert (folded.peaks - plain.peaks).abs().max() < 0.01
    assert torch.allclose(folded.feats[-1], plain.feats[-1], rtol=1e-3, atol=1e-3)
    assert teacher.digest() == digest
    assert len(compiled) == (forward_pass == 'compiled')
    assert not any(p.requires_grad for p in teacher.model.parameters())


def test_the_plain_pass_is_the_default(distiller):
    teacher = distiller(estimator(MSRA), estimator(MSRA)).teacher
    assert [m for m in teacher.model.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]


def test_a_student_starts_from_the_weights_of_a_teacher_before_they_are_folded(distiller):
    plain, folded = (
        distiller(estimator(MSRA), estimator(MSRA, width=16), init_from_teacher=True, teacher_pass=name)
        for name in ('plain', 'folded')
    )
    assert list(plain.state_dict()) == list(folded.state_dict())
    for name, value in plain.state_dict().items():
        assert torch.equal(value, folded.state_dict()[name]), name


def test_a_teacher_whose_norms_do_not_follow_their_convolutions_is_not_folded(distiller):
    model = unfolded(distiller, MSRA, 'heatmap')
    block = model.teacher.model.backbone.layer1[0]
    for name in ('conv2', 'bn1', 'bn2'):
        block.add_module(name, block._modules.pop(name))
    with pytest.raises(UserError, match="teacher_pass='folded': folding batch norm moves the pose .* Set it to"):
        model.teacher.match(model.skeleton, 17)


def test_an_unknown_pass_is_named(distiller):
    with pytest.raises(UserError, match="model.teacher_pass is one of plain, folded, compiled, not 'fast'"):
        distiller(estimator(MSRA), estimator(MSRA), teacher_pass='fast')


# Sizes and colors


def see(model, image):
    """A BGR image as a model's own preprocessor hands it over."""
    data = dict(inputs=[torch.from_numpy(image).permute(2, 0, 1)], data_samples=[PoseDataSample()])
    return model.data_preprocessor(data, False)['inputs']


def normalized(mean, std, **swap):
    return dict(type='PoseDataPreprocessor', mean=mean, std=std, **swap)


@pytest.mark.parametrize(
    'preprocessor',
    [
        normalized([123.675, 116.28, 103.53], [58.395, 57.12, 57.375], bgr_to_rgb=True),
        normalized([10.0, 20.0, 30.0], [50.0, 60.0, 70.0], bgr_to_rgb=True),
        normalized([10.0, 20.0, 30.0], [50.0, 60.0, 70.0]),
        normalized([0.0], [255.0], bgr_to_rgb=True),
        dict(type='PoseDataPreprocessor'),
    ],
)
@pytest.mark.parametrize('swapped', [False, True])
def test_a_teacher_sees_the_image_as_its_own_preprocessor_would_show_it(distiller, preprocessor, swapped):
    student, teacher = estimator(SIMCC, 'SimCCHead'), estimator(MSRA, data_preprocessor=preprocessor)
    if swapped:
        student, teacher = estimator(SIMCC, 'SimCCHead', data_preprocessor=preprocessor), estimator(MSRA)
    model = distiller(student, teacher)
    image = np.random.default_rng(0).integers(0, 256, (96, 64, 3), dtype=np.uint8)
    seen = model.teacher.frame.inputs(see(model, image))
    assert torch.allclose(seen, see(model.teacher.model, image).float(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize('size', [(96, 144), (32, 48)])
def test_a_teacher_of_another_size_answers_in_the_students_pixels(distiller, size):
    """Its image is the student's in its own size, and a place in it comes back to where it was."""
    codec = dict(MSRA, input_size=size, heatmap_size=(size[0] // 4, size[1] // 4))
    model = distiller(estimator(SIMCC, 'OfficialSimCCHead'), estimator(codec))
    image = np.zeros((96, 64, 3), dtype=np.uint8)
    cv2.circle(image, (40, 60), 5, (255, 255, 255), -1)
    teacher = model.teacher
    seen = teacher.frame.inputs(see(model, image))
    assert seen.shape[-2:] == (size[1], size[0])
    light = (seen - seen.amin((-2, -1), keepdim=True)).sum((0, 1))
    y, x = torch.meshgrid(torch.arange(size[1]), torch.arange(size[0]), indexing='ij')
    center = torch.stack([(light * x).sum(), (light * y).sum()]) / light.sum()
    outputs = teacher(see(model, image))
    back = outputs.reader._rescale(center)
    assert (back - torch.tensor([40.0, 60.0])).abs().max() < 0.05
    assert outputs.coords.shape == (1, 17, 2) and outputs.input_size == SIZE
    own = teacher.reader(outputs.feats, outputs.heatmaps).coords
    assert torch.allclose((own + 0.5) * 64 / size[0] - 0.5, outputs.coords, atol=1e-4)


def test_a_teacher_of_another_size_and_colors_teaches(distiller):
    losses = dict(
        loss_feat=dict(type='FeatureMSELoss', student_channels=64, teacher_channels=64),
        loss_pose=dict(type='PoseL1Loss'),
        loss_structure=dict(type='StructureLoss'),
    )
    teacher = estimator(
        dict(MSRA, input_size=(96, 144), heatmap_size=(24, 36)),
        data_preprocessor=normalized([10.0, 20.0, 30.0], [50.0, 60.0, 70.0]),
    )
    model = distiller(estimator(SIMCC, 'OfficialSimCCHead'), teacher, losses)
    out = model.loss(*labeled_batch(SIMCC))
    assert all(out[name].isfinite() and out[name] > 0 for name in losses)
    sum(value for name, value in out.items() if 'loss' in name).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


# Keypoints


def test_a_coco_teacher_teaches_a_crowdpose_student_the_joints_that_both_name(distiller):
    coco, crowdpose = load_skeleton('CocoDataset'), load_skeleton('CrowdPoseDataset')
    losses = dict(
        loss_pose=dict(type='PoseL1Loss', loss_weight=1.0),
        loss_structure=dict(type='StructureLoss'),
    )
    student = estimator(SIMCC, 'OfficialSimCCHead', num_keypoints=14)
    model = distiller(student, estimator(MSRA), losses, metainfo='CrowdPoseDataset', teacher_metainfo='CocoDataset')
    inputs, samples = labeled_batch(SIMCC, 14)
    outputs = model.teacher(inputs)
    assert outputs.weights.sum() == 12 and outputs.heatmaps.shape[1] == 14
    own = model.teacher.reader(outputs.feats, model.teacher.model.head(outputs.feats)).coords
    for k, name in enumerate(crowdpose.names):
        if outputs.weights[0, k]:
            assert torch.allclose(outputs.coords[:, k], own[:, coco.names.index(name)], atol=1e-3), name
        else:
            assert name in ('top_head', 'neck')
    feats = model.extract_feat(inputs)
    student = model.reader(feats, model.head(feats))
    shared = outputs.weights[0] > 0
    expected = (student.coords - outputs.coords)[:, shared].abs().sum() / 2
    assert model.eval().loss(inputs, samples)['loss_pose'].isfinite()
    loss = model.distill_losses['loss_pose'](student, outputs, samples)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    sum(v for k, v in model.train().loss(inputs, samples).items() if 'loss' in k).backward()


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(), 'teacher has 17 keypoints, the student 14: .* set model.teacher_metainfo'),
        (dict(metainfo=None, teacher_metainfo='CocoDataset'), 'the student 14: .* set model.metainfo'),
        (dict(teacher_metainfo='MpiiDataset'), 'mpii, the data set of model.teacher, has 16 .* the teacher 17'),
        (dict(teacher_metainfo='CocoDataset', metainfo='MpiiDataset'), 'model.metainfo has 16 .* student 14'),
        (dict(teacher_metainfo='NoDataset'), "model.teacher_metainfo='NoDataset' is not a dataset class"),
        (dict(teacher_confidence=-1.0), 'teacher_confidence is a power'),
    ],
)
def test_joints_that_cannot_be_matched_are_named(distiller, options, message):
    student = estimator(SIMCC, 'OfficialSimCCHead', num_keypoints=14)
    options = dict(dict(metainfo='CrowdPoseDataset'), **options)
    with pytest.raises(UserError, match=message):
        distiller(student, estimator(MSRA), dict(loss_pose=dict(type='PoseL1Loss')), **options)


def test_a_flip_test_needs_to_know_the_mirror_pairs(distiller):
    student, losses = estimator(SIMCC, 'OfficialSimCCHead'), dict(loss_pose=dict(type='PoseL1Loss'))
    with pytest.raises(UserError, match='teacher_flip_test needs to know which keypoints mirror which'):
        distiller(student, estimator(MSRA), losses, metainfo=None, teacher_flip_test=True)


@pytest.mark.parametrize(
    'kind, reason',
    [
        ('BottomupPoseEstimator', 'finds all instances in a whole image'),
        ('PoseLifter', 'lifts 2-D poses to 3-D'),
    ],
)
def test_a_teacher_that_sees_no_single_person_is_refused_with_the_reason(distiller, kind, reason):
    model = distiller(estimator(MSRA), estimator(MSRA))
    model.teacher.config = dict(model=dict(estimator(MSRA), type=kind))
    with pytest.raises(UserError, match=f'model.teacher: {kind} .*{reason}'):
        model.teacher.build(model, 'teacher.pth')


def test_a_config_of_dwpose_stands_for_its_students():
    name = 'wholebody_2d_keypoint/{}/ubody/{}_coco-ubody{}-256x192.py'
    found = load_whole_config('mmpose::' + name.format('dwpose', 's1_dis/dwpose_l_dis_t', ''))
    assert found.model == load_config('mmpose::' + name.format('rtmpose', 'rtmpose-t_8xb64-270e', '-wholebody')).model
    assert config_skeleton(found).num_keypoints == found.model.head.out_channels == 133


def test_a_codec_that_only_looks_like_a_known_one_is_named():
    head = SimpleNamespace(decoder=DecoupledHeatmap(input_size=(64, 96), heatmap_size=(16, 24)))
    with pytest.raises(UserError, match='model.head.decoder: no reader knows the codec DecoupledHeatmap'):
        build_reader(head)


def test_a_teachers_scores_are_evaluated_on_the_scale_of_the_students(distiller):
    """A Gaussian SimCC head answers with 0.1 at best, and a threshold for heatmaps would drop all its keypoints."""
    model = distiller(estimator(MSRA), estimator(SIMCC, 'OfficialSimCCHead'))
    inputs, samples = labeled_batch(MSRA)
    for sample in samples:
        sample.set_metainfo(dict(input_center=np.zeros(2), input_scale=np.ones(2), input_size=SIZE))
        sample.gt_instances.bboxes, sample.gt_instances.bbox_scores = np.zeros((1, 4)), np.ones(1)
    model.data_preprocessor.forward = lambda data, training: dict(inputs=inputs, data_samples=samples)
    seen = []
    hook = TeacherEvaluationHook()
    hook.evaluator = SimpleNamespace(process=lambda data_samples, data_batch: seen.extend(data_samples))
    hook.after_val_iter(SimpleNamespace(model=model), 0, {})
    scores = np.concatenate([sample.pred_instances.keypoint_scores for sample in seen])
    answer = model.teacher(inputs)
    assert np.allclose(scores, answer.scores / answer.reader.best_score) and answer.reader.best_score < 0.11


def test_of_a_stack_of_networks_the_last_is_read():
    head = SimpleNamespace(decoder=KEYPOINT_CODECS.build(MSRA))
    first, last = torch.rand(2, 1, 17, 24, 16)
    assert build_reader(head)((), [first, last]).heatmaps is last


def test_joints_given_as_a_dict_are_shown_with_the_predictions(distiller):
    """As a plain pose estimator does with its metainfo."""
    student = estimator(SIMCC, 'OfficialSimCCHead', num_keypoints=5)
    losses = dict(loss_pose=dict(type='PoseL1Loss'))
    own = copy.deepcopy(HAND)
    own['keypoint_info'][0]['name'] = 'nose'
    for link in own['skeleton_info'].values():
        link['link'] = tuple('nose' if name == HAND['keypoint_info'][0]['name'] else name for name in link['link'])
    model = distiller(student, estimator(MSRA), losses, metainfo=own, teacher_metainfo='CocoDataset')
    assert model.teacher(torch.randn(1, 3, 96, 64)).weights.sum() == 1
    assert model.metainfo['num_keypoints'] == 5 and model.metainfo['keypoint_id2name'][0] == 'nose'


# What the teacher's answers are worth


@pytest.mark.parametrize(
    'codec, head',
    [(SMOOTHED, 'SimCCHead'), (SIMCC, 'OfficialSimCCHead'), (UDP, 'heatmap'), (RTM, 'rtmcc')],
)
def test_a_flipping_teacher_says_the_same_of_the_mirrored_image(distiller, codec, head):
    model = distiller(estimator(SIMCC, 'OfficialSimCCHead'), estimator(codec, head), teacher_flip_test=True)
    flip = list(load_skeleton('CocoDataset').flip_indices)
    inputs = torch.randn(2, 3, 96, 64)
    plain, mirrored = model.teacher(inputs), model.teacher(inputs.flip(-1))
    single = model.teacher.reader((), model.teacher.model.head(model.teacher.model.extract_feat(inputs)))
    if head == 'heatmap':
        assert torch.allclose(plain.heatmaps, mirrored.heatmaps[:, flip].flip(-1), atol=1e-4)
        assert not torch.allclose(plain.heatmaps, single.heatmaps, atol=1e-2)
    else:  # but for the bin at the border, which is repeated and which an untrained network makes as much of as of any
        assert (plain.coords - flip_coords(mirrored.coords, flip, SIZE[0])).abs().max() < 1.1
        assert (plain.coords - single.coords).abs().max() > 0.01


def test_joints_teach_by_the_teachers_confidence(distiller):
    model = distiller(estimator(SIMCC, 'OfficialSimCCHead'), estimator(MSRA), teacher_confidence=2.0)
    inputs, samples = labeled_batch(SIMCC)
    outputs = model.teacher(inputs)
    assert torch.allclose(outputs.weights, outputs.scores.clamp(0, 1) ** 2)
    assert model.eval().loss(inputs, samples)['loss_pose'].isfinite()
