import json
import os
from unittest import mock

import pytest
from conftest import write_toy_data, write_toy_mpii
from mmengine.config import ConfigDict
from mmpose.registry import DATASETS

from mmpose_tskd.datasets import label_checks
from mmpose_tskd.datasets.label_checks import check_labels
from mmpose_tskd.errors import UserError


def coco(folder, **options):
    return dict(type='CocoDataset', ann_file=str(folder / 'labels.json'), data_prefix=dict(img='images/'), **options)


def combined(folder):
    part = coco(folder)
    metainfo = dict(from_file='configs/_base_/datasets/coco.py')
    return dict(type='CombinedDataset', metainfo=metainfo, datasets=[part, part])


def repeated(folder):
    return dict(type='RepeatDataset', dataset=coco(folder), times=2)


KINDS = {
    'top-down': (write_toy_data, coco),
    'bottom-up': (write_toy_data, lambda folder: coco(folder, data_mode='bottomup')),
    'combined': (write_toy_data, combined),
    'repeated': (write_toy_data, repeated),
    'MPII': (write_toy_mpii, lambda folder: {**coco(folder), 'type': 'MpiiDataset'}),
}


@pytest.mark.parametrize('kind', KINDS)
def test_labels_are_found_in_every_kind_of_data_set(kind, tmp_path):
    write, config = KINDS[kind]
    write(tmp_path / 'data')
    check_labels(ConfigDict(config(tmp_path / 'data')))
    path = tmp_path / 'data' / 'labels.json'
    content = json.loads(path.read_text())
    if kind == 'MPII':
        content[3]['joints'][5] = [float('nan'), 1]
    else:
        content['annotations'][3]['keypoints'][15] = float('nan')
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf'{path}: 1 annotations with a coordinate that is no number \(id [34]\)'):
        check_labels(ConfigDict(config(tmp_path / 'data')))


def test_the_labels_behind_a_detectors_boxes_may_lack_people(tmp_path):
    folder = write_toy_data(tmp_path / 'data')
    (folder / 'boxes.json').write_text(json.dumps([dict(image_id=1, category_id=1, bbox=[1, 1, 5, 5], score=0.5)]))
    content = json.loads((folder / 'labels.json').read_text())
    del content['annotations']
    (folder / 'labels.json').write_text(json.dumps(content))
    dataset = ConfigDict(coco(folder, test_mode=True, bbox_file=str(folder / 'boxes.json')))
    assert check_labels(dataset)[0] == f'{folder}/labels.json: 0 instances with keypoints'
    assert len(DATASETS.build(dataset)) == 1
    del dataset.bbox_file
    with pytest.raises(UserError, match='cannot read the labels in .*lists of annotations'):
        check_labels(dataset)


WHOLE = dict(keypoints=17, foot_kpts=6, face_kpts=68, lefthand_kpts=21, righthand_kpts=21)


def whole_body(person):
    for name, count in WHOLE.items():
        person[name] = [40, 40, 2] * count
    person['segmentation'] = []


def face(person):
    person.update(center=[48, 64], scale=0.5, keypoints=[40, 40, 2] * 98)


def hands(person):
    for side in ('left', 'right'):
        person.update({f'{side}hand_valid': True, f'{side}hand_kpts': [40, 40, 2] * 21})
        person.update({f'{side}hand_box': [20, 20, 40, 40], 'segmentation': []})


def art(person):
    person['keypoints_21'] = [40, 40, 2] * 21


NAN = float('nan')
# Data sets that read labels in their own way: what an instance has in them, faults in one, and what is said.
PARSED = {
    'CocoWholeBodyDataset': (
        whole_body,
        {
            'a keypoint that is NaN': (lambda p: p['face_kpts'].__setitem__(3, NAN), 'a coordinate that is no number'),
            'a hand that is missing': (lambda p: p.pop('lefthand_kpts'), "in the annotation 3 .KeyError: 'lefthand_kp"),
            'a keypoint too few': (lambda p: p.update(foot_kpts=[1, 1, 2] * 5), 'not 133 keypoints'),
            'keypoints that are text': (lambda p: p.update(foot_kpts='x' * 18), 'in the annotation 3'),
            'a box with NaN': (lambda p: p.update(bbox=[1, NAN, 5, 5]), 'a box that is not four numbers'),
            'a box of three numbers': (lambda p: p.update(bbox=[1, 5, 5]), 'in the annotation 3'),
            'a keypoint far away': (lambda p: p['face_kpts'].__setitem__(3, 30000), 'a keypoint far from its box'),
            'iscrowd as text': (lambda p: p.update(iscrowd='0'), 'an iscrowd that is neither 0 nor 1'),
            'an id used twice': (lambda p: p.update(id=1), 'an id used twice'),
        },
    ),
    'WFLWDataset': (
        face,
        {
            'a scale that is NaN': (lambda p: p.update(scale=NAN), 'a box that is not four numbers'),
            'no center': (lambda p: p.pop('center'), "in the annotation 3 .KeyError: 'center'"),
            'a visibility of -1': (lambda p: p['keypoints'].__setitem__(2, -1), 'a visibility that is not 0, 1 or 2'),
        },
    ),
    'JhmdbDataset': (
        lambda person: person.update(keypoints=[40, 40, 2] * 15),
        {'infinite': (lambda p: p['keypoints'].__setitem__(0, -float('inf')), 'a coordinate that is no number')},
    ),
    'HumanArt21Dataset': (
        art,
        {'no 21 keypoints': (lambda p: p.pop('keypoints_21'), "in the annotation 3 .KeyError: 'keypoints_21'")},
    ),
    'CocoWholeBodyHandDataset': (
        hands,
        {'a NaN': (lambda p: p['lefthand_kpts'].__setitem__(3, NAN), 'a coordinate that is no number')},
    ),
}


@pytest.mark.parametrize('kind', PARSED)
def test_labels_that_a_data_set_reads_in_its_own_way(kind, tmp_path):
    add, faults = PARSED[kind]
    folder = write_toy_data(tmp_path / 'data')
    path = folder / 'labels.json'
    content = json.loads(path.read_text())
    for person in content['annotations']:
        add(person)
    path.write_text(json.dumps(content))
    dataset = ConfigDict(coco(folder), type=kind)
    people = 12 if kind == 'CocoWholeBodyHandDataset' else 6
    assert check_labels(dataset) == [f'{path}: {people} instances with keypoints']
    assert len(DATASETS.build(dataset)) == people
    for number, (change, message) in enumerate(faults.values()):
        spoilt = json.loads(json.dumps(content))
        change(spoilt['annotations'][2])
        path.write_text(json.dumps(spoilt))
        os.utime(path, (number, number))
        with pytest.raises(UserError, match=message) as caught:
            check_labels(dataset)
        assert str(path) in str(caught.value)


def boxes(**changes):
    return [dict(dict(image_id=1, category_id=1, bbox=[1, 1, 5, 5], score=0.5), **changes)]


@pytest.mark.parametrize(
    'content, message',
    [
        (boxes(image_id=77), r'1 detections with an image_id that the labels do not list, as of another set .id 0.'),
        (boxes(image_id=[1]), 'an image_id that'),
        (boxes(bbox=[1, 2, NAN, 4]), 'a box that is not four numbers'),
        (boxes(bbox=None), 'a box that is not four numbers'),
        (boxes(score='0.5'), 'a score that is no number'),
        (boxes(category_id=[]), 'a category_id that is no number'),
        ([5], 'is no list of detections with image_id'),
        ({}, 'is no list of detections with image_id'),
    ],
)
def test_a_detectors_boxes(content, message, tmp_path):
    folder = write_toy_data(tmp_path / 'data')
    (folder / 'boxes.json').write_text(json.dumps(content))
    dataset = ConfigDict(coco(folder, test_mode=True, bbox_file=str(folder / 'boxes.json')))
    with pytest.raises(UserError, match=f'{folder}/boxes.json.*{message}'):
        check_labels(dataset)


def test_a_detectors_boxes_of_more_than_four_numbers(tmp_path):
    folder = write_toy_data(tmp_path / 'data')
    (folder / 'boxes.json').write_text(json.dumps(boxes(bbox=[1, 1, 5, 5, 0.5])))
    dataset = ConfigDict(coco(folder, test_mode=True, bbox_file=str(folder / 'boxes.json')))
    assert check_labels(dataset)[1] == f'{folder}/boxes.json: 1 boxes in the images of {folder}/labels.json'
    assert len(DATASETS.build(dataset)) == 1


@pytest.mark.parametrize('text', ['[' * 100000 + ']' * 100000, '{"a":' * 100000 + '1' + '}' * 100000])
def test_json_that_is_nested_too_deeply(text, tmp_path):
    (tmp_path / 'deep.json').write_text(text)
    with pytest.raises(UserError, match='deep.json is damaged, or no JSON'):
        label_checks.read_json(str(tmp_path / 'deep.json'))


def test_a_file_is_read_again_when_it_has_changed(tmp_path, monkeypatch):
    folder = write_toy_data(tmp_path / 'data')
    dataset = ConfigDict(coco(folder))
    read = mock.Mock(side_effect=label_checks.get_text)
    monkeypatch.setattr(label_checks, 'get_text', read)
    for calls in (1, 1):
        assert check_labels(dataset) == [f'{folder}/labels.json: 6 instances with keypoints']
        assert read.call_count == calls
    content = json.loads((folder / 'labels.json').read_text())
    content['annotations'][0]['iscrowd'] = 1
    (folder / 'labels.json').write_text(json.dumps(content))
    os.utime(folder / 'labels.json', (1, 1))
    said = f'{folder}/labels.json: 5 instances with keypoints; left out: 1 with iscrowd (id 1)'
    assert check_labels(dataset) == [said]
