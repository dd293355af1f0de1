import json

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import DATASETS

from mmpose_tskd.errors import UserError
from mmpose_tskd.evaluation import HiddenJointCocoMetric, PersonRecordMetric
from mmpose_tskd.evaluation.resampled import Matches, average_precision

OPTIONS = dict(use_area=False, keypoint_score_thr=0.01)


@pytest.fixture
def meta():
    init_default_scope('mmpose')
    return parse_pose_metainfo(DATASETS.get('CocoDataset').METAINFO)


def crowd(num_images, seed=0, copies=None):
    """Labels of one to four instances an image, hidden keypoints among them, and predictions more and less far off.

    ``copies`` has how often each image comes; its copies are images of their own.
    """
    rng = np.random.default_rng(seed)
    images, annotations, samples = [], [], []
    for i in range(num_images):
        people = []
        for _ in range(rng.integers(1, 5)):
            joints = np.concatenate(
                [rng.uniform(20, 130, (17, 2)), rng.choice([0, 1, 2], (17, 1), p=[0.1, 0.3, 0.6])], 1
            )
            wrong = joints[:, :2] + rng.normal(0, rng.choice([1, 4, 12, 40]), (17, 2))
            people.append((joints, wrong, rng.uniform(0.1, 1, 17)))
        for _ in range(1 if copies is None else copies[i]):
            images.append(dict(id=len(images) + 1, width=200, height=200, file_name=f'{i}.png', crowdIndex=0.0))
            for joints, wrong, scores in people:
                person = dict(id=len(annotations) + 1, image_id=len(images), category_id=1, iscrowd=0, area=9000.0)
                person.update(bbox=[10, 10, 130, 130], keypoints=joints.flatten().tolist(), num_keypoints=17)
                annotations.append(person)
                predicted = dict(keypoints=wrong[None], keypoint_scores=scores[None])
                samples.append(
                    dict(
                        id=person['id'],
                        img_id=person['image_id'],
                        category_id=1,
                        pred_instances=predicted,
                        gt_instances=dict(bbox_scores=np.ones(1)),
                    )  # fmt: skip
                )
    return dict(images=images, annotations=annotations, categories=[dict(id=1, name='person')]), samples


def evaluate(metric, meta, samples):
    metric.dataset_meta = meta
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def record(folder, meta, labels, samples):
    (folder / 'labels.json').write_text(json.dumps(labels))
    metric = PersonRecordMetric(str(folder / 'labels.json'), folder / 'record.json', **OPTIONS)
    metrics = evaluate(metric, meta, samples)
    written = json.loads((folder / 'record.json').read_text())
    assert metrics == {f'coco/{name}': value for name, value in written['metrics'].items() if value is not None}
    return written


def test_it_says_what_the_coco_evaluation_says(tmp_path, meta):
    labels, samples = crowd(40)
    ours = record(tmp_path, meta, labels, samples)['metrics']
    for kind, suffix in ((CocoMetric, ''), (HiddenJointCocoMetric, '_hidden')):
        theirs = evaluate(kind(str(tmp_path / 'labels.json'), prefix='coco', **OPTIONS), meta, samples)
        for name, key in (('AP', 'AP'), ('AP50', 'AP .5'), ('AP75', 'AP .75'), ('AR', 'AR')):
            assert ours[f'{name}{suffix}'] == pytest.approx(100 * theirs[f'coco/{key}'], abs=1e-3)
    assert 5 < ours['AP'] < 95 and ours['AP_seen'] != ours['AP'] != ours['AP_hidden']


def test_resampled_images_give_what_an_evaluation_of_them_gives(tmp_path, meta):
    """Images drawn several times or never, against a set in which they stand as often."""
    labels, samples = crowd(30)
    written = record(tmp_path, meta, labels, samples)
    counts = np.random.default_rng(1).multinomial(30, np.full(30, 1 / 30), size=3)
    for joints in ('', '_seen', '_hidden'):
        matches = Matches.unpacked(written['matches'][joints])
        assert matches.packed() == written['matches'][joints]
        precision, recall = average_precision(matches, counts)
        for drawn, ap, ar in zip(counts, precision, recall):
            again = record(tmp_path, meta, *crowd(30, copies=drawn))['metrics']
            assert 100 * ap.mean() == pytest.approx(again[f'AP{joints}'], abs=2e-3)
            assert 100 * ar.mean() == pytest.approx(again[f'AR{joints}'], abs=2e-3)


def test_pck_by_hand(tmp_path, meta):
    labels, samples = crowd(1)
    labels['annotations'], samples = labels['annotations'][:1], samples[:1]
    joints = np.zeros((17, 3))
    joints[:4], joints[4:10] = (50, 50, 2), (90, 90, 1)  # four seen, six hidden
    labels['annotations'][0]['keypoints'] = joints.flatten().tolist()
    wrong = joints[:, :2].copy()
    wrong[0] += (13.1, 0)  # the box is 130 wide
    wrong[1] += (12.9, 0)
    wrong[4:7] += (0, 26)
    samples[0]['pred_instances']['keypoints'] = wrong[None]
    written = record(tmp_path, meta, labels, samples)
    assert written['correct'] == [[3, 4, 3, 6]]
    metrics = written['metrics']
    assert [metrics[name] for name in ('PCK', 'PCK_seen', 'PCK_hidden')] == [60.0, 75.0, 50.0]
    assert written['joints']['nose'] == dict(PCK=0.0, error=pytest.approx(100 * 13.1 / 130, abs=1e-3))
    assert written['joints']['left_ankle'] == dict(PCK=None, error=None)
    people = {group['up_to']: group['people'] for group in written['hidden_shares']}
    assert people == {0.0: 0, 0.2: 0, 0.4: 0, 0.6: 1, 1.0: 0}  # six of ten are hidden


def test_ap_by_hidden_share_looks_at_those_people_alone(tmp_path, meta):
    labels, samples = crowd(30)
    share = {}
    for person in labels['annotations']:
        v = np.array(person['keypoints'])[2::3]
        share[person['id']] = (v == 1).sum() / (v > 0).sum()
    for (
        sample
    ) in samples:  # those with many hidden keypoints are found exactly, for the others all keypoints lie in one place
        truth = np.array(labels['annotations'][sample['id'] - 1]['keypoints']).reshape(17, 3)[:, :2]
        sample['pred_instances']['keypoints'] = (truth if share[sample['id']] > 0.4 else 0 * truth + 75)[None]
    groups = record(tmp_path, meta, labels, samples)['hidden_shares']
    assert sum(group['people'] for group in groups) == len(share)
    for group, low in zip(groups, (-1, 0, 0.2, 0.4, 0.6)):
        assert group['people'] == sum(low < value <= group['up_to'] for value in share.values())
        if group['people']:
            assert group['AP'] == pytest.approx(100 if group['up_to'] > 0.4 else 0, abs=1e-3)


def test_without_hidden_joints_there_is_no_number_of_them(tmp_path, meta):
    labels, samples = crowd(3)
    for person in labels['annotations']:
        joints = np.array(person['keypoints']).reshape(17, 3)
        joints[:, 2] = np.minimum(2 * joints[:, 2], 2)
        person['keypoints'] = joints.flatten().tolist()
    written = record(tmp_path, meta, labels, samples)
    assert written['metrics']['AP_hidden'] is None and written['metrics']['PCK_hidden'] is None
    assert list(written['matches']) == ['']


def test_boxes_of_a_detector_are_refused(tmp_path, meta):
    labels, samples = crowd(3)
    (tmp_path / 'labels.json').write_text(json.dumps(labels))
    for number, message in ((len(samples) + 7, 'number .* has none'), (samples[0]['id'], 'bbox_file=None')):
        samples[-1]['id'] = number  # unknown; of somebody in another image
        metric = PersonRecordMetric(str(tmp_path / 'labels.json'), tmp_path / 'out.json', **OPTIONS)
        with pytest.raises(UserError, match=message):
            evaluate(metric, meta, samples)
