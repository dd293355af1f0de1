"""AP as CrowdPose and COCO define it, computed a second time here from the definition."""

import json
import logging
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS

from mmpose_tskd.errors import UserError
from mmpose_tskd.evaluation import CocoTestDevSubmission, CrowdPoseMetric

OFFICIAL = Path(os.environ.get('TSKD_DATA', '$TSKD_DATA')) / 'crowdpose_annotations' / 'crowdpose_val.json'


def metainfo(dataset='CrowdPoseDataset'):
    init_default_scope('mmpose')
    return parse_pose_metainfo(DATASETS.get(dataset).METAINFO)


def predictions(labels, rng, spread=0.05):
    """The truth, moved by a random share of the box, more for one instance than for another."""
    samples = []
    for annotation in labels['annotations']:
        truth = np.array(annotation['keypoints'], dtype=float).reshape(-1, 3)
        noise = rng.exponential(spread) * np.sqrt(annotation['bbox'][2] * annotation['bbox'][3])
        scores = rng.uniform(0.05, 1, len(truth))
        samples.append(
            dict(
                id=annotation['id'],
                img_id=annotation['image_id'],
                category_id=1,
                keypoints=truth[:, :2] + rng.normal(0, noise, (len(truth), 2)),
                scores=scores,
                box_score=float(rng.uniform(0.1, 1)),
            )
        )
    return samples


def run_metric(metric, samples, meta):
    metric.dataset_meta = meta
    batch = [
        dict(
            id=s['id'],
            img_id=s['img_id'],
            category_id=1,
            pred_instances=dict(keypoints=s['keypoints'][None], keypoint_scores=s['scores'][None]),
            gt_instances=dict(bbox_scores=np.array([s['box_score']])),
        )
        for s in samples
    ]
    metric.process({}, batch)
    return metric.evaluate(len(batch))


def similarity(points, person, sigmas):
    """OKS with area 0.53 times the box; an instance without labels is met anywhere in a box of three times the size."""
    keypoints = np.array(person['keypoints'], dtype=float).reshape(-1, 3)
    labeled = keypoints[:, 2] > 0
    x, y, w, h = person['bbox']
    if labeled.any():
        offset = points - keypoints[:, :2]
    else:
        low, high = np.array([x - w, y - h]), np.array([x + 2 * w, y + 2 * h])
        offset, labeled = np.maximum(0, low - points) + np.maximum(0, points - high), ~labeled
    return np.exp(-(offset**2).sum(-1) / (2 * sigmas) ** 2 / (0.53 * w * h) / 2)[labeled].mean()


def average_precision(labels, samples, sigmas, image_ids):
    """AP and AR over OKS .50:.05:.95, and AR at .50, for the images given: greedy matching by score within an image,
    precision made monotonous and read at 101 recalls. Crowds and instances without a seen keypoint do not count."""
    truth, detected = {}, {}
    for annotation in labels['annotations']:
        truth.setdefault(annotation['image_id'], []).append(annotation)
    for s in samples:
        score = s['box_score'] * s['scores'][s['scores'] > 0.01].mean()
        detected.setdefault(s['img_id'], []).append((score, s['keypoints']))
    thresholds = np.linspace(0.5, 0.95, 10)
    outcomes, scores, total = [], [], 0
    for image in image_ids:
        people = truth.get(image, [])
        ignored = np.array([p['num_keypoints'] == 0 or p['iscrowd'] == 1 for p in people], dtype=bool)
        crowd = np.array([p['iscrowd'] == 1 for p in people], dtype=bool)
        total += int((~ignored).sum())
        found = sorted(detected.get(image, []), key=lambda d: -d[0])[:20]
        oks = np.array([[similarity(points, p, sigmas) for p in people] for _, points in found])
        outcome = np.zeros((len(found), len(thresholds)))  # 1 hit, 0 miss, -1 does not count
        for t, threshold in enumerate(thresholds):
            free = np.ones(len(people), bool)
            for i in range(len(found) if people else 0):
                for group, value in ((~ignored, 1), (ignored, -1)):
                    best = np.where(group & (free | crowd), oks[i], -1)
                    if best.max() >= threshold:
                        free[best.argmax()] = False
                        outcome[i, t] = value
                        break
        outcomes.append(outcome)
        scores += [score for score, _ in found]
    outcomes = np.concatenate(outcomes)[np.argsort(-np.array(scores), kind='mergesort')]
    precisions, recalls = [], []
    for column in outcomes.T:
        hits = column[column >= 0]
        recall = np.cumsum(hits) / total
        precision = np.maximum.accumulate((np.cumsum(hits) / np.arange(1, len(hits) + 1))[::-1])[::-1]
        at = np.searchsorted(recall, np.linspace(0, 1, 101), side='left')
        precisions.append(np.where(at < len(hits), precision[np.minimum(at, len(hits) - 1)], 0).mean())
        recalls.append(recall[-1])
    return np.mean(precisions), np.mean(recalls), recalls[0]


def compare(path, samples):
    labels, meta = json.loads(path.read_text()), metainfo()
    metric = CrowdPoseMetric(str(path), keypoint_score_thr=0.01, nms_mode='none')
    result = run_metric(metric, samples, meta)
    sigmas = np.array(meta['sigmas'])
    ids = {image['id']: image['crowdIndex'] for image in labels['images']}
    ap, ar, ar50 = average_precision(labels, samples, sigmas, list(ids))
    assert 0.1 < ap < 0.95  # neither all right nor all wrong
    assert result['crowdpose/AP'] == pytest.approx(ap, abs=1e-4)
    assert result['crowdpose/AR'] == pytest.approx(ar, abs=1e-4)
    assert result['crowdpose/AR .5'] == pytest.approx(ar50, abs=1e-4)
    subsets = dict(E=lambda c: c < 0.2, M=lambda c: 0.2 <= c < 0.8, H=lambda c: c >= 0.8)
    for name, inside in subsets.items():
        chosen = [i for i, index in ids.items() if inside(index)]
        expected, _, _ = average_precision(labels, samples, sigmas, chosen)
        assert result[f'crowdpose/AP({name})'] == pytest.approx(expected, abs=1e-4)


def small_labels(tmp_path, crowd_indices):
    rng = np.random.default_rng(1)
    images = [dict(id=i, file_name=f'{i}.jpg', width=300, height=300, **c) for i, c in enumerate(crowd_indices)]
    annotations = []
    for image in images:
        for _ in range(rng.integers(1, 4)):
            corner, size = rng.uniform(0, 150, 2), rng.uniform(50, 150, 2)
            keypoints = np.concatenate(
                [corner + rng.uniform(0, 1, (14, 2)) * size, rng.integers(0, 3, (14, 1))], axis=1
            )
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image['id'],
                    category_id=1,
                    iscrowd=0,
                    bbox=[*corner, *size],
                    num_keypoints=int((keypoints[:, 2] == 2).sum()),
                    keypoints=keypoints.flatten().tolist(),
                )
            )
    path = tmp_path / 'labels.json'
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name='person')])
    path.write_text(json.dumps(content))
    return path


def test_ap_by_hand_on_a_small_set(tmp_path):
    path = small_labels(tmp_path, [dict(crowdIndex=c) for c in np.linspace(0, 1, 24)])
    compare(path, predictions(json.loads(path.read_text()), np.random.default_rng(0)))


@pytest.mark.skipif(not OFFICIAL.is_file(), reason=f"needs CrowdPose's validation labels at {OFFICIAL}")
def test_ap_on_the_official_validation_labels():
    compare(OFFICIAL, predictions(json.loads(OFFICIAL.read_text()), np.random.default_rng(0)))


def test_an_empty_subset_is_left_out_and_said(tmp_path):
    path = small_labels(tmp_path, [dict(crowdIndex=0.1)] * 6)
    metric = CrowdPoseMetric(str(path), keypoint_score_thr=0.01)
    said, handler = [], logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    MMLogger.get_current_instance().addHandler(handler)
    result = run_metric(metric, predictions(json.loads(path.read_text()), np.random.default_rng(0)), metainfo())
    MMLogger.get_current_instance().removeHandler(handler)
    assert any('n/a, without ground truth: AP(M), AP(H)' in text for text in said)
    assert 'crowdpose/AP(E)' in result
    assert 'crowdpose/AP(M)' not in result and 'crowdpose/AP(H)' not in result
    assert min(result.values()) >= 0


def test_labels_without_a_crowd_index_are_refused(tmp_path):
    path = small_labels(tmp_path, [dict(crowdIndex=0.1), {}])
    with pytest.raises(UserError, match='1 images have no crowdIndex, such as 1.jpg'):
        CrowdPoseMetric(str(path))


def test_the_submission_is_what_the_server_takes(tmp_path):
    """No labels, as in test-dev's file; one JSON in a ZIP, 51 numbers an instance and no further fields."""
    info = tmp_path / 'image_info_test-dev2017.json'
    info.write_text(json.dumps(dict(images=[dict(id=7, file_name='7.jpg')], categories=[dict(id=1, name='person')])))
    metric = CocoTestDevSubmission(str(info), name='net', out_dir=str(tmp_path / 'out'), keypoint_score_thr=0.01)
    rng = np.random.default_rng(0)
    people = [
        dict(id=i, img_id=7, keypoints=rng.uniform(0, 99, (17, 2)) + 100 * i, scores=np.full(17, 0.5), box_score=0.8)
        for i in range(3)
    ]
    assert run_metric(metric, people, metainfo('CocoDataset')) == {}
    with zipfile.ZipFile(tmp_path / 'out' / 'person_keypoints_test-dev2017_net_results.zip') as archive:
        assert archive.namelist() == ['person_keypoints_test-dev2017_net_results.json']
        written = json.loads(archive.read(archive.namelist()[0]))
    assert len(written) == 3
    for person in written:
        assert set(person) == {'image_id', 'category_id', 'keypoints', 'score'}
        assert person['image_id'] == 7 and len(person['keypoints']) == 51 and person['score'] == pytest.approx(0.4)
