"""A teacher asked once: whom, how, and what is written down."""

import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import REPO, toy_teacher, train, write_toy_data
from mmengine.config import Config
from mmpose.registry import DATASETS

from mmpose_tskd.apis import record_teacher as recording
from mmpose_tskd.apis.record_teacher import open_teacher, read_people, record_teacher
from mmpose_tskd.errors import UserError
from mmpose_tskd.poses import join_keypoints
from mmpose_tskd.poses.record import load_record


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'teacher.py'
    Config(dict(model=toy_teacher(), train_dataloader=dict(dataset=dict(type='CocoDataset')))).dump(str(path))
    return str(path)


@pytest.fixture
def teacher(config, teacher_checkpoint):
    return open_teacher(config, teacher_checkpoint)


@pytest.fixture
def ask(toy_data, tmp_path, teacher):
    def ask(teachers=(teacher,), name='record.json', **options):
        out = tmp_path / name
        labels = options.pop('labels', toy_data / 'labels.json')
        record_teacher(teachers, str(labels), str(toy_data / 'images'), str(out), **options)
        return json.loads(out.read_text())

    return ask


def test_the_joints_of_a_teacher_are_those_of_its_configs_data_set(teacher):
    assert teacher.skeleton.names[0] == 'nose' and teacher.num_keypoints == 17


def test_a_record_names_its_teacher_and_joints(ask, teacher, tmp_path):
    record = ask()
    assert record['info']['teachers'][0]['sha256'] == teacher.digest()
    assert record['categories'][0]['keypoints'] == list(teacher.skeleton.names)
    assert [annotation['id'] for annotation in record['annotations']] == [1, 2, 3, 4, 5, 6]
    assert not Path(f'{tmp_path}/record.json.parts').exists()
    assert load_record(str(tmp_path / 'record.json')).keypoints.shape == (6, 17, 3)


def test_two_commands_do_not_record_one_file(ask, tmp_path, monkeypatch):
    answer = recording._answer

    def twice(*args):
        with monkeypatch.context() as patch:
            patch.setattr(recording, '_answer', answer)
            refused = start_recording(str(tmp_path / 'record.json'))
        assert refused == 3
        return answer(*args)

    monkeypatch.setattr(recording, '_answer', twice)
    ask()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith('record')] == ['record.json']


def start_recording(out):
    """The exit status of another process: 3 where it is refused."""
    process = os.fork()
    if not process:
        try:
            with recording._alone(Path(f'{out}.parts'), out):
                os._exit(0)
        except UserError:
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def test_a_full_disk_keeps_the_record_that_was_there(ask, tmp_path, monkeypatch):
    before = ask()

    def full(*args):
        raise OSError('No space left on device')

    with monkeypatch.context() as patch, pytest.raises(UserError, match='record.json cannot be written .No space left'):
        patch.setattr(os, 'fsync', full)
        patch.setattr(recording, '_save', lambda file, answers: (file.parent.mkdir(), np.save(file, answers)))
        ask()
    assert json.loads((tmp_path / 'record.json').read_text()) == before
    assert not list(tmp_path.glob('*.partial')) + list(tmp_path.glob('.*.partial'))
    ask()
    assert not (tmp_path / 'record.json.parts').exists()


def test_the_size_of_a_batch_changes_nothing(ask):
    one, many = ask(batch_size=1, name='one.json'), ask(batch_size=4, num_workers=1, name='many.json')
    for own, other in zip(one['annotations'], many['annotations']):
        assert np.allclose(own['keypoints'], other['keypoints'], atol=1e-3)


def say(confidences):
    """Answers of the middle of the image, with these confidences for each instance's keypoints."""
    return lambda teachers, batch, device: np.tile(
        np.column_stack([np.full((17, 2), 48.0), confidences]).astype(np.float32), (len(batch[0][0]), 1, 1)
    )


def test_a_joint_is_a_label_where_the_teacher_is_confident(ask, monkeypatch):
    confidences = np.linspace(0, 1, 17)
    monkeypatch.setattr(recording, '_answer', say(confidences))
    for annotation in ask(min_confidence=0.3)['annotations']:
        visible = np.array(annotation['keypoints'])[2::3]
        assert np.allclose(annotation['keypoint_scores'], confidences, atol=1e-4)
        assert np.allclose(visible, np.where(confidences >= 0.3, confidences.clip(0.5), 0), atol=1e-4)
        assert annotation['num_keypoints'] == (visible > 0).sum() == 12


def test_a_stopped_recording_goes_on_where_it_was(ask, teacher, monkeypatch):
    """In the middle of the second part of three; the first is not asked again, and what comes out is the same."""
    whole = ask(name='whole.json')
    monkeypatch.setattr(recording, 'PART', 2)
    answer, asked = teacher.answer, []

    def stop(inputs):
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(len(inputs))
        return answer(inputs)

    monkeypatch.setattr(teacher, 'answer', stop)
    with pytest.raises(KeyboardInterrupt):
        ask(batch_size=1)
    asked.clear()
    monkeypatch.setattr(teacher, 'answer', lambda inputs: asked.append(len(inputs)) or answer(inputs))
    resumed = ask(batch_size=1)
    assert asked == [1] * 4
    for own, other in zip(whole['annotations'], resumed['annotations']):
        assert np.allclose(own['keypoints'], other['keypoints'], atol=1e-3)


@pytest.mark.parametrize('damage', ['half', 'pickle', 'fewer instances', 'other numbers'])
def test_a_part_that_is_not_as_it_was_written_is_recorded_again(ask, monkeypatch, damage, tmp_path):
    whole = ask(name='whole.json')
    monkeypatch.setattr(recording, 'PART', 2)
    monkeypatch.setattr(recording, '_write', lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ask()
    monkeypatch.undo()
    monkeypatch.setattr(recording, 'PART', 2)
    first, *_ = sorted(tmp_path.glob('record.json.parts/*/*.npy'))
    if damage == 'half':
        first.write_bytes(first.read_bytes()[:200])
    elif damage == 'pickle':
        np.save(first, np.array([{}], object), allow_pickle=True)
    else:
        answers = np.load(first)
        np.save(first, answers[:1] if damage == 'fewer instances' else answers.astype(int))
    for own, other in zip(whole['annotations'], ask()['annotations']):
        assert np.allclose(own['keypoints'], other['keypoints'], atol=1e-3)


def test_what_lies_beside_the_parts_stays(ask, tmp_path):
    (tmp_path / 'record.json.parts').mkdir()
    (tmp_path / 'record.json.parts' / 'own.txt').touch()
    ask()
    assert [file.name for file in (tmp_path / 'record.json.parts').iterdir()] == ['own.txt']


def test_a_image_that_is_cut_off_or_a_pipe_is_named(teacher, tmp_path):
    """OpenCV reads the one as gray from there on, and waits for the other."""
    folder = write_toy_data(tmp_path / 'own')
    file = folder / 'images/2.png'
    image = cv2.imread(str(file))
    for content in (cv2.imencode('.jpg', image)[1].tobytes()[:-400], None):
        file.unlink()
        os.mkfifo(file) if content is None else file.write_bytes(content)
        with pytest.raises(UserError, match='the image .*2.png cannot be read'):
            record_teacher([teacher], str(folder / 'labels.json'), str(folder / 'images'), str(tmp_path / 'out.json'))


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: c.update(images=5), 'lists of images, too'),
        (lambda c: c['images'].append(5), 'images with an id that is no whole number'),
        (lambda c: c['images'][0].pop('width'), 'images with no width and height'),
        (lambda c: c['annotations'][0].pop('image_id'), 'image_id that is no number'),
        (lambda c: c['annotations'][0].update(id=2), 'an id used twice'),
        (lambda c: c['annotations'][0].update(bbox=[float('nan')] * 4), 'a box that is not four numbers'),
        (lambda c: c['annotations'][0].update(bbox='abcd'), 'a box that is not four numbers'),
        (lambda c: c['annotations'][0].update(area=float('nan')), 'area that is no number'),
        (lambda c: c['annotations'][0].update(num_keypoints=None), 'num_keypoints that is no number'),
        (lambda c: c['annotations'][0].update(score='x'), 'score that is no number'),
        (lambda c: c.update(annotations=None), 'lists of annotations, too'),
    ],
)
def test_labels_that_cannot_be_recorded_are_named(change, message, toy_data, tmp_path):
    content = json.loads((toy_data / 'labels.json').read_text())
    change(content)
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    with pytest.raises(UserError, match=f'labels.json.*{message}'):
        read_people(str(tmp_path / 'labels.json'))


def test_another_teacher_does_not_go_on_with_the_parts_of_the_first(ask, teacher, monkeypatch):
    monkeypatch.setattr(recording, '_write', lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ask()
    monkeypatch.undo()
    with torch.no_grad():
        for parameter in teacher.model.parameters():
            parameter.neg_()
    changed = ask(name='record.json')
    assert changed['annotations'] == ask(name='fresh.json')['annotations']


def test_boxes_may_be_a_detectors(ask, toy_data, tmp_path):
    """For images without labels: the good boxes of people, numbered anew, in the order of the images."""
    images = json.loads((toy_data / 'labels.json').read_text())['images']
    (tmp_path / 'images.json').write_text(json.dumps(dict(images=images)))
    boxes = [
        dict(image_id=4, category_id=1, bbox=[12, 12, 72, 104], score=0.9),
        dict(image_id=2, category_id=1, bbox=[12, 12, 72, 104], score=0.8),
        dict(image_id=2, category_id=1, bbox=[12, 12, 72, 104], score=0.1),
        dict(image_id=2, category_id=3, bbox=[12, 12, 72, 104], score=0.9),
    ]
    (tmp_path / 'boxes.json').write_text(json.dumps(boxes))
    own = {annotation['id']: annotation for annotation in ask(name='own.json')['annotations']}
    record = ask(labels=tmp_path / 'images.json', boxes=str(tmp_path / 'boxes.json'))
    assert [annotation['image_id'] for annotation in record['annotations']] == [2, 4]
    assert [image['id'] for image in record['images']] == [2, 4]
    for annotation in record['annotations']:
        assert np.allclose(annotation['keypoints'], own[annotation['image_id']]['keypoints'], atol=1e-3)
    assert [annotation['score'] for annotation in record['annotations']] == [0.8, 0.9]


@pytest.mark.parametrize(
    'content, message',
    [
        ('{', 'is damaged, or no JSON'),
        ('[]', 'lists of images, too'),
        ('{"images": [], "annotations": [{"id": 1, "bbox": [0, 0, 1, 1], "image_id": 7}]}', 'names the image 7'),
        ('{"images": []}', 'has no box of an instance'),
    ],
)
def test_a_file_that_lists_nobody_is_named(tmp_path, content, message):
    (tmp_path / 'labels.json').write_text(content)
    with pytest.raises(UserError, match=message):
        read_people(str(tmp_path / 'labels.json'))


def test_joints_that_nothing_names_are_asked_for(tmp_path, teacher_checkpoint):
    Config(dict(model=toy_teacher())).dump(str(tmp_path / 'bare.py'))
    with pytest.raises(UserError, match='nothing says which keypoints .* give --metainfo'):
        open_teacher(str(tmp_path / 'bare.py'), teacher_checkpoint)
    with pytest.raises(UserError, match='has 17 keypoints, and its metainfo 14'):
        open_teacher(str(tmp_path / 'bare.py'), teacher_checkpoint, 'CrowdPoseDataset')


# Several teachers


def test_several_answers_are_joined_by_confidence():
    poses = torch.tensor(
        [
            [[[10.0, 10, 0.6], [0, 0, 0.5], [50, 50, 0.9], [1, 1, -1]]],
            [[[13.0, 10, 0.3], [9, 9, -1], [90, 50, 0.4], [2, 2, -1]]],
        ]
    )
    joined = join_keypoints(poses, torch.tensor([5.0]))[0]
    assert joined[0].tolist() == pytest.approx([11, 10, 0.45])  # they agree
    assert joined[1].tolist() == pytest.approx([0, 0, 0.5])  # one knows the keypoint
    assert joined[2].tolist() == pytest.approx([50, 50, 0.45])  # they do not agree
    assert joined[3, 2] == -1  # nobody knows it
    assert torch.allclose(join_keypoints(poses.flip(0), torch.tensor([5.0]))[0, :3], joined[:3])


def test_a_teacher_twice_is_that_teacher(ask, teacher):
    once, twice = ask(name='once.json'), ask(teachers=(teacher, teacher), name='twice.json')
    for own, other in zip(once['annotations'], twice['annotations']):
        assert np.allclose(own['keypoints'], other['keypoints'], atol=2e-3)
        assert np.allclose(own['keypoint_scores'], other['keypoint_scores'], atol=2e-4)


# As labels


def test_a_record_is_a_label_file_of_a_stock_config(ask, make_config, tmp_path, monkeypatch):
    """Joined to labels; a keypoint's weight is its confidence, at least a half."""
    monkeypatch.setattr(recording, '_answer', say(np.linspace(0, 1, 17)))
    ask()
    cfg = make_config('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py')
    dataset = cfg.train_dataloader.dataset
    own = dict(dataset, ann_file=str(tmp_path / 'record.json'), data_root='', pipeline=[])
    own['data_prefix'] = dict(img=str(Path(dataset.data_root, 'images')))
    combined = dict(
        type='CombinedDataset',
        metainfo=dict(from_file='configs/_base_/datasets/coco.py'),
        datasets=[dict(dataset, pipeline=[]), own],
        pipeline=dataset.pipeline,
    )
    samples = DATASETS.build(combined)
    assert len(samples) == 12
    sample = samples[11]['data_samples']
    expected = [0] * 5 + [0.5] * 3 + (np.arange(8, 17) / 16).tolist()
    weights = sample.gt_instance_labels.keypoint_weights[0]
    order = sample.flip_indices if sample.flip else range(17)
    assert weights.tolist() == pytest.approx([expected[k] for k in order], abs=1e-4)
    cfg.train_dataloader.dataset = combined
    cfg.train_cfg.max_epochs = 1
    train(cfg)


def test_the_tool_records(config, teacher_checkpoint, toy_data, tmp_path, monkeypatch):
    from runpy import run_path

    out = tmp_path / 'record.json'
    command = f'{out} --teacher {config} {teacher_checkpoint} --flip-test --num-workers 0'
    command += f' --labels {toy_data}/labels.json --images {toy_data}/images'
    monkeypatch.setattr(sys, 'argv', ['record_teacher.py', *command.split()])
    run_path(str(REPO / 'tools/record_teacher.py'), run_name='__main__')
    assert json.loads(out.read_text())['info']['teachers'][0]['flip_test'] is True
