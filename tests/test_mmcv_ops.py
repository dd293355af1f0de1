"""Stand-ins for mmcv's compiled operators: which are used, what they refuse, and NMS beside mmcv's own."""

import importlib
import inspect
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from conftest import toy_config
from mmengine.hub import get_config
from mmpose.apis import MMPoseInferencer
from torchvision.ops import box_iou

from mmpose_tskd import UserError, mmcv_ops

COMPILED = find_spec('mmcv._ext') is not None
without_operators = pytest.mark.skipif(COMPILED, reason='mmcv has its operators')
with_operators = pytest.mark.skipif(not COMPILED, reason='mmcv has no operators: make test MMCV=full')


def draw_boxes(number, size=100.0):
    """Boxes of many overlaps with scores that differ."""
    corners, sides = size * torch.rand(2, number, 2)
    sides = sides.clamp(min=0.2 * size)
    return torch.cat([corners, corners + sides], dim=1), torch.randperm(number) / number


def suppress(boxes, scores, iou_threshold, offset=0):
    """Greedy suppression, one box after the other."""
    extent = boxes + torch.tensor([0, 0, offset, offset])
    keep = []
    for index in scores.argsort(descending=True).tolist():
        if all(box_iou(extent[[index]], extent[[kept]]) <= iou_threshold for kept in keep):
            keep.append(index)
    return keep


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('iou_threshold', [0.0, 0.3, 0.6])
def test_nms_keeps_what_no_better_box_overlaps(iou_threshold, offset):
    boxes, scores = draw_boxes(60)
    expected = suppress(boxes, scores, iou_threshold, offset)
    assert 3 < len(expected) < 60
    dets, keep = mmcv_ops.nms(boxes, scores, iou_threshold, offset)
    assert keep.tolist() == expected
    torch.testing.assert_close(dets, torch.cat([boxes[expected], scores[expected, None]], dim=1))
    chosen = [index for index in expected if scores[index] > 0.5]
    _, keep = mmcv_ops.nms(boxes, scores, iou_threshold, offset, score_threshold=0.5, max_num=4)
    assert keep.tolist() == chosen[:4]


def test_nms_of_arrays_gives_arrays():
    boxes, scores = draw_boxes(20)
    dets, keep = mmcv_ops.nms(boxes.numpy(), scores.numpy(), 0.3)
    assert isinstance(dets, np.ndarray) and isinstance(keep, np.ndarray)
    assert keep.tolist() == suppress(boxes, scores, 0.3)


def test_batched_nms_suppresses_within_a_class():
    boxes, scores = draw_boxes(60)
    idxs = torch.arange(60) % 3
    within = [torch.nonzero(idxs == kind)[:, 0] for kind in range(3)]
    expected = torch.cat([chosen[suppress(boxes[chosen], scores[chosen], 0.3)] for chosen in within])
    expected = expected[scores[expected].argsort(descending=True)]
    dets, keep = mmcv_ops.batched_nms(boxes, scores, idxs, dict(type='nms', iou_threshold=0.3))
    assert keep.tolist() == expected.tolist()
    torch.testing.assert_close(dets, torch.cat([boxes[keep], scores[keep, None]], dim=1))
    for agnostic in (dict(iou_threshold=0.3, class_agnostic=True), dict(iou_threshold=0.3)):
        _, keep = mmcv_ops.batched_nms(boxes, scores, idxs, agnostic, class_agnostic='class_agnostic' not in agnostic)
        assert keep.tolist() == suppress(boxes, scores, 0.3)
    assert mmcv_ops.batched_nms(boxes[:0], scores[:0], idxs[:0], dict(iou_threshold=0.3))[0].shape == (0, 5)
    with pytest.raises(UserError, match='mmcv.ops.soft_nms'):
        mmcv_ops.batched_nms(boxes, scores, idxs, dict(type='soft_nms', iou_threshold=0.3))


@with_operators
@pytest.mark.parametrize('number', [1, 40, 12_000])  # from 10,000 on mmcv goes class by class
def test_nms_and_batched_nms_are_those_of_mmcv(number):
    theirs = importlib.import_module('mmcv.ops')
    assert theirs.nms is not mmcv_ops.nms
    boxes, scores = draw_boxes(number, size=1000.0)
    idxs = torch.randint(4, (number,))
    options = dict(iou_threshold=0.3, score_threshold=0.1, max_num=50)
    for call, arguments in (
        ('nms', (boxes, scores, 0.3, 1)),
        ('nms', (boxes.numpy(), scores.numpy(), 0.5)),
        ('nms', (boxes, scores, 0.5, 0, 0.4, 10)),
        ('batched_nms', (boxes, scores, idxs, dict(type='nms', **options))),
        ('batched_nms', (boxes, scores, idxs, None)),
        ('batched_nms', (boxes[:9999], scores[:9999], idxs[:9999], options, True)),
    ):
        ours, expected = getattr(mmcv_ops, call)(*arguments), getattr(theirs, call)(*arguments)
        assert [type(value) for value in ours] == [type(value) for value in expected]
        for value, other in zip(ours, expected):
            np.testing.assert_array_equal(np.asarray(value), np.asarray(other), err_msg=f'{call}{arguments[2:]}')


@with_operators
def test_nothing_stands_in_for_operators_that_are_there():
    assert not mmcv_ops.provide()
    assert inspect.isfunction(importlib.import_module('mmcv.ops').nms)
    assert importlib.import_module('mmcv.ops').__file__


@without_operators
def test_an_operator_can_be_imported_and_says_how_to_get_it_when_used():
    from mmcv.ops import DeformConv2d
    from mmcv.ops.carafe import carafe

    for operator in (DeformConv2d, carafe, type('Derived', (DeformConv2d,), {})):
        with pytest.raises(UserError, match=r'mmcv\.ops\.(DeformConv2d|carafe) .*MMCV=full'):
            operator(1, 2, kernel_size=3)
    assert not isinstance(torch.nn.Conv2d(1, 1, 1), DeformConv2d)  # as MMEngine asks of every layer


@without_operators
def test_a_function_keeps_its_name_after_the_module_of_that_name_is_imported():
    from mmcv.ops.nms import batched_nms

    importlib.import_module('mmcv.ops.nms')
    from mmcv.ops import nms

    assert (nms, batched_nms) == (mmcv_ops.nms, mmcv_ops.batched_nms)
    assert inspect.getmodule(nms) is mmcv_ops
    with pytest.raises(AttributeError):
        importlib.import_module('mmcv.ops').__wrapped__  # noqa: B018


@without_operators
def test_a_program_that_imports_mmcv_alone_is_left_alone():
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', 'import mmcv.ops'], capture_output=True, text=True)
    assert "No module named 'mmcv._ext'" in done.stderr


def test_an_inferencer_finds_people_with_rtmdet(toy_data, tmp_path):
    """Its weights are random: what it finds went through NMS, but shows nobody."""
    detector = get_config('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py')
    detector.model.backbone.update(widen_factor=0.125, deepen_factor=0.167, init_cfg=None)
    detector.model.neck.update(in_channels=[32, 64, 128], out_channels=16, num_csp_blocks=1)
    detector.model.bbox_head.update(in_channels=16, feat_channels=16, num_classes=1, exp_on_reg=True)
    detector.model.test_cfg.update(score_thr=0.0, max_per_img=5)
    detector.dump(tmp_path / 'detector.py')
    config = 'simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py'
    toy_config(config, toy_data, tmp_path).dump(tmp_path / 'estimator.py')
    networks = [str(tmp_path / f'{name}.py') for name in ('estimator', 'detector')]
    inferencer = MMPoseInferencer(networks[0], det_model=networks[1], det_cat_ids=0, device='cpu')
    people = next(inferencer(str(toy_data / 'images/1.png'), bbox_thr=0.0))['predictions'][0]
    assert 1 < len(people) <= 5  # MMPose has an NMS of its own
    assert all(np.isfinite(person['keypoints']).all() for person in people)
