import cv2
import numpy as np
import pytest
from scipy.io import savemat

from mmpose_tskd.errors import UserError
from mmpose_tskd.lab.lspet import FROM_LSPET, convert_lspet
from mmpose_tskd.poses import load_skeleton

LSPET = (
    'right_ankle', 'right_knee', 'right_hip', 'left_hip', 'left_knee', 'left_ankle', 'right_wrist', 'right_elbow',
    'right_shoulder', 'left_shoulder', 'left_elbow', 'left_wrist', 'neck', 'top_head',
)  # fmt: skip
STANDING = dict(
    right_ankle=(48, 130), right_knee=(50, 110), right_hip=(54, 88), left_hip=(66, 88), left_knee=(70, 110),
    left_ankle=(72, 130), right_wrist=(36, 84), right_elbow=(42, 68), right_shoulder=(50, 50), left_shoulder=(70, 50),
    left_elbow=(78, 68), left_wrist=(84, 84), neck=(60, 46), top_head=(60, 26),
)  # fmt: skip


def color(k):
    return 90 + 12 * k, 255 - 12 * k, 40 * (k % 5)


@pytest.fixture
def archive(tmp_path):
    """Four instances as dots, a color each keypoint: standing, lying, without neck, and with five labels alone."""
    folder = tmp_path / 'archive'
    (folder / 'images').mkdir(parents=True)
    joints = np.zeros((14, 3, 4))
    for i in range(4):
        points = np.array([STANDING[name] for name in LSPET], float)
        if i == 1:  # the head to the right
            points = np.stack([160 - points[:, 1], points[:, 0]], axis=1)
        image = np.zeros((160, 160, 3), np.uint8)
        for k, (x, y) in enumerate(points):
            cv2.circle(image, (int(x), int(y)), 3, color(k), -1)
        cv2.imwrite(str(folder / 'images' / f'im{i + 1:05d}.jpg'), image, [cv2.IMWRITE_JPEG_QUALITY, 100])
        joints[:, :2, i], joints[:, 2, i] = points + 1, 1
    joints[12, 2, 2] = 0
    joints[5:, 2, 3] = 0
    savemat(folder / 'joints.mat', dict(joints=joints))
    return folder


def people(sets):
    merged = {}
    for labels in sets.values():
        content = labels.read()
        files = {image['id']: image for image in content['images']}
        for person in content['annotations']:
            pixels = cv2.imread(str(labels.images / files[person['image_id']]['file_name']))
            merged[person['id']] = pixels, np.array(person['keypoints']).reshape(14, 3), person
    return merged


def test_the_order_is_crowdposes():
    assert tuple(LSPET[k] for k in FROM_LSPET) == load_skeleton('CrowdPoseDataset').names


@pytest.mark.parametrize('upright', [True, False])
def test_labels_lie_where_their_joints_are_in_the_image(archive, tmp_path, upright):
    converted = people(convert_lspet(archive, tmp_path / 'out', upright, num_val=1))
    assert sorted(converted) == [1, 2, 3]  # the fourth has too few labels
    for number, (image, joints, person) in converted.items():
        assert person['num_keypoints'] == (joints[:, 2] == 2).sum() == (13 if number == 3 else 14)
        for k, (x, y, v) in enumerate(joints):
            if v:
                found = image[round(y), round(x)].astype(int)
                assert np.abs(found - color(FROM_LSPET[k])).max() < 45
            else:
                assert (x, y) == (0, 0)
        x, y, w, h = person['bbox']
        height, width = image.shape[:2]
        labeled = joints[joints[:, 2] > 0, :2]
        assert (labeled > [x, y]).all() and (labeled < [x + w, y + h]).all()
        assert 0 <= x and x + w <= width and 0 <= y and y + h <= height and max(height, width) <= 200
        assert person['area'] == pytest.approx(0.53 * w * h, abs=0.02)


def test_people_are_turned_until_their_hips_lie_below_the_neck(archive, tmp_path):
    for number, (_, joints, _) in people(convert_lspet(archive, tmp_path / 'out', num_val=1)).items():
        hips = joints[[6, 7], :2].mean(axis=0)
        top = joints[13, :2] if number != 3 else joints[[0, 1], :2].mean(axis=0)
        assert hips[0] == pytest.approx(top[0], abs=0.02) and hips[1] > top[1] + 20


def test_as_they_are_images_and_labels_do_not_change(archive, tmp_path):
    _, joints, _ = people(convert_lspet(archive, tmp_path / 'out', upright=False, num_val=1))[2]
    x, y = STANDING['left_wrist']
    assert joints[4].tolist() == [160 - y, x, 2]
    for number in (1, 2, 3):
        name = f'images/im{number:05d}.jpg'
        assert (tmp_path / 'out' / name).read_bytes() == (archive / name).read_bytes()


def test_the_sets_are_disjoint_and_drawn_by_the_seed(archive, tmp_path):
    ids = {}
    for seed in (0, 0, 1, 2, 3):
        sets = convert_lspet(archive, tmp_path / str(seed), num_val=1, seed=seed)
        split = {name: {image['id'] for image in labels.read()['images']} for name, labels in sets.items()}
        assert split['train'] | split['val'] == {1, 2, 3} and not split['train'] & split['val']
        assert ids.setdefault(seed, split) == split
    assert len({tuple(split['val']) for split in ids.values()}) > 1


def test_another_conversion_is_not_written_over(archive, tmp_path):
    before = convert_lspet(archive, tmp_path / 'out', num_val=1)['train'].read()
    with pytest.raises(UserError, match='lspet_train.json is of another conversion .*: name another folder'):
        convert_lspet(archive, tmp_path / 'out', upright=False, num_val=1)
    assert convert_lspet(archive, tmp_path / 'out', num_val=1)['train'].read() == before


def test_mistakes_are_named(archive, tmp_path):
    with pytest.raises(UserError, match='--num-val is 3, but 3 instances have 6 or more'):
        convert_lspet(archive, tmp_path / 'out', num_val=3)
    (archive / 'images' / 'im00002.jpg').write_bytes(b'')
    with pytest.raises(UserError, match='im00002.jpg is missing or is no image'):
        convert_lspet(archive, tmp_path / 'out', num_val=1)
    savemat(archive / 'joints.mat', dict(joints=np.zeros((3, 14, 4))))
    with pytest.raises(UserError, match=r'"joints" of \(3, 14, 4\), where LSPET has 14×3×10000'):
        convert_lspet(archive, tmp_path / 'out')
    (archive / 'joints.mat').write_bytes(b'no matrix')
    with pytest.raises(UserError, match='joints.mat is not a MATLAB file'):
        convert_lspet(archive, tmp_path / 'out')
    with pytest.raises(UserError, match='there is no .*joints.mat: name the folder of the archive'):
        convert_lspet(tmp_path, tmp_path / 'out')
