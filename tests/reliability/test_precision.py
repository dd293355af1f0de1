"""bfloat16, float16, channels last and torch.compile: what must stay finite, and how far from fp32 it may be.

The tolerances here are those that docs/reliability.md states.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import REPO, shrink_model, train
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import KEYPOINT_CODECS, MODELS

from mmpose_tskd.errors import UserError
from mmpose_tskd.models.losses import (
    FeatureMSELoss,
    HeatmapMSELoss,
    JointAffinityLoss,
    PoseL1Loss,
    ProgressivePoseLoss,
    SimCCKLLoss,
    SimCCLogitKDLoss,
    StructureLoss,
    structure_loss,
)
from mmpose_tskd.poses import PoseOutputs, build_reader, load_skeleton


def has_fp16_autocast():
    """torch 2.1 has it on GPUs alone."""
    try:
        with torch.autocast('cpu', dtype=torch.float16):
            return True
    except RuntimeError:
        return False


fp16 = pytest.mark.skipif(not has_fp16_autocast(), reason='this torch has no autocast in float16 on a CPU')
HALVES = [torch.bfloat16, pytest.param(torch.float16, marks=fp16)]
SIZE, JOINTS = (64, 96), 17
SMOOTHED = dict(type='SimCCLabel', input_size=SIZE, smoothing_type='standard', label_smooth_weight=0.1)
GAUSSIAN = dict(type='SimCCLabel', input_size=SIZE, sigma=4.0)
RTM = dict(type='SimCCLabel', input_size=SIZE, sigma=(2.83, 3.46), normalize=False)
MSRA = dict(type='MSRAHeatmap', input_size=SIZE, heatmap_size=(16, 24), sigma=2)
DARK = dict(MSRA, unbiased=True)
UDP = dict(type='UDPHeatmap', input_size=SIZE, heatmap_size=(16, 24), sigma=2)
CODECS = dict(smoothed=SMOOTHED, gaussian=GAUSSIAN, rtm=RTM, msra=MSRA, dark=DARK, udp=UDP)


def one_hot(*shape):
    values = torch.zeros(shape)
    values.flatten(0, -2)[:, torch.randint(shape[-1], ())] = 1e4
    return values


# what a diverging, dead or certain network may put out, within fp16's range
LOGITS = {
    'ordinary': lambda *shape: 3 * torch.randn(shape),
    'huge': lambda *shape: 1e4 * torch.randn(shape).sign(),
    'at the end of the range': lambda *shape: 65504 * torch.randn(shape).sign(),
    'constant': lambda *shape: torch.full(shape, 1e4),
    'very negative': lambda *shape: torch.full(shape, -65504.0),
    'all zero': lambda *shape: torch.zeros(shape),
    'one-hot': one_hot,
}


def reader_of(codec):
    rtm = dict(type='KLDiscretLoss', use_target_weight=True, beta=10.0, label_softmax=True)
    loss = MODELS.build(rtm if codec is RTM else dict(type='SimCCKLLoss'))
    return build_reader(SimpleNamespace(decoder=KEYPOINT_CODECS.build(codec), loss_module=loss))


def draw(codec, kind, dtype):
    """What a head with that codec would put out for two instances."""
    sizes = [(24, 16)] if 'heatmap_size' in codec else [(128,), (192,)]
    return [LOGITS[kind](2, JOINTS, *size).to(dtype).requires_grad_() for size in sizes]


def read(codec, output):
    return reader_of(codec)((), tuple(output) if len(output) == 2 else output[0])


def task_loss(student, teacher):
    """The head's own, on a target that is one of the codec's."""
    target = reader_of(SMOOTHED).codec.encode(np.full((1, JOINTS, 2), 30, dtype=np.float32))
    labels = [torch.from_numpy(target[f'keypoint_{axis}_labels']).expand(2, -1, -1) for axis in 'xy']
    return SimCCKLLoss()(student.simcc, labels, torch.ones(2, JOINTS))


def feature_loss(student, teacher):
    torch.manual_seed(0)  # the adapter's weights
    return FeatureMSELoss(JOINTS, JOINTS)(*(PoseOutputs((o.heatmaps,), o.reader) for o in (student, teacher)), None)


def refinement_loss(student, teacher):
    """The logits are taken for the refiner's poses."""
    refined = PoseOutputs((), student.reader, refined=tuple(v[..., :2] for v in (*student.simcc, student.simcc[0])))
    return ProgressivePoseLoss(labeled_only=False)(refined, teacher, None)


def limb_loss(student, teacher):
    """The logits are taken for poses in half precision."""
    edges = load_skeleton('CocoDataset').edges()
    poses = (output.simcc[0][..., :2] for output in (student, teacher))
    return structure_loss(*poses, edges, torch.ones(edges.shape[1]), 'length')


def between(loss):
    samples = [SimpleNamespace(gt_instance_labels=SimpleNamespace(keypoint_weights=torch.ones(1, JOINTS)))] * 2
    return lambda student, teacher: loss(student, teacher, samples)


def loss_of_skeleton(**options):
    loss = StructureLoss(**options)
    loss.set_skeleton(load_skeleton('CocoDataset'), torch.device('cpu'))
    return loss


LOSSES = {
    'Eq. 1': (feature_loss, MSRA),
    **{f'Eq. 2, {name}': (between(PoseL1Loss()), codec) for name, codec in CODECS.items()},
    **{f'Eq. 3, {name}': (between(loss_of_skeleton()), codec) for name, codec in CODECS.items()},
    'Eq. 3, vectors': (between(loss_of_skeleton(edge_form='vector')), SMOOTHED),
    'Eq. 3, poses': (limb_loss, SMOOTHED),
    'Eq. 6 and 7': (refinement_loss, SMOOTHED),
    'SimCCKLLoss': (task_loss, SMOOTHED),
    'SimCCLogitKDLoss': (between(SimCCLogitKDLoss()), GAUSSIAN),
    'SimCCLogitKDLoss, rtm': (between(SimCCLogitKDLoss()), RTM),
    'HeatmapMSELoss': (between(HeatmapMSELoss()), MSRA),
    'JointAffinityLoss': (between(JointAffinityLoss()), MSRA),
}


@pytest.mark.parametrize('dtype', HALVES, ids=str)
@pytest.mark.parametrize('name', LOSSES)
def test_a_loss_under_autocast_is_that_of_fp32_for_any_logits(name, dtype, survived):
    """The same numbers, once in half precision under autocast and once in fp32."""
    loss, codec = LOSSES[name]
    for kind in LOGITS:
        for taught_by in LOGITS:
            torch.manual_seed(1)
            student, teacher = draw(codec, kind, dtype), draw(codec, taught_by, dtype)
            with torch.autocast('cpu', dtype=dtype):
                value = loss(read(codec, student), read(codec, teacher))
            value.backward()
            expected = loss(*(read(codec, [v.detach().float() for v in output]) for output in (student, teacher)))
            assert value.dtype == torch.float32 and value.isfinite(), (kind, taught_by)
            torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6, msg=f'{kind}, {taught_by}')
            assert all(v.grad is None or v.grad.isfinite().all() for v in student), (kind, taught_by)
            assert any(v.grad is not None for v in student)
            survived('precision', f'losses, {str(dtype)[6:]}')


@pytest.mark.parametrize('dtype', [None, *HALVES], ids=str)
@pytest.mark.parametrize('name', CODECS)
def test_a_pose_is_finite_and_in_the_image_for_any_logits(name, dtype, survived):
    codec, width, height = CODECS[name], *SIZE
    for kind in LOGITS:
        output = draw(codec, kind, dtype or torch.float32)
        with torch.autocast('cpu', dtype=dtype, enabled=dtype is not None):
            outputs = read(codec, output)
            answers = dict(coords=outputs.coords, peaks=outputs.peaks, scores=outputs.scores)
        expected = read(codec, [v.detach().float() for v in output])
        for what, value in answers.items():
            assert value.dtype == torch.float32 and value.isfinite().all(), (kind, what)
            torch.testing.assert_close(value, getattr(expected, what), rtol=1e-6, atol=1e-4, msg=f'{kind}, {what}')
        for pose in (outputs.coords, outputs.peaks):
            assert (pose > -8).all() and (pose < torch.tensor([width + 8, height + 8])).all(), kind
        survived('precision', f'poses, {str(dtype or torch.float32)[6:]}')


@pytest.mark.parametrize('dtype', HALVES, ids=str)
@pytest.mark.parametrize('name', CODECS)
def test_the_average_with_the_mirrored_image_is_that_of_fp32(name, dtype):
    codec, flip_indices = CODECS[name], list(load_skeleton('CocoDataset').flip_indices)
    for kind in LOGITS:
        views = [draw(codec, kind, dtype) for _ in range(2)]
        merged = []
        for precise in (False, True):
            outputs = [tuple(v.detach().float() if precise else v for v in view) for view in views]
            reader = reader_of(codec)
            read = [reader((), view if len(view) == 2 else view[0]) for view in outputs]
            both = reader.merge_flipped(*read, flip_indices)
            merged.append(both.simcc or both.heatmaps)
        torch.testing.assert_close(*merged, rtol=1e-6, atol=1e-6, msg=kind)


def set_head(head, kind, joint):
    """Makes a SimCC head answer with logits of a kind."""
    for axis, size in enumerate(SIZE):
        layer = (head.mlp_head_x, head.mlp_head_y)[axis]
        if kind == 'certain':  # as after training: its target for a keypoint, and what it sees
            target = head.decoder.encode(np.full((1, JOINTS, 2), joint, dtype=np.float32))
            layer.bias.data = torch.from_numpy(target[f'keypoint_{"xy"[axis]}_labels'])[0, 0].log()
            torch.nn.init.normal_(layer.weight, std=0.1)
        elif kind == 'huge':
            torch.nn.init.normal_(layer.weight, std=500)  # logits of about 1e4
        else:
            torch.nn.init.zeros_(layer.weight)
            layer.bias.data = LOGITS[kind](1, 2 * size)[0]


@pytest.fixture
def make_stage(make_config, tmp_path):
    """``make_stage(1)``: a stage's config, with a student of random weights for the second."""

    def make(stage, work_dir='work', **options):
        if stage == 1:
            return make_config('stage1_structure.py', work_dir, **options)
        torch.manual_seed(0)
        student = MODELS.build(make_config('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py').model)
        torch.save(student.state_dict(), tmp_path / 'student.pth')
        return make_config(
            'stage2_igpgcn.py', work_dir, **{'model.student_checkpoint': str(tmp_path / 'student.pth'), **options}
        )

    return make


def step(model, inputs, dtype=None):
    """One step's losses, poses and gradients, under autocast if a type is given."""
    model.zero_grad()
    with torch.autocast('cpu', dtype=dtype, enabled=dtype is not None):
        losses = model.loss(**inputs)
        with torch.no_grad():
            feats = model.extract_feat(inputs['inputs'])
            student = model.reader(feats, model.head.forward(feats))
            poses = [*student.refined, student.coords, student.peaks, model.teacher(inputs['inputs']).coords]
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    grads = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
    return {name: value.detach() for name, value in losses.items()}, poses, grads


# how far from fp32 a step of certain networks may be: losses (a share, and absolute), pixels, gradients (a share)
VARIANTS = {
    'bfloat16': (0.05, 1e-3, 0.5, 0.3),
    'float16': (0.005, 1e-4, 0.1, 0.1),
    'channels last': (1e-3, 1e-4, 0.01, 0.05),
}


@pytest.mark.parametrize('stage', [1, 2])
@pytest.mark.parametrize('variant', [pytest.param(v, marks=fp16) if v == 'float16' else v for v in VARIANTS])
def test_a_whole_step_is_finite_and_near_that_of_fp32(make_stage, batch, stage, variant, survived):
    """Over images and logits of all kinds; near where no argmax hangs on the last digits."""
    share, least, pixels, grad_share = VARIANTS[variant]
    model = MODELS.build(dict(make_stage(stage).model, metainfo='CocoDataset'))
    model.init_weights()
    model.train()
    inputs = batch(model)
    data, shape = inputs['inputs'], inputs['inputs'].shape
    images = dict(data=data, noise=torch.randn(shape), black=torch.full(shape, -2.0), white=torch.full(shape, 2.6))
    for kind in ('certain', 'huge', 'constant', 'all zero', 'one-hot'):
        set_head(getattr(model.head, 'base_head', model.head), kind, (20, 30))
        set_head(model.teacher.model.head, kind, (40, 70))
        for layer in getattr(model.head, 'output_layers', ()):
            torch.nn.init.normal_(layer.weight, std=0.01)
        for name, image in images.items():
            model.to(memory_format=torch.contiguous_format)
            expected_losses, expected_poses, expected_grads = step(model, dict(inputs, inputs=image))
            if variant == 'channels last':
                model.to(memory_format=torch.channels_last)
                image = image.contiguous(memory_format=torch.channels_last)
            dtype = getattr(torch, variant, None)
            losses, poses, grads = step(model, dict(inputs, inputs=image), dtype)
            assert all(v.dtype == torch.float32 and v.isfinite() for v in losses.values()), (kind, name)
            assert all(pose.isfinite().all() for pose in poses), (kind, name)
            # gradients of such logits leave fp16's range, for which there is loss scaling
            assert grads.isfinite().all() or (variant, kind) == ('float16', 'huge'), name
            survived('precision', f'steps, {variant}')
            if kind == 'certain':
                torch.testing.assert_close(losses, expected_losses, rtol=share, atol=least)
                for pose, expected in zip(poses, expected_poses):
                    assert (pose - expected).abs().max() < pixels, name
                assert (grads - expected_grads).norm() < grad_share * expected_grads.norm(), name


@pytest.mark.slow
@pytest.mark.parametrize('stage', [1, 2])
def test_a_run_in_bfloat16_and_channels_last_is_near_that_in_fp32(make_stage, stage, survived):
    """Both epochs, the validation under autocast, too."""
    plain = train(make_stage(stage, 'fp32'))
    cfg = make_stage(stage, 'bf16', **{'optim_wrapper.type': 'BF16OptimWrapper', 'val_cfg.fp16': True})
    cfg.custom_hooks.append(dict(type='ChannelsLastHook'))
    half = train(cfg)
    histories = [runner.message_hub.get_scalar('train/loss').data[0] for runner in (plain, half)]
    assert len(histories[0]) == 6
    assert np.allclose(*histories, rtol=0.05)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in half.model.parameters())
    assert half.model.teacher.model.backbone.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    survived('precision', 'runs, bfloat16 and channels last')


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        'recipes/synthetic_crowd/rtmcc_hrnet-w16-tiny_10e',
        'recipes/synthetic_crowd/distill_rtmcc_hrnet-w32-tiny-to-w16-tiny_10e',
        'ikd/synthetic_crowd/ikd_td-hm_hrnet-w32-tiny-to-res18-small_10e',
    ],
)
def test_mmposes_heads_report_their_accuracy_in_bfloat16(make_config, tmp_path, name, survived):
    """They work it out in NumPy, which has no bfloat16; the plain model as a distiller without a teacher."""
    name = f'{name}_synthetic-crowd-96x64.py'
    cfg = make_config(name, **{'optim_wrapper.type': 'BF16OptimWrapper', 'train_cfg.max_epochs': 1})
    cfg.model.update(type='PoseDistiller', train_cfg=None)  # which leaves out the accuracy
    if 'teacher' in cfg.model:
        teacher = Config.fromfile(Config.fromfile(REPO / 'configs' / name).model.teacher).model
        shrink_model(teacher, 12)
        torch.save(MODELS.build(teacher).state_dict(), tmp_path / 'teacher.pth')
        cfg.model.teacher, cfg.model.teacher_checkpoint = teacher, str(tmp_path / 'teacher.pth')
    scalars = train(cfg).message_hub.log_scalars
    for entry in ('loss', 'acc_pose', *cfg.model.get('distill_losses', ())):
        assert np.isfinite(scalars[f'train/{entry}'].data[0]).all()
    survived('precision', "runs, bfloat16, MMPose's heads")


class CompileHook(Hook):
    """The one that docs/reliability.md shows."""

    def before_train(self, runner):
        runner.model.backbone.compile()
        runner.model.teacher.model.backbone.compile()


def small_resnets(cfg):
    """In the place of the HRNets, which take minutes to compile."""
    for model, width in ((cfg.model, 8), (cfg.model.teacher, 12)):
        model.backbone = dict(type='ResNet', depth=18, base_channels=width, stem_channels=width)
        head = model.head.get('base_head', model.head)
        head.update(in_channels=8 * width, in_featuremap_size=(2, 3))
    if 'base_head' in cfg.model.head:
        cfg.model.head.update(in_channels=(64, 64, 64), in_indices=(0, 0, 0))
        del cfg.model.student_checkpoint
    else:
        cfg.model.distill_losses.loss_feat.update(student_channels=64, teacher_channels=96)
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize('stage', [1, 2])
def test_a_run_with_compiled_networks_is_that_without(make_stage, tmp_path, stage, survived):
    runners = []
    for name in ('eager', 'compiled'):
        cfg = small_resnets(make_stage(stage, name, **{'train_cfg.max_epochs': 1}))
        torch.manual_seed(0)
        torch.save(MODELS.build(cfg.model.teacher).state_dict(), tmp_path / 'teacher.pth')
        cfg.model.teacher_checkpoint = str(tmp_path / 'teacher.pth')
        runner = Runner.from_cfg(cfg)
        if name == 'compiled':
            runner.register_hook(CompileHook())
            torch._dynamo.utils.counters.clear()
        runner.train()
        runners.append(runner)
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] >= 2  # the student's backbone, and the teacher's
    plain, compiled = runners
    histories = [runner.message_hub.get_scalar('train/loss').data[0] for runner in runners]
    assert np.allclose(*histories, rtol=1e-3)
    assert list(plain.model.state_dict()) == list(compiled.model.state_dict())
    survived('precision', 'runs, compiled')


def test_mmengines_own_compile_is_refused(make_stage):
    with pytest.raises(UserError, match='compile: .* backbone.compile'):
        train(make_stage(1, compile=True))
