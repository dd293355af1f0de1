"""What the doctor says of a record."""

import json
import sys
from runpy import run_path

import numpy as np
import pytest
from conftest import REPO

from mmpose_tskd.apis.record_report import examine_record
from mmpose_tskd.errors import UserError
from mmpose_tskd.poses import load_skeleton

NAMES = list(load_skeleton('CocoDataset').names)


@pytest.fixture
def record(toy_data, tmp_path):
    """The labels as a record, of which every second keypoint is sure; ``moved`` pixels to the right where it is not."""

    def make(moved=0.0):
        content = json.loads((toy_data / 'labels.json').read_text())
        for annotation in content['annotations']:
            joints = np.array(annotation['keypoints'], float).reshape(-1, 3)
            joints[1::2, 0] += moved
            annotation.update(keypoints=joints.ravel().tolist(), keypoint_scores=[0.95, 0.25] * 8 + [0.95])
        content['categories'] = [dict(id=1, name='person', keypoints=NAMES)]
        (tmp_path / 'record.json').write_text(json.dumps(content))
        return str(tmp_path / 'record.json')

    return make


def test_joints_are_counted_by_confidence(record):
    assert examine_record(record()) == dict(instances=6, joints=[0, 0, 48, 0, 0, 0, 0, 0, 0, 54])


def test_a_perfect_record_has_all_of_the_ap_and_a_modest_one_is_badly_calibrated(record, toy_data):
    found = examine_record(record(), str(toy_data / 'labels.json'))
    assert found['ap'] == pytest.approx(1) and found['right'][2] == found['right'][9] == 1
    assert found['compared'][2] == 48 and found['compared'][9] == 48  # the nose has no label
    assert found['calibration_error'] == pytest.approx((0.05 + 0.75) / 2, abs=1e-6)


def test_what_is_wrong_is_found_where_the_confidence_is_low(record, toy_data):
    found = examine_record(record(moved=60), str(toy_data / 'labels.json'))
    assert found['right'][2] == 0 and found['right'][9] == 1 and found['ap'] < 0.5
    assert found['calibration_error'] == pytest.approx((0.05 + 0.25) / 2, abs=1e-6)


def test_labels_without_areas_are_compared_by_their_boxes(record, toy_data, tmp_path):
    content = json.loads((toy_data / 'labels.json').read_text())
    for annotation in content['annotations']:
        del annotation['area'], annotation['iscrowd']
    content['annotations'].append(dict(content['annotations'][0], id=99))
    del content['annotations'][-1]['keypoints']  # not compared
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    found = examine_record(record(), str(tmp_path / 'labels.json'))
    assert not found['by_area'] and found['ap'] == pytest.approx(1)


def test_labels_of_others_are_refused(record, toy_data, tmp_path):
    content = json.loads((toy_data / 'labels.json').read_text())
    for annotation in content['annotations']:
        annotation['id'] += 100
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    with pytest.raises(UserError, match='has no annotation of .* that has keypoints'):
        examine_record(record(), str(tmp_path / 'labels.json'))


@pytest.mark.parametrize('content', ['{', None], ids=['damaged', 'missing'])
def test_labels_that_cannot_be_read_are_named(record, tmp_path, content):
    if content is not None:
        (tmp_path / 'labels.json').write_text(content)
    with pytest.raises(UserError, match='labels.json'):
        examine_record(record(), str(tmp_path / 'labels.json'))


def test_labels_of_other_keypoints_are_refused(record, toy_data):
    with pytest.raises(
        UserError, match='has instances with 17 keypoints, but crowdpose has 14: name the .* --metainfo'
    ):
        examine_record(record(), str(toy_data / 'labels.json'), 'CrowdPoseDataset')


def test_the_doctor_shows_it(record, toy_data, monkeypatch, capsys):
    command = f'doctor.py --record {record()} --labels {toy_data}/labels.json'
    monkeypatch.setattr(sys, 'argv', command.split())
    run_path(str(REPO / 'tools/doctor.py'), run_name='__main__')
    assert "AP 100.0, by the labels' areas; calibration error 0.400" in capsys.readouterr().out
