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
    assert check_labels(dataset) == [f'{folder}/labels.json: 0 people with key points']
    assert len(DATASETS.build(dataset)) == 1
    del dataset.bbox_file
    with pytest.raises(UserError, match='cannot read the labels in .*lists of annotations'):
        check_labels(dataset)


def test_labels_that_a_data_set_reads_in_its_own_way_are_left_to_it(tmp_path):
    folder = write_toy_data(tmp_path / 'data', num_keypoints=5)
    assert check_labels(ConfigDict(coco(folder), type='CocoWholeBodyDataset')) == []
    with pytest.raises(UserError, match='6 annotations with not 17 key points'):
        check_labels(ConfigDict(coco(folder)))


def test_a_file_is_read_again_when_it_has_changed(tmp_path, monkeypatch):
    folder = write_toy_data(tmp_path / 'data')
    dataset = ConfigDict(coco(folder))
    read = mock.Mock(side_effect=label_checks.get_text)
    monkeypatch.setattr(label_checks, 'get_text', read)
    for calls in (1, 1):
        assert check_labels(dataset) == [f'{folder}/labels.json: 6 people with key points']
        assert read.call_count == calls
    content = json.loads((folder / 'labels.json').read_text())
    content['annotations'][0]['iscrowd'] = 1
    (folder / 'labels.json').write_text(json.dumps(content))
    os.utime(folder / 'labels.json', (1, 1))
    assert check_labels(dataset) == [f'{folder}/labels.json: 5 people with key points; left out: 1 with iscrowd (id 1)']
