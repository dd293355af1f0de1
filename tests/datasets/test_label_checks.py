import json

import pytest
from conftest import write_toy_data, write_toy_mpii
from mmpose.registry import DATASETS

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
    check_labels(DATASETS.build(config(tmp_path / 'data')))
    path = tmp_path / 'data' / 'labels.json'
    content = json.loads(path.read_text())
    if kind == 'MPII':
        content[3]['joints'][5] = [float('nan'), 1]
    else:
        content['annotations'][3]['keypoints'][15] = float('nan')
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf'{path}: annotations: 1 with a coordinate that is no number \(id [34]\)'):
        check_labels(DATASETS.build(config(tmp_path / 'data')))


def test_a_detectors_boxes_are_no_labels(tmp_path):
    folder = write_toy_data(tmp_path / 'data')
    boxes = [dict(image_id=1, category_id=1, bbox=[9000, 9000, 0, 5], score=0.5)]
    (folder / 'boxes.json').write_text(json.dumps(boxes))
    dataset = DATASETS.build(coco(folder, test_mode=True, bbox_file=str(folder / 'boxes.json')))
    check_labels(dataset)
    assert len(dataset) == 1
