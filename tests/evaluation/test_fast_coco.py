"""hotcoco stands in for xtcocotools only where it says the same."""

import gc
import importlib.util
import json

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.evaluation.functional import oks_nms as mmpose_oks_nms
from mmpose.registry import DATASETS

from mmpose_tskd.evaluation import (
    CrowdPoseMetric,
    FastCocoMetric,
    FastCocoWholeBodyMetric,
    HiddenJointCocoMetric,
    fast_coco_check,
)
from mmpose_tskd.evaluation.fast_coco import evaluate_fast, oks_nms
from mmpose_tskd.evaluation.fast_coco_check import draw_case, evaluate_slowly, hotcoco_agrees

needs_hotcoco = pytest.mark.skipif(importlib.util.find_spec('hotcoco') is None, reason='hotcoco is not installed')
KINDS = ('keypoints', 'keypoints_crowd', 'keypoints_wholebody')
METRICS = {
    FastCocoMetric: ('CocoDataset', 'keypoints'),
    CrowdPoseMetric: ('CrowdPoseDataset', 'keypoints_crowd'),
    HiddenJointCocoMetric: ('CocoDataset', 'keypoints'),
    FastCocoWholeBodyMetric: ('CocoWholeBodyDataset', 'keypoints_wholebody'),
}


@pytest.fixture(autouse=True)
def asks_anew():
    hotcoco_agrees.cache_clear()
    yield
    hotcoco_agrees.cache_clear()


@needs_hotcoco
@pytest.mark.parametrize('kind', KINDS)
def test_random_cases_agree(kind):
    measured = set()
    for seed in range(25):
        case = draw_case(kind, seed)
        slow = evaluate_slowly(*case)
        assert np.abs(np.subtract(evaluate_fast(*case), slow)).max() < 1e-9, seed
        measured.update(np.round(slow, 6))
    assert len(measured) > 100 and (-1 in measured) == (kind == 'keypoints_crowd')  # of subsets without instances


def measure(metric_class, folder, dtype=np.float64, **options):
    """Values of a metric on drawn detections, fast or not."""
    dataset, kind = METRICS[metric_class]
    init_default_scope('mmpose')
    coco, people, *_ = draw_case(kind, seed=3)
    file = folder / 'labels.json'
    file.write_text(json.dumps(coco.dataset))
    metric = metric_class(ann_file=str(file), keypoint_score_thr=0.2, **options)
    metric.dataset_meta = parse_pose_metainfo(DATASETS.get(dataset).METAINFO)
    samples = []
    for i, person in enumerate(people + people):  # twice, so that NMS has something to do
        points, scores = np.split(person['keypoints'][None].astype(dtype), [2], axis=-1)
        box = np.concatenate([points[0].min(0), points[0].max(0)])[None]
        truth = dict(bboxes=box, bbox_scores=np.array([person['score']]), bbox_scales=box[:, 2:] - box[:, :2])
        found = dict(keypoints=points, keypoint_scores=scores[..., 0], bboxes=box)
        samples.append(
            dict(
                id=i, img_id=person['img_id'], category_id=person['category_id'],
                pred_instances=found, gt_instances=truth,
            )
        )  # fmt: skip
    metric.process({}, samples)
    found = metric.evaluate(len(samples))
    metric.process({}, samples)
    assert metric.evaluate(len(samples)) == found  # of the next epoch
    assert gc.isenabled()
    return metric.fast, found


@needs_hotcoco
@pytest.mark.parametrize('metric_class', METRICS)
def test_metrics_say_the_same_fast_and_not(metric_class, tmp_path):
    is_fast, values = measure(metric_class, tmp_path)
    is_slow, expected = measure(metric_class, tmp_path, fast=False)
    assert is_fast and not is_slow
    assert len(values) > 4 and list(values) == list(expected)
    assert values == pytest.approx(expected, abs=1e-9)


@needs_hotcoco
@pytest.mark.parametrize('score_mode', ('bbox_keypoint', 'bbox_rle', 'bbox'))
@pytest.mark.parametrize('dtype', (np.float32, np.float64))
def test_the_file_of_results_is_mmposes_to_the_last_digit(dtype, score_mode, tmp_path):
    options = dict(dtype=dtype, score_mode=score_mode)
    measure(FastCocoMetric, tmp_path, outfile_prefix=str(tmp_path / 'fast'), **options)
    measure(FastCocoMetric, tmp_path, outfile_prefix=str(tmp_path / 'slow'), fast=False, **options)
    assert (tmp_path / 'fast.keypoints.json').read_text() == (tmp_path / 'slow.keypoints.json').read_text()


@pytest.mark.parametrize('dtype', (np.float32, np.float64))
def test_nms_keeps_whom_mmpose_keeps(dtype):
    rng = np.random.default_rng(0)
    sigmas = rng.uniform(0.02, 0.1, 17).astype(np.float32)
    for count in (0, 1, 2, 30):
        places = rng.uniform(0, 100, (4, 17, 2))[rng.integers(0, 4, count)]
        points = places + rng.normal(0, rng.exponential(2, (count, 1, 1)), (count, 17, 2))
        people = [
            dict(keypoints=np.append(p, np.ones((17, 1)), 1).astype(dtype), area=dtype(8000), score=dtype(s))
            for p, s in zip(points, rng.uniform(size=count))
        ]
        kept = oks_nms(people, 0.9, sigmas)
        assert list(kept) == list(mmpose_oks_nms(people, 0.9, sigmas=sigmas))
    assert 4 <= len(kept) < 30


@needs_hotcoco
@pytest.mark.parametrize('fault', ('other numbers', 'other interface'))
def test_a_back_end_that_disagrees_is_refused(fault, monkeypatch, tmp_path):
    def faulty(*case):
        if fault == 'other interface':
            raise AttributeError('no COCOeval')
        return np.array(evaluate_fast(*case)) + 1e-6

    told = []
    monkeypatch.setattr(fast_coco_check, 'evaluate_fast', faulty)
    monkeypatch.setattr(fast_coco_check, 'print_log', lambda text, **_: told.append(text))
    is_fast, values = measure(FastCocoMetric, tmp_path)
    assert not is_fast and len(told) == 1 and 'hotcoco is not used' in told[0]
    assert values == measure(FastCocoMetric, tmp_path, fast=False)[1]


def test_without_hotcoco_xtcocotools_does_it(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert not measure(FastCocoMetric, tmp_path)[0]
