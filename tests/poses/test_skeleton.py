import copy

import pytest
from mmpose.datasets.datasets import CocoDataset

from mmpose_tskd.errors import UserError
from mmpose_tskd.poses import load_skeleton

HAND = dict(
    dataset_name='hand',
    keypoint_info={
        k: dict(name=name, id=k, color=[0, 0, 0], type='', swap='')
        for k, name in enumerate(['wrist', 'thumb', 'index', 'middle', 'little'])
    },
    skeleton_info={
        k: dict(link=('wrist', name), id=k) for k, name in enumerate(['thumb', 'index', 'middle', 'little'])
    },
    joint_weights=[1.0] * 5,
    sigmas=[0.05] * 5,
)


def test_a_skeleton_of_ones_own():
    skeleton = load_skeleton(HAND)
    assert skeleton.names == ('wrist', 'thumb', 'index', 'middle', 'little')
    assert skeleton.links == ((0, 1), (0, 2), (0, 3), (0, 4))


def test_metainfo_from_file_and_by_name_agree():
    assert load_skeleton(CocoDataset.METAINFO) == load_skeleton('CocoDataset')


def broken(**changes):
    metainfo = copy.deepcopy(HAND)
    metainfo.update(changes)
    return metainfo


def numbered(names):
    return broken(keypoint_info={k: dict(name=name) for k, name in names.items()}, skeleton_info={})


@pytest.mark.parametrize(
    'metainfo, message',
    [
        ('NoSuchDataset', 'not a dataset class'),
        (broken(skeleton_info={}), 'no skeleton links'),
        (broken(skeleton_info={0: dict(link=('wrist', 'toe'), id=0)}), "names 'toe' in a link"),
        (broken(skeleton_info={0: dict(link=('wrist', 'wrist'), id=0)}), 'a keypoint to itself'),
        (
            broken(skeleton_info={0: dict(link=('wrist', 'thumb'), id=0), 1: dict(link=('thumb', 'wrist'), id=1)}),
            'thumb and wrist twice',
        ),
        (
            broken(skeleton_info={0: dict(link=('wrist', 'thumb', 'index'), id=0)}),
            'a link that does not join two keypoints',
        ),
        (numbered({1: 'wrist', 2: 'thumb'}), r'numbers its keypoints \[1, 2\]'),
        (numbered({1: 'thumb', 0: 'wrist'}), r'keypoints \[1, 0\]: .* 0 to K-1, in order'),
        (numbered({0: 'wrist', 1: 'wrist'}), 'names two keypoints alike'),
        (dict(dataset_name='x'), 'keypoint_info'),
        (dict(from_file='no/such/file.py'), 'no/such/file.py'),
    ],
)
def test_a_skeleton_that_cannot_be_used_is_refused(metainfo, message):
    with pytest.raises(UserError, match=message):
        load_skeleton(metainfo).edges()
