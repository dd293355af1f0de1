"""bfloat16, float16, channels last and torch.compile: what must stay finite, and how far from fp32 it may be.

The tolerances here are those that docs/reliability.md states.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import train
from mmpose.registry import KEYPOINT_CODECS, MODELS

from mmpose_tskd.models.losses import (
    FeatureMSELoss,
    HeatmapMSELoss,
    JointAffinityLoss,
    PoseL1Loss,
    ProgressivePoseLoss,
    SimCCKLLoss,
    SimCCLogitKDLoss,
    StructureLoss,
)
from mmpose_tskd.readers import build_reader
from mmpose_tskd.structures import PoseOutputs

HALVES = [torch.bfloat16, torch.float16]
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
    """What a head with that codec would put out for two people."""
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
    return ProgressivePoseLoss(labelled_only=False)(refined, teacher, None)


def between(loss):
    samples = [SimpleNamespace(gt_instance_labels=SimpleNamespace(keypoint_weights=torch.ones(1, JOINTS)))] * 2
    return lambda student, teacher: loss(student, teacher, samples)


LOSSES = {
    'Eq. 1': (feature_loss, MSRA),
    **{f'Eq. 2, {name}': (between(PoseL1Loss()), codec) for name, codec in CODECS.items()},
    **{f'Eq. 3, {name}': (between(StructureLoss('CocoDataset')), codec) for name, codec in CODECS.items()},
    'Eq. 3, vectors': (between(StructureLoss('CocoDataset', 'vector')), SMOOTHED),
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


@pytest.mark.parametrize('dtype', [torch.float32, *HALVES], ids=str)
@pytest.mark.parametrize('name', CODECS)
def test_a_pose_is_finite_and_in_the_picture_for_any_logits(name, dtype, survived):
    codec, width, height = CODECS[name], *SIZE
    for kind in LOGITS:
        output = draw(codec, kind, dtype)
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=dtype != torch.float32):
            outputs = read(codec, output)
            answers = dict(coords=outputs.coords, peaks=outputs.peaks, scores=outputs.scores)
        expected = read(codec, [v.detach().float() for v in output])
        for what, value in answers.items():
            assert value.dtype == torch.float32 and value.isfinite().all(), (kind, what)
            torch.testing.assert_close(value, getattr(expected, what), rtol=1e-6, atol=1e-4, msg=f'{kind}, {what}')
        for pose in (outputs.coords, outputs.peaks):
            assert (pose > -8).all() and (pose < torch.tensor([width + 8, height + 8])).all(), kind
        survived('precision', f'poses, {str(dtype)[6:]}')
