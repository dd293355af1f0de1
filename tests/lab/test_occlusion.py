import json

import cv2
import numpy as np
import pytest
from conftest import write_toy_data

from mmpose_tskd.datasets import generate_synthetic_crowd
from mmpose_tskd.lab.labels import Labels
from mmpose_tskd.lab.occlusion import occlude
from mmpose_tskd.poses import load_skeleton


@pytest.fixture(scope='module', params=['one instance an image', 'crowd'])
def labels(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    if request.param == 'crowd':
        generate_synthetic_crowd(folder, num_train=1, num_val=8, workers=1)
        return Labels(folder / 'annotations' / 'synthetic_crowd_val.json', folder / 'images')
    write_toy_data(folder / 'toy', num_people=8)
    return Labels(folder / 'toy' / 'labels.json', folder / 'toy' / 'images')


def make(labels, folder, seed=0):
    return occlude(labels, folder, load_skeleton('CocoDataset').links, seed)


def joints(content):
    return np.array([person['keypoints'] for person in content['annotations']], float).reshape(-1, 17, 3)


def images(labels):
    return {i['id']: cv2.imread(str(labels.images / i['file_name'])) for i in labels.read()['images']}


def test_a_image_that_cannot_be_written_is_an_error(labels, tmp_path):
    (tmp_path / 'twin/images/1.png').mkdir(parents=True)
    with pytest.raises(OSError, match='1.png'):
        make(labels, tmp_path / 'twin')


def test_labels_stay_and_covered_joints_are_hidden(labels, tmp_path):
    twin = make(labels, tmp_path / 'twin')
    before, after = labels.read(), twin.read()
    old, new = joints(before), joints(after)
    assert (old[..., :2] == new[..., :2]).all()
    changed = old[..., 2] != new[..., 2]
    assert (old[changed, 2] == 2).all() and (new[changed, 2] == 1).all() and 0.1 < changed.mean() < 0.7
    for person, same in zip(before['annotations'], after['annotations']):
        assert {**same, 'keypoints': None} == {**person, 'keypoints': None}
    was, now = images(labels), images(twin)
    visible = 0
    for person, at, hidden in zip(after['annotations'], new, changed):
        image, covered = was[person['image_id']], now[person['image_id']]
        assert image.shape == covered.shape and (image != covered).any(axis=-1).mean() < 0.9
        for x, y, _ in at[hidden]:  # something else is there now
            patch = np.s_[max(0, round(y) - 1) : round(y) + 2, max(0, round(x) - 1) : round(x) + 2]
            visible += (image[patch] != covered[patch]).any()
        for x, y, _ in at[at[:, 2] == 2]:  # nothing is there that was not before
            assert (image[round(y), round(x)] == covered[round(y), round(x)]).all()
    assert visible == changed.sum()


def test_the_same_seed_makes_the_same_twin_and_another_one_another(labels, tmp_path):
    first, second, other = (
        make(labels, tmp_path / '1'),
        make(labels, tmp_path / '2'),
        make(labels, tmp_path / '3', seed=1),
    )
    assert first.file.read_text() == second.file.read_text()
    assert all((a == b).all() for a, b in zip(images(first).values(), images(second).values()))
    assert (joints(first.read())[..., 2] != joints(other.read())[..., 2]).any()


def test_what_is_there_is_kept_until_the_labels_or_the_seed_change(labels, tmp_path):
    twin = make(labels, tmp_path / 'twin')
    made = twin.file.stat().st_mtime_ns
    assert make(labels, tmp_path / 'twin').file.stat().st_mtime_ns == made
    make(labels, tmp_path / 'twin', seed=1)
    assert twin.file.stat().st_mtime_ns != made


def test_images_without_labels_are_left_as_they_are(tmp_path):
    folder = write_toy_data(tmp_path / 'toy', num_people=2)
    content = json.loads((folder / 'labels.json').read_text())
    content['annotations'][0]['keypoints'] = [0] * 51
    (folder / 'labels.json').write_text(json.dumps(content))
    labels = Labels(folder / 'labels.json', folder / 'images')
    twin = make(labels, tmp_path / 'twin')
    assert (images(labels)[1] == images(twin)[1]).all()
    assert not joints(twin.read())[0].any()
    assert (joints(labels.read())[1, :, 2] != joints(twin.read())[1, :, 2]).any()
