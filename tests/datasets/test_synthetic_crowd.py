import json

import cv2
import numpy as np
import pytest

from mmpose_tskd.datasets import generate_synthetic_crowd
from mmpose_tskd.datasets.synthetic_crowd import JOINTS, Person, crowd_index, draw_scene
from mmpose_tskd.datasets.synthetic_crowd.body import body_parts, sample_body
from mmpose_tskd.datasets.synthetic_crowd.scene import MIN_JOINTS, MIN_SEEN, _Canvas, _Figure, random_texture
from mmpose_tskd.errors import UserError
from mmpose_tskd.poses import load_skeleton

SCENES = [draw_scene(np.random.default_rng([7, i])) for i in range(40)]


def read(root, split):
    return json.loads((root / 'annotations' / f'synthetic_crowd_{split}.json').read_text())


@pytest.fixture(scope='module')
def crowd(tmp_path_factory):
    return generate_synthetic_crowd(tmp_path_factory.mktemp('crowd'), num_train=6, num_val=4, workers=1)


def test_joints_are_cocos_in_cocos_order():
    assert JOINTS == load_skeleton('CocoDataset').names


def test_every_joint_is_carried_by_a_part_that_a_body_has():
    points = sample_body(np.random.default_rng(0))
    for trousers in ('short', 'long', 'skirt'):
        parts = body_parts('short', trousers, 1.0)
        assert {j for p in parts for j in p.joints} == set(JOINTS)
        assert all(name in points for p in parts for name in p.points)


def test_bones_keep_their_lengths_and_sides_whatever_the_view():
    for seed in range(50):
        p = sample_body(np.random.default_rng(seed))
        lengths = [np.linalg.norm(p[f'{s}_hip'] - p[f'{s}_knee']) for s in ('left', 'right')]
        assert lengths[0] == pytest.approx(lengths[1]) and 0.15 < lengths[0] < 0.35
        # x to the right, y down, z away: whoever faces along `front` has the left side here
        up, across = p['neck'] - p['pelvis'], p['left_shoulder'] - p['right_shoulder']
        front = p['nose'] - (p['left_ear'] + p['right_ear']) / 2
        assert front @ np.cross(across, up) > 0


def test_the_same_state_draws_the_same_image():
    first, second = (draw_scene(np.random.default_rng([3, 1])) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert all(np.array_equal(a.keypoints, b.keypoints) for a, b in zip(first[1], second[1]))
    assert not np.array_equal(first[0], SCENES[0][0])


def test_labels_are_within_the_image_and_the_box():
    for image, people in SCENES:
        assert image.shape == (240, 320, 3) and image.dtype == np.uint8
        assert 1 <= len(people) <= 6
        for person in people:
            x, y, v = person.keypoints.T
            bx, by, bw, bh = person.bbox
            assert set(v) <= {0, 1, 2}
            assert (v > 0).sum() >= MIN_JOINTS and (v == 2).sum() >= MIN_SEEN
            assert np.all(person.keypoints[v == 0] == 0)
            assert np.all((x >= bx - 1) & (x <= bx + bw + 1) & (y >= by - 1) & (y <= by + bh + 1) | (v == 0))
            assert 0 < person.area <= bw * bh


def test_who_is_drawn_later_hides_who_was_drawn_before():
    """v = 1 is true by the order of drawing."""
    canvas = _Canvas(np.zeros((480, 640, 3), np.float32))
    figure = _Figure(np.random.default_rng(0), 400, 450, 320)
    first = figure.draw(canvas)
    alone = figure.labels(canvas, *first).keypoints
    second = figure.draw(canvas)  # a twin in the same place
    assert np.all(figure.labels(canvas, *first).keypoints[:, 2] == 1)
    assert np.array_equal(figure.labels(canvas, *second).keypoints, alone) and (alone[:, 2] == 2).sum() > 8


def test_a_thing_hides_what_it_covers_and_nothing_else():
    canvas = _Canvas(np.zeros((480, 640, 3), np.float32))
    figure = _Figure(np.random.default_rng(0), 400, 450, 320)
    placed = figure.draw(canvas)
    before = figure.labels(canvas, *placed).keypoints
    canvas.num_parts += 1
    canvas.owner[300:] = canvas.num_parts  # from row 150 of the image on
    after = figure.labels(canvas, *placed).keypoints
    covered = before[:, 1] > 150.5
    assert covered.any() and not covered.all()
    assert np.all(after[covered, 2] == 1) and np.array_equal(after[~covered], before[~covered])


def test_hidden_joints_are_common():
    visibility = np.concatenate([p.keypoints[:, 2] for _, people in SCENES for p in people])
    assert 0.15 < (visibility == 1).mean() < 0.5


def test_crowd_index_by_hand():
    def person(x0, inside):
        keypoints = np.zeros((17, 3))
        keypoints[:4] = [x0 + 1, 1, 2]
        keypoints[4 : 4 + inside] = [x0 + 11, 1, 1]
        return Person(keypoints, (x0, 0, 10, 10), 50.0)

    alone = crowd_index([person(0, 0), person(100, 0)])
    # 2 of the first one's keypoints lie in the second one's box, which holds 4 of its own; nobody's in the first one's
    assert alone == 0 and crowd_index([person(0, 2), person(10, 0)]) == pytest.approx((0 + 2 / 4) / 2)


def test_coco_layout(crowd):
    labels = read(crowd, 'train')
    assert len(labels['images']) == 6 and len(list((crowd / 'images').iterdir())) == 10
    assert labels['categories'][0]['keypoints'] == list(JOINTS)
    for image in labels['images']:
        assert cv2.imread(str(crowd / 'images' / image['file_name'])).shape == (image['height'], image['width'], 3)
        assert 0 <= image['crowdIndex'] <= 1
    for annotation in labels['annotations']:
        assert annotation['num_keypoints'] == sum(v > 0 for v in annotation['keypoints'][2::3])
    assert cv2.imread(str(crowd / 'contact_sheet.png')) is not None


def test_finished_data_are_kept_and_others_are_refused(crowd):
    before = {path: path.stat().st_mtime_ns for path in crowd.rglob('*')}
    generate_synthetic_crowd(crowd, num_train=6, num_val=4)
    assert before == {path: path.stat().st_mtime_ns for path in crowd.rglob('*')}
    with pytest.raises(UserError, match='other settings.*name another folder'):
        generate_synthetic_crowd(crowd, num_train=7, num_val=4)


def test_a_stopped_generation_goes_on_and_draws_the_same(crowd, tmp_path):
    again = generate_synthetic_crowd(tmp_path / 'c', num_train=6, num_val=4, workers=1)
    assert read(again, 'val') == read(crowd, 'val')
    (again / 'annotations' / 'synthetic_crowd_val.json').unlink()
    (again / 'images' / 'val_000001.jpg').write_bytes(b'half')
    generate_synthetic_crowd(again, num_train=6, num_val=4, workers=1)
    assert read(again, 'val') == read(crowd, 'val')
    assert cv2.imread(str(again / 'images' / 'val_000001.jpg')) is not None


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot be written'):
        generate_synthetic_crowd(tmp_path / 'file' / 'crowd', num_train=1, num_val=1)


def test_a_image_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / 'images/train_000001.jpg').mkdir(parents=True)
    with pytest.raises(OSError, match='train_000001.jpg'):
        generate_synthetic_crowd(tmp_path, num_train=1, num_val=1, workers=1)
    assert not (tmp_path / 'annotations/synthetic_crowd_train.json').exists()


def test_a_texture_is_the_same_where_only_a_part_of_it_is_wanted():
    mask = np.random.default_rng(0).random((40, 30)) < 0.3
    for seed in range(20):
        whole, part = (random_texture(np.random.default_rng(seed), mask.shape, wanted) for wanted in (None, mask))
        assert np.array_equal(np.broadcast_to(whole, (*mask.shape, 1))[mask], np.broadcast_to(part, (mask.sum(), 1)))
