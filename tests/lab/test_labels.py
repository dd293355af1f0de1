import json

import pytest
from conftest import write_toy_data
from mmengine.config import Config

from mmpose_tskd.errors import UserError
from mmpose_tskd.lab.labels import Labels, split_labels, write_labels


@pytest.fixture
def labels(tmp_path):
    folder = write_toy_data(tmp_path / 'toy', num_people=9)
    return Labels(folder / 'labels.json', folder / 'images')


def ids(part):
    content = part.read()
    images = {image['id'] for image in content['images']}
    assert images == {person['image_id'] for person in content['annotations']}
    return images


def test_a_split_is_disjoint_complete_and_drawn_by_its_seed_alone(labels, tmp_path):
    parts = split_labels(labels, tmp_path / 'a', 4)
    train, dev = map(ids, parts)
    assert len(dev) == 4 and train | dev == set(range(1, 10)) and not train & dev
    content = labels.read()
    content['images'].reverse()  # the order of the file does not matter
    write_labels(content, labels.file)
    assert ids(split_labels(labels, tmp_path / 'b', 4)[1]) == dev
    assert any(ids(split_labels(labels, tmp_path / 'c', 4, seed)[1]) != dev for seed in (1, 2))
    assert parts[0].images == labels.images


def test_the_digest_is_of_the_labels_and_not_of_what_is_said_about_them(labels):
    content, digest = labels.read(), labels.digest()
    write_labels(dict(content, info='another day'), labels.file)
    assert labels.digest() == digest
    content['annotations'][0]['keypoints'][4] += 1
    labels.file.write_text(json.dumps(content))
    assert labels.digest() != digest


def test_labels_come_with_their_own_boxes(labels):
    dataset = Config(dict(ann_file='a.json', data_prefix=dict(img='b/'), bbox_file='detected.json'))
    labels.into(dataset)
    assert dataset.ann_file == str(labels.file.absolute()) and 'bbox_file' not in dataset


@pytest.mark.parametrize('images', [0, 9])
def test_both_parts_hold_images(labels, tmp_path, images):
    with pytest.raises(UserError, match=f'{images} images are to be drawn, but .* has 9'):
        split_labels(labels, tmp_path, images)


def test_labels_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UserError, match='there are no labels .*nowhere.json; TSKD_DATA names'):
        Labels(tmp_path / 'nowhere.json', tmp_path).read()
