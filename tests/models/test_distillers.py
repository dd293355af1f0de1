"""What a distiller is and keeps: the student's keys, a teacher that never moves, losses by name."""

import copy
import logging

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner
from mmpose.datasets.datasets import CocoDataset
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import MODELS
from torch._subclasses import FakeTensor, FakeTensorMode

from mmpose_tskd.errors import UserError
from mmpose_tskd.models.losses import progressive_pose_loss
from mmpose_tskd.poses import load_skeleton


def build(cfg, initialized=True):
    model = MODELS.build(cfg.model)
    metainfo = parse_pose_metainfo(dict(CocoDataset.METAINFO))
    MessageHub.get_current_instance().update_info('dataset_meta', metainfo)  # as a Runner does
    if initialized:
        model.init_weights()
    return model.train() or model


@pytest.fixture
def stage1(make_config):
    return make_config('stage1_structure.py')


@pytest.fixture
def student_checkpoint(make_config, tmp_path):
    """A stage-1 student's file."""
    model = build(make_config('stage1_structure.py'))
    path = tmp_path / 'student.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


@pytest.fixture
def stage2(make_config, student_checkpoint):
    return make_config('stage2_igpgcn.py', **{'model.student_checkpoint': student_checkpoint})


def snapshot(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(before, module):
    for name, value in module.state_dict().items():
        assert torch.equal(before[name], value), name


def step(model, batch):
    losses = model(**batch(model), mode='loss')
    total = sum(value for name, value in losses.items() if 'loss' in name)
    total.backward()
    return losses


def test_stage1_adds_up_the_task_loss_and_the_papers_three(stage1, batch):
    model = build(stage1)
    losses = step(model, batch)
    assert set(losses) == {'loss_kpt', 'acc_pose', 'loss_feat', 'loss_pose', 'loss_structure', 'distill_gamma'}
    assert all(value.isfinite() for value in losses.values())
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_stage1_terms_are_those_of_the_formulas(stage1, batch):
    """Each term as computed from the two networks by hand, in pixels, with α and β."""
    model = build(stage1).eval()
    inputs = batch(model)
    losses = model.loss(**inputs)
    student = model.reader(feats := model.extract_feat(inputs['inputs']), model.head(feats))
    teacher = model.teacher(inputs['inputs'])
    feat = model.distill_losses['loss_feat'].adapter(feats[-1])
    assert losses['loss_feat'].item() == pytest.approx(
        5e-5 * (feat - teacher.feats[-1]).square().sum().item() / 2, rel=1e-5
    )
    offset = (student.coords - teacher.coords)[:, 1:].abs().sum().item() / 2  # the first keypoint has no label anywhere
    assert losses['loss_pose'].item() == pytest.approx(0.1 * offset, rel=1e-4)
    limbs = load_skeleton('CocoDataset').edges()
    limbs = limbs[:, (limbs != 0).all(0)]
    lengths = [(pose[:, limbs[0]] - pose[:, limbs[1]]).norm(dim=-1) for pose in (student.coords, teacher.coords)]
    difference = (lengths[0] - lengths[1]).abs().sum().item() / 2
    assert losses['loss_structure'].item() == pytest.approx(0.1 * difference, rel=1e-4)


def test_alpha_and_beta_are_the_papers_where_a_config_says_nothing(stage1):
    for loss in stage1.model.distill_losses.values():
        loss.pop('loss_weight', None)
    assert [loss.loss_weight for loss in build(stage1).distill_losses.values()] == [5e-5, 0.1, 0.1]


def test_gamma_scales_the_distillation_losses_alone(stage1, batch):
    model = build(stage1).eval()
    inputs = batch(model)
    full = model.loss(**inputs)
    model.gamma.fill_(0.25)
    quarter = model.loss(**inputs)
    for name in ('loss_feat', 'loss_pose', 'loss_structure'):
        assert quarter[name].item() == pytest.approx(0.25 * full[name].item(), rel=1e-5)
    assert quarter['loss_kpt'].item() == pytest.approx(full['loss_kpt'].item())


def test_a_teacher_without_weight_does_not_run(stage1, batch, monkeypatch):
    model = build(stage1)
    model.has_state_hook = True
    model.set_gamma(0.0)
    monkeypatch.setattr(type(model.teacher), '__call__', lambda *args: pytest.fail('the teacher ran'))
    losses = model.loss(**batch(model))
    assert [losses[name].item() for name in ('loss_feat', 'loss_pose', 'loss_structure')] == [0, 0, 0]
    total, _ = model.parse_losses(losses)
    total.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)  # DDP waits for each


def test_a_teacher_whose_losses_weigh_nothing_does_not_run(stage1, batch, monkeypatch):
    for name in ('loss_feat', 'loss_pose', 'loss_structure'):
        stage1.model.distill_losses.setdefault(name, {})['loss_weight'] = 0.0
    model = build(stage1)
    monkeypatch.setattr(type(model.teacher), '__call__', lambda *args: pytest.fail('the teacher ran'))
    for gamma in (None, 1.0):
        if gamma is not None:
            model.set_gamma(gamma)
        losses = model.loss(**batch(model))
        assert [losses[name].item() for name in ('loss_feat', 'loss_pose', 'loss_structure')] == [0, 0, 0]


@pytest.mark.parametrize('gamma', [0.0, 1.0])
def test_a_loss_that_is_called_like_one_of_the_heads_is_refused(stage1, batch, gamma):
    stage1.model.distill_losses.loss_kpt = dict(type='PoseL1Loss', loss_weight=1.0)
    model = build(stage1)
    model.set_gamma(gamma)
    with pytest.raises(UserError, match="distill_losses.loss_kpt: the head's own losses have that name already"):
        model.loss(**batch(model))


@pytest.mark.parametrize('gamma', ['1', None, float('nan'), 2.0])
def test_a_gamma_that_is_none_is_refused(stage1, gamma):
    model = build(stage1)
    with pytest.raises(UserError, match='has γ = .*, no number in .0, 1.: it is damaged'):
        model.load_distill_state_dict(dict(model.distill_state_dict(), gamma=gamma))


def test_a_student_equal_to_its_teacher_has_nothing_to_learn_from_it(make_config, tmp_path, batch):
    cfg = make_config('stage1_structure.py')
    plain = MODELS.build(make_config('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py').model)
    torch.save(plain.state_dict(), tmp_path / 'same.pth')
    cfg.model.update(
        teacher=make_config('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py').model,
        teacher_checkpoint=str(tmp_path / 'same.pth'),
        student_checkpoint=str(tmp_path / 'same.pth'),
    )
    cfg.model.distill_losses.loss_feat.teacher_channels = 8
    model = build(cfg).eval()
    model.to(memory_format=torch.channels_last)  # as the teacher is: in another one they would differ by rounding
    adapter = model.distill_losses['loss_feat'].adapter
    adapter.weight.data = torch.eye(8)[..., None, None]
    adapter.bias.data.zero_()
    losses = model.loss(**batch(model))
    assert [losses[name].item() for name in ('loss_feat', 'loss_pose', 'loss_structure')] == [0, 0, 0]


def test_the_head_runs_once_a_step(stage1, batch, monkeypatch):
    model = build(stage1)
    calls = []
    original = type(model.head).forward
    monkeypatch.setattr(type(model.head), 'forward', lambda self, feats: calls.append(self) or original(self, feats))
    step(model, batch)
    assert len([c for c in calls if c is model.head]) == 1


def test_losses_are_left_out_and_added_by_name(make_config):
    cfg = make_config('stage1_structure.py')
    cfg.model.distill_losses.loss_pose = None
    cfg.model.distill_losses.loss_more = dict(type='PoseL1Loss', loss_weight=1.0)
    assert set(build(cfg).distill_losses) == {'loss_feat', 'loss_structure', 'loss_more'}


def test_teacher_is_no_part_of_the_student(stage1, batch):
    model = build(stage1)
    assert model.teacher.model is not None
    plain = dict(stage1.model, type='TopdownPoseEstimator')
    for key in ('teacher', 'teacher_checkpoint', 'distill_losses', 'temperature'):
        plain.pop(key)
    plain = MODELS.build(plain)
    assert list(model.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(model.state_dict(), strict=True)
    adapters = list(model.distill_losses.parameters())
    assert len(list(model.parameters())) == len(list(plain.parameters())) + len(adapters)


def test_teacher_batchnorm_never_moves(stage1, batch):
    model = build(stage1)
    before = snapshot(model.teacher.model)
    for _ in range(3):
        step(model, batch)
        model.train()
    assert_same(before, model.teacher.model)
    assert not any(p.requires_grad for p in model.teacher.model.parameters())
    assert all(p.grad is None for p in model.teacher.model.parameters())


def test_teacher_follows_the_student_to_another_dtype_and_memory_format(stage1):
    model = build(stage1)
    model.to(memory_format=torch.channels_last)
    assert model.teacher.model.backbone.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    model.to(torch.float64)
    answer = model.teacher(torch.rand(1, 3, *model.head.input_size[::-1], dtype=torch.float64))
    assert answer.feats[0].dtype == torch.float64 and answer.coords.isfinite().all()


def test_a_copy_of_the_model_does_not_copy_the_teacher(stage1):
    model = build(stage1)
    assert copy.deepcopy(model).teacher.model is model.teacher.model


def test_the_student_starts_from_the_weights_it_would_have_without_a_teacher(stage1):
    torch.manual_seed(3)
    distilled = build(stage1)
    plain_cfg = dict(stage1.model, type='TopdownPoseEstimator')
    for key in ('teacher', 'teacher_checkpoint', 'distill_losses', 'temperature'):
        plain_cfg.pop(key)
    torch.manual_seed(3)
    plain = MODELS.build(plain_cfg)
    plain.init_weights()
    assert_same(snapshot(plain), distilled)


def test_testing_needs_no_teacher_file(stage1, batch):
    stage1.model.update(teacher='gone/config.py', teacher_checkpoint='gone.pth')
    model = build(stage1, initialized=False).eval()
    with torch.no_grad():
        assert len(model(**batch(model), mode='predict')) == 2


def test_stage2_trains_the_refiner_alone(stage2, batch):
    model = build(stage2)
    before = snapshot(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        losses = step(model, batch)
        optimizer.step()
        model.train()
    assert set(losses) == {'loss_refine', 'distill_gamma'}
    for name, value in model.state_dict().items():
        if name.startswith(('backbone.', 'head.base_head.')):
            assert torch.equal(before[name], value), name
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained and all(name.startswith('head.') and '.base_head.' not in name for name in trained)
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert not any(torch.equal(before[name], model.state_dict()[name]) for name in trained)


def test_stage2_starts_from_the_student_of_stage1(stage2, make_config, student_checkpoint, batch):
    refined, student = build(stage2).eval(), build(make_config('stage1_structure.py'), initialized=False)
    student.load_state_dict(torch.load(student_checkpoint)['state_dict'])
    student.eval()
    with torch.no_grad():
        inputs = batch(refined)['inputs']
        expected = student.reader((), student.head(student.extract_feat(inputs))).peaks
        refined_pose = refined.head(refined.extract_feat(inputs)).refined[-1]
    assert torch.allclose(refined_pose, expected, atol=1e-4)


def test_stage2_of_a_work_folder_takes_the_best_checkpoint(stage2, student_checkpoint, tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    torch.save(dict(state_dict=dict(bad=torch.ones(1))), folder / 'epoch_1.pth')
    (folder / 'last_checkpoint').write_text('/moved/away/epoch_1.pth')
    torch.save(torch.load(student_checkpoint), folder / 'best_coco_AP_epoch_1.pth')
    stage2.model.student_checkpoint = str(folder)
    build(stage2)
    (folder / 'best_coco_AP_epoch_1.pth').rename(folder / 'epoch_1.pth')
    build(stage2)


def labeled(cfg):
    cfg.train_dataloader.dataset.pipeline[-1].pack_transformed = True
    return next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))


def test_a_frozen_student_is_refined_on_labels_without_a_teacher(make_config, student_checkpoint):
    """Scheme 1 of the paper's ablation: Eq. 7 with the labels in the teacher's place."""
    cfg = make_config('stage2_igpgcn.py', **{'model.student_checkpoint': student_checkpoint})
    cfg.model.update(teacher=None, teacher_checkpoint=None, distill_losses=None, task_loss=True)
    model = build(cfg)
    inputs = model.data_preprocessor(labeled(cfg), True)
    losses = model.loss(**inputs)
    assert set(losses) == {'loss_refine'}
    truth = [s.gt_instances for s in inputs['data_samples']]
    coords = torch.cat([torch.from_numpy(t.transformed_keypoints) for t in truth]).float()
    visible = torch.cat([torch.from_numpy(t.keypoints_visible) for t in truth])
    poses = model.head(model.extract_feat(inputs['inputs'])).refined
    expected = progressive_pose_loss(poses, coords, (visible > 0).float(), (64, 96))
    assert visible[:, 0].sum() == 0 and losses['loss_refine'].item() == pytest.approx(expected.item(), rel=1e-4)


def test_refining_on_labels_that_are_not_packed_says_what_to_write(stage2, batch):
    stage2.model.update(teacher=None, distill_losses=None, task_loss=True)
    model = build(stage2)
    with pytest.raises(UserError, match='pack_transformed=True'):
        model.loss(**batch(model))


def test_student_and_refiner_train_jointly_when_nothing_is_frozen(make_config):
    cfg = make_config('tskd/coco/simcc_hrnet-w32-igpgcn_coco-256x192.py')
    model = build(cfg)
    losses = model.loss(**model.data_preprocessor(labeled(cfg), True))
    assert set(losses) == {'loss_refine', 'loss_kpt', 'acc_pose'}
    (losses['loss_refine'] + losses['loss_kpt']).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def tampered(path, tmp_path, change):
    weights = torch.load(path)['state_dict']
    change(weights)
    torch.save(dict(state_dict=weights), tmp_path / 'tampered.pth')
    return str(tmp_path / 'tampered.pth')


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda w: w.pop('head.mlp_head_x.weight'), r'1 missing: head.base_head.mlp_head_x.weight'),
        (lambda w: w.update(extra=torch.ones(1)), r'1 left over: extra'),
        (
            lambda w: w.update({'head.mlp_head_x.bias': torch.ones(3)}),
            r'1 of another shape: head.base_head.mlp_head_x.bias \(\(3,\) in the file, \(128,\) in the model\)',
        ),
        (
            lambda w: w['backbone.conv1.weight'].fill_(float('nan')),
            r'NaN or infinite weights \(backbone.conv1.weight\)',
        ),
    ],
)
def test_stage2_refuses_a_student_that_does_not_fit(stage2, student_checkpoint, tmp_path, change, message):
    stage2.model.student_checkpoint = tampered(student_checkpoint, tmp_path, change)
    with pytest.raises(UserError, match=message):
        build(stage2)


def test_stage2_refuses_a_refined_model_as_student(stage2, tmp_path):
    torch.save(dict(state_dict=build(stage2).state_dict()), tmp_path / 'refined.pth')
    stage2.model.student_checkpoint = str(tmp_path / 'refined.pth')
    with pytest.raises(UserError, match='refined model already'):
        build(stage2)


def test_one_error_names_all_files_that_are_missing_and_how_to_get_them(stage2):
    stage2.model.update(teacher='configs/w48.py', teacher_checkpoint='no/teacher.pth', student_checkpoint='no/student')
    with pytest.raises(UserError) as error:
        build(stage2)
    for part in (
        'no/student',
        'model.student_checkpoint=',
        'tools/train.py configs/stage1_structure.py',
        'no/teacher.pth',
        'tools/train.py configs/w48.py',
        'tools/convert_simcc_checkpoint.py model_best.pth no/teacher.pth',
    ):
        assert part in str(error.value)


NO_LOSSES = dict(loss_feat=None, loss_pose=None, loss_structure=None)


def set_model(**changes):
    def change(cfg):
        for path, value in changes.items():
            *parents, last = path.split('__')
            target = cfg.model
            for key in parents:
                target = target[key]
            target[last] = value

    return change


@pytest.mark.parametrize(
    'change, message',
    [
        (set_model(teacher_checkpoint=None), 'teacher_checkpoint is not set'),
        (set_model(teacher='no/such/config.py'), 'model.teacher: there is no config no/such/config.py'),
        (set_model(metainfo='CrowdPoseDataset'), 'model.metainfo has 14 keypoints, the student 17'),
        (set_model(teacher__head__decoder__input_size=(96, 128)), r'sees images of \(96, 128\) .* one shape'),
        (set_model(teacher__backbone__extra__stage2__num_channels=[16, 32]), 'does not fit teacher'),
        (set_model(teacher=None), 'distill_losses needs a model.teacher'),
        (set_model(task_loss=False, distill_losses=NO_LOSSES), 'model.task_loss is False and .* nothing to train'),
        (set_model(teacher=None, task_loss=False, distill_losses=NO_LOSSES), 'model.task_loss is False and .* nothing'),
        (set_model(temperature=0), 'model.temperature divides logits and must be above 0'),
        (set_model(frozen=('backbone', 'shoulder')), "no module 'shoulder'"),
        (set_model(distill_losses__loss_pose__typo=1), 'model.distill_losses.loss_pose.*typo'),
        (set_model(distill_losses__loss_pose__type='NoLoss'), 'model.distill_losses.loss_pose.*NoLoss'),
        (set_model(distill_losses__pose=dict(type='PoseL1Loss')), 'distill_losses.pose: a name must contain'),
        (set_model(distill_losses__loss_structure__metainfo='CocoDataset'), 'loss_structure.*metainfo'),
    ],
)
def test_mistakes_in_the_config_are_named(stage1, change, message):
    change(stage1)
    with pytest.raises(UserError, match=message):
        build(stage1)


def test_a_teacher_that_finds_nothing_is_reported_once(stage1, batch):
    records, handler = [], logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    MMLogger.get_current_instance().addHandler(handler)
    model = build(stage1)
    inputs = batch(model)
    for _ in range(17):  # of two instances each
        model.loss(**inputs)
    MMLogger.get_current_instance().removeHandler(handler)
    assert len([r for r in records if 'knows little of these data' in r]) == 1


@pytest.mark.parametrize('stage', ['stage1', 'stage2'])
def test_a_step_never_waits_for_the_device(stage, batch, request):
    """Fake tensors have no values: an ``item()`` or a NumPy array on the way would raise."""
    model = build(request.getfixturevalue(stage))
    inputs = batch(model)
    model.learn_joints()
    model.teacher_check.is_done = True  # which looks at the first batches
    with FakeTensorMode(allow_non_fake_inputs=True):
        losses = model.loss(**inputs)
    assert all(isinstance(value, FakeTensor) for name, value in losses.items() if name != 'distill_gamma')


# Of these the gradient has no deterministic form on a GPU (see torch.use_deterministic_algorithms).
UNSTEADY = (
    'AdaptiveAvgPool', 'AdaptiveMaxPool', 'Cumsum', 'GridSampler', 'Kthvalue', 'Median', 'NllLoss2D', 'Put',
    'ReflectionPad', 'ReplicationPad', 'UpsampleBicubic', 'UpsampleBilinear2DAa',
)  # fmt: skip


@pytest.mark.parametrize('stage', ['stage1', 'stage2'])
def test_a_step_is_deterministic(stage, batch, request):
    model = build(request.getfixturevalue(stage))
    inputs = batch(model)
    torch.use_deterministic_algorithms(True)
    try:
        losses = model.loss(**inputs)
        total = sum(value for name, value in losses.items() if 'loss' in name)
        total.backward()
    finally:
        torch.use_deterministic_algorithms(False)
    found, waiting = set(), [total.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting.extend(before for before, _ in node.next_functions)
    names = {node.name() for node in found}
    assert 'ConvolutionBackward0' in names and [name for name in names if name.startswith(UNSTEADY)] == []


def test_a_frozen_students_features_have_no_graph(stage2, batch):
    model = build(stage2)
    feats = model.extract_feat(batch(model)['inputs'])
    assert not any(feat.requires_grad for feat in feats)
    assert not any(output.requires_grad for output in model.head.base_head.forward(feats))
