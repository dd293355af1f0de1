import functools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import REPO
from mmengine.config import Config
from mmpose.apis import init_model
from mmpose.registry import DATASETS, MODELS
from processes import ForkedTool

from mmpose_tskd.apis.distill import PRESETS, configs, distill, report, steps, timing
from mmpose_tskd.apis.distill.command import _jobs
from mmpose_tskd.apis.distill.labels import metainfo_text, prepare_data
from mmpose_tskd.apis.distill.losses import SHARES, stage1_losses
from mmpose_tskd.apis.distill.teacher import Teacher
from mmpose_tskd.apis.doctor import keypoint_category
from mmpose_tskd.apis.pack import _plain_config
from mmpose_tskd.checkpoints import load_weights, weights_digest
from mmpose_tskd.datasets import generate_synthetic_crowd
from mmpose_tskd.datasets.label_checks import check_labels
from mmpose_tskd.deploy.onnx_file import OnnxSession
from mmpose_tskd.errors import UserError
from mmpose_tskd.poses import load_skeleton

OWN = ['nose', 'left_eye', 'right_eye', 'tail', 'left_paw', 'right_paw']


@pytest.fixture(scope='module')
def crowd(tmp_path_factory):
    return generate_synthetic_crowd(tmp_path_factory.mktemp('data'), num_train=24, num_val=4, workers=1)


@pytest.fixture
def options(crowd, tmp_path):
    labels = [str(crowd / 'annotations' / f'synthetic_crowd_{split}.json') for split in ('train', 'val')]
    return dict(labels=labels, images=str(crowd / 'images'), out=str(tmp_path / 'out'), epochs=(2, 1, 1))


@pytest.fixture
def own(tmp_path):
    """Animals of six keypoints of their own, in boxes that lie, in images of several folders."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(1, 71):
        name = f'video{i % 7}/{i}.png'
        (tmp_path / 'images' / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / 'images' / name), rng.integers(0, 255, (40, 100, 3), np.uint8))
        joints = np.column_stack([rng.uniform(10, 90, 6), rng.uniform(5, 35, 6), np.full(6, 2)])
        images.append(dict(id=i, file_name=name, width=100, height=40))
        annotations.append(
            dict(id=i, image_id=i, category_id=3, bbox=[5, 2, 90, 36], keypoints=joints.round(1).ravel().tolist())
        )
    links = [[1, 2], [1, 3], [1, 4], [4, 5], [4, 6]]
    categories = [dict(id=1, name='ball'), dict(id=3, name='cat', keypoints=OWN, skeleton=links)]
    content = dict(images=images, annotations=annotations, categories=categories)
    (tmp_path / 'own.json').write_text(json.dumps(content))
    return tmp_path / 'own.json'


def change(file, **new):
    content = json.loads(file.read_text())
    content.update(new)
    file.write_text(json.dumps(content))
    return content


@pytest.mark.parametrize(
    'name', ['x\nraise SystemExit(1)\n#', '{{$HOME:x}}', '{{ fileDirname }}', "{{$A:y'}}'+str(1)#\"", '\u2028{ \\', "'"]
)
def test_names_in_labels_are_not_run_by_the_config_that_they_come_into(name, tmp_path):
    (tmp_path / 'own.py').write_text(metainfo_text(name, [name, 'left_x', 'right_x'], [(0, 1)], [(1, 2)]))
    info = Config.fromfile(str(tmp_path / 'own.py')).dataset_info
    assert info.dataset_name == info.keypoint_info[0].name == info.skeleton_info[0].link[0] == name


@pytest.mark.parametrize('name', ['\ud800', 'a\nb', '\x1b[2J', 5])
def test_a_joint_that_cannot_be_printed_is_refused(name, own):
    content = change(own)
    content['categories'][1]['keypoints'][0] = name
    with pytest.raises(UserError, match='has to list the names of its keypoints, each once and in printable letters'):
        keypoint_category(content, str(own))


def test_a_whole_distillation(options, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(steps, 'launch', ForkedTool)
    out = tmp_path / 'out'
    looks = []

    def stop_once(follower, last=False, original=steps._Follower.look):
        looks.append(follower.step.name)
        if follower.step.name == 'stage1' and looks.count('stage1') == 1:
            raise KeyboardInterrupt
        original(follower, last)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(steps._Follower, 'look', stop_once)
        distill(**options, compare=True)
    teacher = (out / 'runs' / 'teacher' / 'epoch_2.pth').stat().st_mtime_ns
    assert not (out / 'steps' / 'stage1.json').exists()
    capsys.readouterr()

    results = distill(**options, compare=True)
    printed = capsys.readouterr().out
    assert 'teacher: finished before' in printed and 'stage1: epoch 1/1, loss' in printed
    assert teacher == (out / 'runs' / 'teacher' / 'epoch_2.pth').stat().st_mtime_ns
    assert results == json.loads((out / 'results.json').read_text())
    rows = results['rows']
    assert list(rows) == ['teacher', 'plain_student', 'stage1', 'stage2']
    for row in rows.values():
        assert row['train_s'] > 0 and row['edge_error'] > 0 and 0 <= row['ap_low'] <= row['AP'] <= row['ap_high'] + 1e-3
    assert rows['teacher']['params_m'] > 2 * rows['stage2']['params_m'] > 2 * rows['stage1']['params_m']
    assert [(gain['of'], gain['over']) for gain in results['gains']] == [
        ('stage1', 'plain_student'),
        ('stage2', 'stage1'),
        ('stage2', 'plain_student'),
        ('teacher', 'plain_student'),
    ]
    assert [entry['name'] for entry in results['commands']][:3] == ['teacher', 'stage1', 'record_train']
    weights = {name: load_weights(str(out / 'runs' / name / 'epoch_1.pth')) for name in ('stage1', 'stage2')}
    for name, value in weights['stage1'].items():
        assert torch.equal(weights['stage2'][name.replace('head.', 'head.base_head.')], value)

    page = (out / 'report.html').read_text()
    assert results['verdict'] in page and page.index(results['verdict']) < page.index('<table>')
    assert page.count('src="data:image/png;base64,') == 2 and 'http' not in page.split('<h2>Commands')[0]
    assert 'plain student' in (out / 'comparison' / 'index.html').read_text()

    # what ships is what was measured
    name = str(out / 'refined_student' / 'refined_student')
    model = init_model(f'{name}.py', f'{name}.pth', device='cpu')
    assert weights_digest(model.state_dict()) == weights_digest(weights['stage2'])
    session = OnnxSession(f'{name}_rtmlib.onnx')
    assert session.metadata['checkpoint_sha256'] == weights_digest(weights['stage2'])

    again = distill(**options, compare=True)  # at once; the latency alone is measured anew
    assert dict(again, export=results['export']) == results
    with pytest.raises(UserError, match=r'holds a distillation of other settings \(seed: 0 → 4\): name another'):
        distill(**options, compare=True, seed=4)


def test_a_dry_run_shows_configs_commands_and_minutes(options, tmp_path, capsys):
    assert distill(**options, compare=True, dry_run=True) is None
    assert not (tmp_path / 'out' / 'settings.json').exists()  # another one may follow with other settings
    printed = capsys.readouterr().out
    folder = tmp_path / 'out' / 'configs'
    assert {path.stem for path in folder.iterdir()} == {
        'teacher',
        'plain_student',
        'stage1',
        'refined_student',
        'stage2',
    }
    for path in folder.iterdir():
        assert path.read_text() in printed
        Config.fromfile(path)
    assert (
        'tools/train.py' in printed
        and 'tools/pack.py' in printed
        and 'in all' in printed
        and 'stage2: 1 epochs' in printed
    )
    assert not (tmp_path / 'out' / 'runs').exists()
    plain = (folder / 'plain_student.py').read_text()
    assert PRESETS['tiny'].config in plain and 'backbone' not in plain  # what it does not change, it does not say
    stage1 = Config.fromfile(folder / 'stage1.py').model
    assert (
        stage1.init_from_teacher and stage1.teacher == str(folder / 'teacher.py') and not stage1.get('distill_losses')
    )
    stage2 = Config.fromfile(folder / 'stage2.py')
    assert stage2.model.teacher.type == 'RecordedTeacher' and not stage2.model.task_loss
    assert 'custom_hooks = [*_base_.custom_hooks, ' in (folder / 'stage2.py').read_text()


def test_joints_limbs_pairs_and_shape_come_from_the_labels(own, tmp_path, capsys):
    out = tmp_path / 'out'
    options = dict(labels=str(own), images=str(tmp_path / 'images'), out=str(out), compare=True, dry_run=True)
    distill(**options)
    assert 'Mirrored to each other, by name: left_eye ↔ right_eye, left_paw ↔ right_paw' in capsys.readouterr().out
    cfg = Config.fromfile(out / 'configs' / 'stage2.py')
    skeleton = load_skeleton(cfg.train_dataloader.dataset.metainfo)
    assert skeleton.names == tuple(OWN) and skeleton.flip_indices == (0, 2, 1, 3, 5, 4)
    assert skeleton.links == ((0, 1), (0, 2), (0, 3), (3, 4), (3, 5))
    assert skeleton.sigmas == pytest.approx((0.026, 0.025, 0.025, 0.05, 0.05, 0.05))
    assert cfg.model.head.base_head.out_channels == 6
    assert cfg.codec.input_size == (96, 64) and cfg.model.head.base_head.in_featuremap_size == (24, 16)
    assert cfg.train_pipeline[4].input_size == (96, 64)
    assert cfg.val_evaluator[0].use_area is False  # the labels have no areas

    parts = {name: json.loads((out / 'data' / f'{name}.json').read_text()) for name in ('train', 'val')}
    videos = {name: {image['file_name'].split('/')[0] for image in part['images']} for name, part in parts.items()}
    assert len(videos['val']) == 1 and not videos['val'] & videos['train'] and len(videos['train']) == 6
    assert all(person['category_id'] == 1 for person in parts['train']['annotations'])


def test_images_that_look_alike_stay_on_one_side(own, tmp_path):
    flat = tmp_path / 'flat'
    flat.mkdir()
    content = json.loads(own.read_text())
    for image in content['images']:
        image['file_name'] = f'{image["id"]}.png'
        twin = (image['id'] + 1) // 2 * 2  # each is there twice
        shutil.copy(tmp_path / 'images' / f'video{twin % 7}' / f'{twin}.png', flat / image['file_name'])
    own.write_text(json.dumps(content))
    prepare_data([str(own)], [str(flat)], tmp_path / 'out')
    ids = {image['id'] for image in json.loads((tmp_path / 'out' / 'data' / 'val.json').read_text())['images']}
    assert len(ids) == 8 and {i + 1 if i % 2 else i - 1 for i in ids} == ids


def test_skeletons_may_count_from_0(own, tmp_path):
    content = json.loads(own.read_text())
    content['categories'][1]['skeleton'] = [[0, 1], [4, 5]]
    own.write_text(json.dumps(content))
    data = prepare_data([str(own)], [str(tmp_path / 'images')], tmp_path / 'out')
    assert data.skeleton.links == ((0, 1), (4, 5))


@pytest.mark.parametrize('index', [None, 0.1, 0.5])
def test_crowded_images_are_reported_where_there_are_some(own, tmp_path, index):
    content = json.loads(own.read_text())
    for image in content['images'] if index is not None else []:
        image['crowdIndex'] = index
    own.write_text(json.dumps(content))
    assert prepare_data([str(own)], [str(tmp_path / 'images')], tmp_path / 'out').has_crowd == (index == 0.5)


@pytest.mark.parametrize('name', [name for name in PRESETS if not name.startswith('rtmpose')])
def test_each_preset_gives_its_teacher_the_weights_that_it_starts_from(name, options, tmp_path, monkeypatch):
    monkeypatch.setattr(configs, '_drop_missing_weights', lambda model: model.backbone.update(init_cfg=None) or [])
    distill_dry = functools.partial(distill, **options, student=name)
    monkeypatch.setattr('mmpose_tskd.apis.distill.command._show', lambda plan: None)
    distill_dry(dry_run=True)
    stage1 = Config.fromfile(tmp_path / 'out' / 'configs' / 'stage1.py')
    assert stage1.model.init_from_teacher
    assert stage1.train_dataloader.batch_size == 8 and stage1.auto_scale_lr.enable


@pytest.mark.parametrize('threads, compare, gpu, jobs', [(8, 1, 0, 2), (8, 0, 0, 1), (1, 1, 0, 1), (8, 1, 1, 1)])
def test_a_plain_student_is_trained_beside_the_others_on_a_cpu(threads, compare, gpu, jobs, monkeypatch):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: bool(gpu))
    assert _jobs(dict(compare=bool(compare))) == jobs


@pytest.mark.parametrize('name, bfloat16', [('tiny', True), ('resnet-18', True), ('mobilenetv2', False)])
def test_bfloat16_is_for_heads_that_stay_out_of_numpy(name, bfloat16, options, tmp_path, monkeypatch):
    monkeypatch.setattr(configs, '_drop_missing_weights', lambda model: model.backbone.update(init_cfg=None) or [])
    monkeypatch.setattr('mmpose_tskd.apis.distill.command.prefers_bfloat16', lambda: True)
    monkeypatch.setattr('mmpose_tskd.apis.distill.command._show', lambda plan: None)
    monkeypatch.setattr(timing, 'STEPS', 0)
    distill(**options, student=name, dry_run=True)
    cfg = Config.fromfile(tmp_path / 'out' / 'configs' / 'plain_student.py')
    assert (cfg.optim_wrapper.get('type') == 'BF16OptimWrapper') == bfloat16
    timing.step_seconds(cfg)


def test_weights_that_cannot_be_had_are_told_of(options, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('mmpose_tskd.apis.distill.command._show', lambda plan: None)

    def fail(*args, **kwargs):
        raise OSError('no network')

    monkeypatch.setattr(configs.CheckpointLoader, 'load_checkpoint', fail)
    distill(**options, student='resnet-18', refine=False, dry_run=True)
    assert (
        'ResNet starts from random weights: torchvision://resnet18 cannot be had (no network)'
        in capsys.readouterr().out
    )
    assert Config.fromfile(tmp_path / 'out' / 'configs' / 'plain_student.py').model.backbone.init_cfg is None


def without_joints(file):
    content = json.loads(file.read_text())
    for person in content['annotations']:
        del person['keypoints']
    file.write_text(json.dumps(content))


def two_classes(file):
    content = json.loads(file.read_text())
    content['annotations'][0]['category_id'] = 1
    change(file, annotations=content['annotations'])


def without_boxes(file):
    content = json.loads(file.read_text())
    del content['annotations'][5]['bbox']
    change(file, annotations=content['annotations'])


def few_people(file):
    change(file, annotations=json.loads(file.read_text())['annotations'][:12])


def image_missing(file):
    (file.parent / 'images' / 'video1' / '1.png').unlink()


def image_damaged(file):
    image = file.parent / 'images' / 'video1' / '1.png'
    image.write_bytes(image.read_bytes()[:500])


def no_skeleton(file):
    content = json.loads(file.read_text())
    content['categories'][1]['skeleton'] = []
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    'spoil, message',
    [
        (without_joints, 'own.json has no keypoints in any of its 70 annotations'),
        (two_classes, r'has keypoints of 2 categories \(ball, cat\), and a student learns those of one'),
        (without_boxes, r'1 annotations have keypoints and no bbox \(id 6\): boxes are needed'),
        (few_people, 'instances to train on and .* to test on are too few: label 50 at least'),
        (image_missing, r'1 images of own.json are missing, such as video1/1.png'),
        (image_damaged, r'video1/1.png: cannot be read'),
        (no_skeleton, 'the refiner needs limbs, and the category of the labels has no "skeleton"'),
    ],
)
def test_bad_labels_are_named_at_the_start(spoil, message, own, tmp_path):
    spoil(own)
    with pytest.raises(UserError, match=message):
        distill(str(own), str(tmp_path / 'images'), str(tmp_path / 'out'))
    assert not (tmp_path / 'out' / 'runs').exists()


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(budget=0), '--budget is a factor on the epochs and must be above 0'),
        (dict(epochs=(1, 2)), '--epochs takes three numbers'),
        (dict(losses='all'), '--losses is one of none, features, pose, bins, paper'),
        (dict(unlabelled='images'), r'--unlabelled images needs --boxes.*\n.*tools/detect_people.py images'),
        (dict(boxes='boxes.json'), '--boxes are those of the instances in --unlabelled images'),
        (dict(labels=['a', 'b', 'c']), '--labels takes the training set, and the validation set'),
        (dict(labels='gone.json'), 'gone.json does not exist'),
        (dict(images='gone'), 'images/: missing|gone/: missing'),
        (dict(teacher='gone.onnx'), '--teacher gone.onnx: there is no such file'),
        (dict(teacher=str(REPO / PRESETS['tiny'].config)), 'there is no config|needs --teacher-checkpoint'),
        (dict(student='gone.py'), 'there is no config .*gone.py'),
        (dict(student='lite'), 'there is no student lite: give a config, or one of tiny'),
    ],
)
def test_mistakes_are_named(wrong, message, options):
    with pytest.raises(UserError, match=message):
        distill(**dict(options, **wrong))


def test_a_full_disk_is_noticed_before_it_is_full(options, monkeypatch):
    usage = type('Usage', (), dict(free=1000))
    monkeypatch.setattr('mmpose_tskd.apis.distill.command.shutil.disk_usage', lambda path: usage)
    with pytest.raises(UserError, match='0.0 GiB are free on its disk, and the checkpoints need 0.[5-9]'):
        distill(**options)


def test_what_is_trained_on_is_not_tested_on(options, crowd):
    with pytest.raises(UserError, match='24 images, such as train_000001.jpg, are in both'):
        distill(**dict(options, labels=[options['labels'][0]] * 2))


@pytest.fixture
def coco_teacher(tmp_path):
    """A teacher of COCO's keypoints with random weights, as a config and a checkpoint."""
    file = REPO / PRESETS['tiny'].teacher.replace('simcc/', 'configs/simcc/', 1)
    torch.save(dict(state_dict=MODELS.build(Config.fromfile(file).model).state_dict()), tmp_path / 'teacher.pth')
    return dict(teacher=str(file), teacher_checkpoint=str(tmp_path / 'teacher.pth'))


def test_a_teacher_with_other_joints_teaches_those_of_the_same_name(own, coco_teacher, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('mmpose_tskd.apis.distill.command._show', lambda plan: None)
    images = [dict(id=7, file_name='video0/7.png', width=100, height=40)]
    people = [dict(id=k, image_id=7, category_id=1, bbox=[5, 2, 90, 36], area=1, iscrowd=0) for k in range(1, 71)]
    boxes = tmp_path / 'boxes.json'
    boxes.write_text(json.dumps(dict(images=images, annotations=people, categories=[dict(id=1, name='person')])))
    out, folder = tmp_path / 'out', str(tmp_path / 'images')
    options = dict(coco_teacher, unlabelled=folder, boxes=str(boxes), epochs=(1, 8, 2), dry_run=True)
    distill(str(own), folder, str(out), **options)
    assert (
        'The teacher does not know tail, left_paw, right_paw, which the labels alone teach' in capsys.readouterr().out
    )
    stage1 = Config.fromfile(out / 'configs' / 'stage1.py')
    assert stage1.train_cfg.max_epochs == 4  # as many steps as 8 epochs of half as many instances
    assert stage1.model.type == 'TopdownPoseEstimator'  # its images stand, the student's lie
    assert Config.fromfile(out / 'configs' / 'stage2.py').model.task_loss

    # what the teacher will have said
    pose = np.column_stack([np.arange(17) + 20, np.arange(17) + 10, np.full(17, 0.7)]).ravel().tolist()
    record = [dict(person, num_keypoints=17, keypoints=pose) for person in people]
    names = list(load_skeleton('CocoDataset').names)
    content = dict(images=images, annotations=record, categories=[dict(id=1, name='person', keypoints=names)])
    (out / 'data' / 'record_unlabelled.json').write_text(json.dumps(content))
    check_labels(stage1.train_dataloader.dataset)
    dataset = DATASETS.build(stage1.train_dataloader.dataset)
    labeled, said = dataset.get_data_info(0), dataset.get_data_info(len(dataset) - 1)
    assert labeled['keypoints'].shape == said['keypoints'].shape == (1, 6, 2)
    assert said['keypoints'][0, :3].tolist() == [[20, 10], [21, 11], [22, 12]]
    assert said['keypoints_visible'][0, :, 0].round(2).tolist() == [0.7, 0.7, 0.7, 0, 0, 0]
    assert said['flip_indices'] == labeled['flip_indices'] == [0, 2, 1, 3, 5, 4]


def test_losses_are_weighed_by_their_gradients(options, coco_teacher, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('mmpose_tskd.apis.distill.command._show', lambda plan: None)
    distill(**options, **coco_teacher, losses='paper', dry_run=True)
    told = capsys.readouterr().out
    pulls = json.loads((tmp_path / 'out' / 'data' / 'gradients.json').read_text())
    losses = Config.fromfile(tmp_path / 'out' / 'configs' / 'stage1.py').model.distill_losses
    assert set(losses) == {'loss_feat', 'loss_pose', 'loss_structure'}
    assert (losses.loss_feat.student_channels, losses.loss_feat.teacher_channels) == (16, 32)
    for name, loss in losses.items():
        assert loss.loss_weight * pulls[name] == pytest.approx(SHARES[name] * pulls['task'], rel=0.06)
        assert f'{name}: weight {loss.loss_weight:g}, with which its gradient' in told


def test_what_a_foreign_teacher_does_not_offer_is_refused():
    teacher = Teacher('pose.onnx', None, None, None, load_skeleton('CocoDataset'), True, [])
    with pytest.raises(UserError, match='--losses bins compares feature maps or bins, and of pose.onnx only poses'):
        stage1_losses(None, 'bins', teacher, None)


def test_a_shipped_config_holds_its_joints(own, tmp_path):
    distill_dry = dict(labels=str(own), images=str(tmp_path / 'images'), out=str(tmp_path / 'out'), dry_run=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmpose_tskd.apis.distill.command._show', lambda plan: None)
        distill(**distill_dry)
    plain = _plain_config(Config.fromfile(tmp_path / 'out' / 'configs' / 'refined_student.py'))
    metainfo = plain.test_dataloader.dataset.metainfo
    assert load_skeleton(metainfo).names == tuple(OWN) and 'from_file' not in plain.pretty_text


@pytest.mark.parametrize(
    'gain, teacher, expected',
    [
        ((2.0, 0.5, 3.5), 60.0, 'The distilled student is ahead of the plain one: AP 52.0, plain 50.0'),
        ((2.0, -0.5, 3.5), 60.0, 'is not clearly ahead of the plain one: the interval reaches to 0'),
        ((-1.0, -2.0, -0.1), 60.0, 'The distilled student is NOT ahead of the plain one'),
        ((2.0, 0.5, 3.5), 45.0, 'The teacher is NOT ahead of the plain student (AP 45.0, 50.0)'),
    ],
)
def test_the_first_line_is_honest(gain, teacher, expected):
    rows = dict(teacher=dict(AP=teacher), plain_student=dict(AP=50.0), stage2=dict(AP=52.0))
    gains = [dict(of='stage2', over='plain_student', **dict(zip(('delta', 'ci_low', 'ci_high'), gain)))]
    plan = SimpleNamespace(final='stage2', teacher=SimpleNamespace(unknown=[]), configs={}, epochs={})
    assert expected in report._verdict(plan, rows, gains)


def test_the_first_lines_tell_of_the_teachers_epochs_and_of_a_refiner_that_did_not_help():
    rows = {name: dict(AP=ap) for name, ap in dict(plain_student=50.0, stage1=53.0, stage2=52.0).items()}
    gains = [dict(of='stage2', over='plain_student', delta=2.0, ci_low=0.5, ci_high=3.5)]
    stage1 = Config(dict(model=dict(init_from_teacher=True)))
    epochs = dict(teacher=14, plain_student=10, stage1=6, stage2=2)
    settings = configs.Settings(SimpleNamespace(dataset_type='CocoDataset', metainfo=None), 0, False, 1, Path('out'))
    plan = SimpleNamespace(
        settings=settings,
        final='stage2',
        teacher=SimpleNamespace(unknown=[]),
        configs=dict(stage1=stage1),
        epochs=epochs,
    )
    said = report._verdict(plan, rows, gains)
    assert 'The plain one was trained for 10 epochs, the distilled one for 6 from weights' in said
    assert 'the teacher, which was trained for 14 epochs' in said
    assert 'The refiner did not help: AP 53.0 without it. To pack the student alone: python ' in said
    assert 'pack.py out/runs/stage1 --config out/configs/plain_student.py --out out/student' in said
