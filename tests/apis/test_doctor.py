import json
import os
import re
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from mmpose_tskd.apis import doctor
from mmpose_tskd.apis.doctor import ExpectedLabels, Finding, examine, print_findings
from mmpose_tskd.errors import UserError

DET = 'person_detection_results/COCO_val2017_detections_AP_H_56_person.json'


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def labels(start, people=2, num_keypoints=17):
    images = [dict(id=i, file_name=f'{i}.jpg', width=60, height=40, crowdIndex=0.1) for i in range(start, start + 3)]
    joint = [30, 20, 2]
    annotations = [
        dict(
            id=100 * image['id'] + j,
            image_id=image['id'],
            category_id=1,
            bbox=[5, 5, 40, 30],
            area=600,
            num_keypoints=num_keypoints,
            keypoints=joint * num_keypoints,
        )
        for image in images
        for j in range(people)
    ]
    return dict(images=images, annotations=annotations, categories=[dict(id=1, name='person')])


@pytest.fixture
def coco(tmp_path, monkeypatch):
    """A whole COCO of six images."""
    small = [
        ExpectedLabels('annotations/person_keypoints_train2017.json', 'train2017', 3, 6),
        ExpectedLabels('annotations/person_keypoints_val2017.json', 'val2017', 3, 6, boxes=DET),
    ]
    monkeypatch.setitem(doctor.LAYOUTS, 'coco', small)
    rng = np.random.default_rng(0)
    for split, start in (('train', 1), ('val', 11)):
        content = labels(start)
        write(tmp_path / f'annotations/person_keypoints_{split}2017.json', content)
        (tmp_path / f'{split}2017').mkdir()
        for image in content['images']:
            pixels = rng.integers(0, 255, (5, 6, 3), np.uint8)
            cv2.imwrite(
                str(tmp_path / f'{split}2017' / image['file_name']),
                cv2.resize(pixels, (60, 40), interpolation=cv2.INTER_CUBIC),
            )
    boxes = [dict(image_id=i, category_id=1, bbox=[1, 1, 9, 9], score=0.5) for i in (11, 12)]
    write(tmp_path / DET, boxes)
    return tmp_path


def problems(root, data='coco', **options):
    return [f for f in examine(data, str(root), **options) if f.level != 'ok']


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_whole_set_passes(coco, capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '200')
    findings = examine('coco', str(coco))
    assert {f.level for f in findings} == {'ok'}
    assert print_findings(findings)
    printed = ' '.join(capsys.readouterr().out.split())
    assert '3 images, 6 instances with keypoints' in printed and '2 boxes of people; 1 images without one' in printed


TRAIN, VAL = 'annotations/person_keypoints_train2017.json', 'annotations/person_keypoints_val2017.json'


def make_pipe(path):
    path.unlink()
    os.mkfifo(path)


def make_bomb(path):
    """A PNG that says it has 100,000×100,000 pixels."""
    size = struct.pack('>IIBBBBB', 100_000, 100_000, 8, 2, 0, 0, 0)
    parts = ((b'IHDR', size), (b'IDAT', zlib.compress(bytes(1000))), (b'IEND', b''))
    chunks = [
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data)) for kind, data in parts
    ]
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + b''.join(chunks))


def swap(content):
    for image in content['images']:
        image['width'], image['height'] = image['height'], image['width']
    for annotation in content['annotations']:
        annotation['keypoints'][:3] = [55, 10, 2]


@pytest.mark.parametrize(
    'damage, subject, message',
    [
        (lambda r: (r / TRAIN).unlink(), TRAIN, 'does not exist.* comes from'),
        (lambda r: (r / TRAIN).write_text((r / TRAIN).read_text()[:99]), TRAIN, 'is damaged.* get it again'),
        (lambda r: (r / TRAIN).write_text('{"images": []}'), TRAIN, 'has lists of annotations, categories'),
        (lambda r: edit(r / VAL, lambda c: c['annotations'].pop()), VAL, '5 instances.*published set has 3 images, 6'),
        (lambda r: edit(r / VAL, swap), VAL, 'width and height of the images are swapped .6 instances'),
        (lambda r: edit(r / VAL, lambda c: c['annotations'][0].update(id=1101)), VAL, 'an id used twice .id 1101'),
        (
            lambda r: edit(r / VAL, lambda c: c['annotations'][0].update(image_id=9)),
            VAL,
            '3 images, 5 instances with keypoints; left out: 1 with an image_id that',
        ),
        (lambda r: edit(r / VAL, lambda c: c['annotations'][0].update(keypoints=[1, 1, 2])), VAL, 'not 17 keypoints'),
        (lambda r: edit(r / VAL, lambda c: c['annotations'][0].update(keypoints=[1] * 34)), VAL, 'not 17 keypoints'),
        (
            lambda r: edit(r / VAL, lambda c: c['annotations'][0].update(bbox=[1, 1, 0, 5])),
            VAL,
            '5 instances.*1 with a box without area',
        ),
        (lambda r: edit(r / VAL, lambda c: c['annotations'][0].update(bbox=[])), VAL, 'not four numbers'),
        (lambda r: edit(r / VAL, lambda c: c['annotations'][0].update(area=0)), VAL, 'no area, by which'),
        (lambda r: edit(r / VAL, lambda c: c['annotations'][0].pop('area')), VAL, 'no area, by which'),
        (lambda r: edit(r / VAL, lambda c: c['annotations'][0].update(iscrowd='0')), VAL, 'neither 0 nor 1 .id 1100'),
        (lambda r: edit(r / VAL, lambda c: c['annotations'][0].update(category_id=7)), VAL, 'a category_id that the'),
        (lambda r: edit(r / VAL, lambda c: c['annotations'][0].update(keypoints=[9, 9, 4] * 17)), VAL, 'not 0, 1 or 2'),
        (lambda r: edit(r / VAL, lambda c: c['annotations'][0].update(keypoints=['9', 9, 2] * 17)), VAL, 'no number'),
        (lambda r: edit(r / VAL, lambda c: c['annotations'][0].update(bbox=[1, None, 9, 9])), VAL, 'not four numbers'),
        (lambda r: edit(r / VAL, lambda c: c['images'][0].update(id=12)), VAL, '1 images with an id used twice'),
        (lambda r: edit(r / VAL, lambda c: c['images'][0].update(width='60')), VAL, '1 images with no width and'),
        (
            lambda r: edit(r / VAL, lambda c: c['annotations'][0]['keypoints'].__setitem__(0, float('nan'))),
            VAL,
            'a coordinate that is no number',
        ),
        (
            lambda r: edit(r / VAL, lambda c: c['annotations'][0]['keypoints'].__setitem__(0, 99)),
            VAL,
            '1 instances have keypoints outside',
        ),
        (lambda r: (r / 'val2017/12.jpg').unlink(), 'val2017/', '1 images of .* are missing, such as 12.jpg'),
        (lambda r: (r / 'val2017/12.jpg').write_bytes(b'x'), 'val2017/12.jpg', 'cannot be read'),
        (lambda r: make_pipe(r / 'val2017/12.jpg'), 'val2017/12.jpg', 'it is no regular file'),
        (lambda r: cv2.imwrite(str(r / 'val2017/12.jpg'), np.zeros((9, 9))), 'val2017/', '12.jpg is 9×9, not 60×40'),
        (lambda r: (r / DET).unlink(), DET, 'does not exist'),
        (lambda r: (r / DET).write_text('[{"image_id": 11}]'), DET, 'is no list of detections'),
        (lambda r: (r / DET).write_text('[null]'), DET, 'is no list of detections'),
        (lambda r: edit(r / DET, lambda c: c[0].update(image_id=[])), DET, 'an image_id that the labels do not'),
        (lambda r: edit(r / DET, lambda c: c[0].update(score='high')), DET, 'a score that is no number'),
        (lambda r: make_bomb(r / 'val2017/12.jpg'), 'val2017/12.jpg', 'cannot be read .*decompression bomb'),
        (
            lambda r: edit(r / DET, lambda c: c[0].update(image_id=1)),
            DET,
            'an image_id that the labels do not list, as of another set',
        ),
    ],
)
def test_each_fault_is_named(coco, damage, subject, message):
    damage(coco)
    found = problems(coco)
    assert any(f.subject == subject and re.search(message, f.message) for f in found), found
    assert len(found) == 1 or 'swapped' in message  # swapped sizes are not those of the images either


def test_names_are_printed_as_they_are(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '200')
    assert not print_findings([Finding('error', 'a[/red].jpg', 'such as \x1b[2J[bold]b.jpg')])
    printed = capsys.readouterr().out
    assert 'a[/red].jpg' in printed and 'such as \\x1b[2J[bold]b.jpg' in printed


@pytest.mark.parametrize('orientation, turned', [(1, False), (3, False), (6, True), (8, True)])
def test_a_images_size_is_that_after_the_turn_it_asks_for(coco, orientation, turned):
    path = coco / 'val2017/12.jpg'
    exif = Image.Exif()
    exif[0x112] = orientation
    with Image.open(path) as image:
        image.load()
    image.save(path, exif=exif)
    found = problems(coco)
    assert bool(found) == turned and all('12.jpg is 40×60, not 60×40' in finding.message for finding in found)


def test_coco_val_images_in_crowdpose_are_found_though_saved_anew(coco, tmp_path, monkeypatch):
    root = tmp_path / 'crowd'
    name = 'annotations/mmpose_crowdpose_trainval.json'
    monkeypatch.setitem(doctor.LAYOUTS, 'crowdpose', [ExpectedLabels(name, 'images', 3, num_keypoints=14)])
    write(root / name, labels(1, num_keypoints=14))
    (root / 'images').mkdir()
    for i in (1, 2, 3):
        image = cv2.imread(str(coco / 'train2017' / f'{i}.jpg')) if i > 1 else cv2.imread(str(coco / 'val2017/12.jpg'))
        cv2.imwrite(str(root / 'images' / f'{i}.jpg'), image, [cv2.IMWRITE_JPEG_QUALITY, 70])
    (finding,) = problems(root, 'crowdpose', coco_root=str(coco))
    assert finding.level == 'warning' and '1 images look like images of COCO val (1.jpg like 12.jpg)' in finding.message
    assert not problems(root, 'crowdpose')
    for path in (coco / 'val2017').iterdir():
        path.unlink()
    (finding,) = problems(root, 'crowdpose', coco_root=str(coco))
    assert finding.level == 'error' and 'COCO val was not looked for' in finding.message


def test_mpii(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, 'MPII', [('annotations/mpii_train.json', 1)])
    person = dict(image='1.jpg', center=[1, 1], scale=1.0, joints=[[1, 1]] * 16, joints_vis=[1] * 16)
    write(tmp_path / 'annotations/mpii_train.json', [person])
    assert [f.subject for f in problems(tmp_path, 'mpii')] == ['images/', 'annotations/mpii_gt_val.mat']
    write(tmp_path / 'images/1.jpg', 'x')
    write(tmp_path / 'annotations/mpii_gt_val.mat', 'x')
    assert not problems(tmp_path, 'mpii')
    write(tmp_path / 'annotations/mpii_train.json', [dict(image='1.jpg')])
    assert 'it is no list of instances with' in problems(tmp_path, 'mpii')[0].message
    write(tmp_path / 'annotations/mpii_train.json', [dict(person, joints_vis=[1] * 15 + [-1])])
    assert 'a visibility that is not 0, 1 or 2 (id 0)' in problems(tmp_path, 'mpii')[0].message


def test_a_wrong_folder_or_set_is_named(tmp_path):
    with pytest.raises(UserError, match='--root .*nowhere is no folder'):
        examine('coco', str(tmp_path / 'nowhere'))
    with pytest.raises(UserError, match="not 'halpe'"):
        examine('halpe', str(tmp_path))


def own_labels(folder, people=12):
    """Instances of three pairs of keypoints, the left ones on the left of the image, with an image each."""
    names = ['left_eye', 'right_eye', 'left_hip', 'right_hip', 'left_foot', 'right_foot', 'tail']
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(1, people + 1):
        joints = [[10 + 30 * (k % 2), 5 + 10 * (k // 2), 2] for k in range(6)] + [[25, 20, 2]]
        images.append(dict(id=i, file_name=f'a/{i}.png', width=60, height=40))
        annotations.append(dict(id=i, image_id=i, category_id=1, bbox=[5, 2, 50, 36], keypoints=sum(joints, [])))
        (folder / 'images' / 'a').mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / 'images' / 'a' / f'{i}.png'), rng.integers(0, 255, (40, 60, 3), np.uint8))
    return dict(images=images, annotations=annotations, categories=[dict(id=1, name='dog', keypoints=names)])


def exchange_feet(content):
    for person in content['annotations']:
        joints = np.reshape(person['keypoints'], (-1, 3))
        person['keypoints'] = joints[[0, 1, 2, 3, 5, 4, 6]].ravel().tolist()


def label_twice(content):
    content['annotations'].append(dict(content['annotations'][3], id=99))


def unlabel(content):
    content['annotations'][0].update(keypoints=[0] * 21)


def lose_an_eye(content):
    content['categories'][0]['keypoints'][1] = 'brow'


@pytest.mark.parametrize(
    'change, level, message',
    [
        (lambda content: None, 'ok', '12 images, 12 instances with keypoints, 7 keypoints'),
        (exchange_feet, 'warning', 'left_foot and right_foot lie the other way round .* in 100% of 12 instances'),
        (label_twice, 'warning', r'1 instances labeled twice \(the same box\)'),
        (unlabel, 'ok', '11 instances with keypoints; left out: 1 with no labeled keypoint'),
        (lose_an_eye, 'warning', 'left_eye has no keypoint of the other side'),
        (
            lambda content: content['images'].append(dict(content['images'][0], id=98)),
            'warning',
            '1 images listed twice',
        ),
    ],
)
def test_any_coco_labels_are_examined_and_doubts_are_no_errors(tmp_path, change, level, message):
    content = own_labels(tmp_path)
    change(content)
    write(tmp_path / 'own.json', content)
    findings = doctor.examine_labels(str(tmp_path / 'own.json'), str(tmp_path / 'images'))
    assert any(one.level == level and re.search(message, one.message) for one in findings), findings
    assert [one for one in findings if one.level == 'warning' and one.message and level == 'ok'] == []
    assert print_findings(findings)  # exit status 0


def test_pairs_are_known_by_their_names():
    names = ['right_eye', 'left_eye', 'l_paw', 'r_paw', 'Lear', 'Rear', 'tail']
    assert doctor.mirror_pairs(names) == [(1, 0), (2, 3), (4, 5)]
