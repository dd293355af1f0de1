import json

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS

from mmpose_tskd.evaluation import EdgeLengthError, HiddenJointCocoMetric


@pytest.fixture
def meta():
    init_default_scope('mmpose')
    return parse_pose_metainfo(DATASETS.get('CocoDataset').METAINFO)


def write_labels(path, keypoints):
    """One instance an image, N×17×3."""
    images = [dict(id=i, width=200, height=200, file_name=f'{i}.png', crowdIndex=0.5) for i in range(len(keypoints))]
    annotations = [
        dict(
            id=i + 1,
            image_id=i,
            category_id=1,
            iscrowd=0,
            bbox=[0, 0, 150, 150],
            area=10000.0,
            num_keypoints=int((k[:, 2] > 0).sum()),
            keypoints=k.flatten().tolist(),
        )
        for i, k in enumerate(keypoints)
    ]
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=[dict(id=1, name='person')])))
    return path


def samples(keypoints, truth):
    """Data samples as the evaluator gets them."""
    return [
        dict(
            id=i + 1,
            img_id=i,
            category_id=1,
            pred_instances=dict(
                keypoints=p[None, :, :2], keypoint_scores=np.ones((1, len(p))), bboxes=np.array([[0, 0, 150, 150.0]])
            ),
            gt_instances=dict(
                keypoints=t[None, :, :2],
                keypoints_visible=(t[None, :, 2] > 0).astype(float),
                bboxes=np.array([[0, 0, 150, 150.0]]),
                bbox_scores=np.ones(1),
            ),
        )
        for i, (p, t) in enumerate(zip(keypoints, truth))
    ]


@pytest.fixture
def truth():
    rng = np.random.default_rng(0)
    keypoints = np.concatenate([rng.uniform(20, 130, (6, 17, 2)), np.full((6, 17, 1), 2.0)], axis=-1)
    keypoints[:3, 9:11, 2] = 1  # the wrists of three instances are hidden
    keypoints[:, 0] = 0
    return keypoints


def evaluate(metric, meta, predictions, truth):
    metric.dataset_meta = meta
    metric.process({}, samples(predictions, truth))
    return metric.evaluate(len(truth))


def hidden_metric(path, **options):
    return HiddenJointCocoMetric(str(path), keypoint_score_thr=0.01, **options)


def test_hidden_ap_goes_by_the_crowds_rules_where_it_is_told_to(tmp_path, meta, truth):
    path = write_labels(tmp_path / 'labels.json', truth)
    metric = hidden_metric(path, iou_type='keypoints_crowd', use_area=False)
    result = evaluate(metric, meta, truth, truth)
    assert result['coco_hidden/AP'] == pytest.approx(1) and result['coco_hidden/AP(M)'] == pytest.approx(1)


def test_hidden_ap_looks_at_hidden_joints_alone(tmp_path, meta, truth):
    path = write_labels(tmp_path / 'labels.json', truth)
    seen_wrong, hidden_wrong = truth.copy(), truth.copy()
    seen_wrong[:, 11:, :2] += 60
    hidden_wrong[:, 9:11, :2] += 60
    assert evaluate(hidden_metric(path), meta, truth, truth)['coco_hidden/AP'] == pytest.approx(1)
    assert evaluate(hidden_metric(path), meta, seen_wrong, truth)['coco_hidden/AP'] == pytest.approx(1)
    assert evaluate(hidden_metric(path), meta, hidden_wrong, truth)['coco_hidden/AP'] == pytest.approx(0)


def test_one_hidden_joint_right_and_one_far_off_is_an_oks_of_one_half(tmp_path, meta, truth):
    path = write_labels(tmp_path / 'labels.json', truth)
    half = truth.copy()
    half[:, 9, :2] += 1000
    result = evaluate(hidden_metric(path), meta, half, truth)
    # OKS 0.5 passes the first of the ten thresholds 0.50, 0.55 ... 0.95
    assert result['coco_hidden/AP'] == pytest.approx(0.1) and result['coco_hidden/AP .5'] == pytest.approx(1)


def test_no_hidden_joint_gives_no_number(tmp_path, meta, truth):
    truth[..., 2] = np.minimum(truth[..., 2] * 2, 2)
    path = write_labels(tmp_path / 'labels.json', truth)
    assert evaluate(hidden_metric(path), meta, truth, truth) == {}


def test_edge_error_by_hand(meta, truth):
    assert evaluate(EdgeLengthError(), meta, truth, truth) == {'pose/edge_error': 0}
    moved = truth.copy()
    moved[..., :2] += 7  # all limbs keep their lengths
    assert evaluate(EdgeLengthError(), meta, moved, truth)['pose/edge_error'] == pytest.approx(0, abs=1e-9)
    truth[:, :, 2] = 0
    truth[:, [15, 13], 2] = 2  # the left shin alone is labeled
    truth[:, 13, :2], truth[:, 15, :2] = (50, 50), (50, 80)
    longer = truth.copy()
    longer[:, 15, 1] += 15  # 45 pixels instead of 30, in a box of 150
    longer[:, 0, 1] += 99
    assert evaluate(EdgeLengthError(), meta, longer, truth)['pose/edge_error'] == pytest.approx(10)


def test_edge_error_of_detected_boxes_is_no_number(meta, truth):
    """MMPose gives them keypoints that are all at 0 and all visible."""
    dummies = np.zeros_like(truth)
    dummies[..., 2] = 1
    assert evaluate(EdgeLengthError(), meta, truth, dummies) == {}


def test_edge_error_reads_visibility_beside_a_weight(meta, truth):
    """As KeypointConverter leaves it: N×K×2."""
    moved = truth.copy()
    moved[:, 15, 1] += 15
    expected = evaluate(EdgeLengthError(), meta, moved, truth)
    metric = EdgeLengthError()
    metric.dataset_meta = meta
    doubled = samples(moved, truth)
    for sample in doubled:
        visible = sample['gt_instances']['keypoints_visible']
        sample['gt_instances']['keypoints_visible'] = np.stack([visible, np.zeros_like(visible)], axis=-1)
    metric.process({}, doubled)
    assert metric.evaluate(len(truth)) == expected and expected['pose/edge_error'] > 0


def test_edge_error_without_a_labeled_limb_is_no_number(meta, truth):
    truth[..., 2] = 0
    assert evaluate(EdgeLengthError(), meta, truth, truth) == {}
