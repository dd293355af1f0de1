import pytest
import torch
from conftest import toy_teacher, train
from mmpose.models.backbones import HRNet
from mmpose.registry import MODELS
from torch import nn

from mmpose_tskd.errors import UserError
from mmpose_tskd.models.weight_selection import select_evenly, select_weights


def hrnet(width, num_modules=2):
    channels = [width * 2**i for i in range(4)]
    stages = {
        f'stage{n}': dict(
            num_modules=num_modules if n > 2 else 1,
            num_branches=n,
            block='BASIC',
            num_blocks=(1,) * n,
            num_channels=tuple(channels[:n]),
        )
        for n in (2, 3, 4)
    }
    stages['stage1'] = dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(1,), num_channels=(8,))
    return HRNet(extra=stages)


def test_every_second_entry_is_taken_along_each_dimension():
    values = torch.arange(24).reshape(4, 6)
    assert select_evenly(values, torch.Size([2, 3])).tolist() == [[0, 2, 4], [12, 14, 16]]
    assert select_evenly(values, values.shape) is values
    assert select_evenly(torch.arange(5), torch.Size([3])).tolist() == [0, 1, 3]


def test_a_network_of_the_same_size_becomes_its_teacher():
    student, teacher = hrnet(4), hrnet(4)
    teacher.bn1.running_mean.fill_(3.0)
    assert select_weights(student, teacher) == len(student.state_dict())
    for name, value in student.state_dict().items():
        assert torch.equal(value, teacher.state_dict()[name]), name


def test_the_channels_that_leave_a_layer_are_those_that_enter_the_next():
    """Where the teacher's other channels are silent, the student computes just what the teacher does."""
    teacher = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    student = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    teacher[1].running_var.uniform_(0.5, 2.0)
    teacher[3].weight.data[:, 1::2] = 0
    assert select_weights(student, teacher) == len(student.state_dict())
    image = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(student(image), teacher(image)[:, ::2])


def test_what_the_teacher_lacks_stays_as_it_is():
    student, teacher = hrnet(4, num_modules=2), hrnet(8, num_modules=1)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    taken = select_weights(student, teacher)
    assert 0 < taken < len(before)
    assert torch.equal(student.conv1.weight, teacher.conv1.weight)
    assert torch.equal(
        student.state_dict()['stage3.1.branches.0.0.conv1.weight'], before['stage3.1.branches.0.0.conv1.weight']
    )


@pytest.fixture
def started(make_config, teacher_checkpoint):
    """A distiller's config whose student starts from the teacher, and is taught nothing else."""
    cfg = make_config('stage1_structure.py')
    cfg.model.update(teacher=toy_teacher(), teacher_checkpoint=teacher_checkpoint, init_from_teacher=True)
    cfg.model.distill_losses = None
    cfg.model.type = 'PoseDistiller'
    return cfg


def test_a_student_starts_from_its_teacher_which_then_rests(started, teacher_checkpoint, monkeypatch):
    model = MODELS.build(started.model)
    model.init_weights()
    teacher = torch.load(teacher_checkpoint, weights_only=True)['state_dict']
    for name, value in model.state_dict().items():
        assert torch.equal(value, select_evenly(teacher[name], value.shape)), name
    monkeypatch.setattr(type(model.teacher), '__call__', lambda *args: pytest.fail('the teacher ran'))
    runner = train(started)
    assert runner.epoch == 2


def test_with_other_keypoints_the_head_starts_by_itself(started, tmp_path):
    torch.manual_seed(1)
    teacher = toy_teacher()
    teacher['head']['out_channels'] = 14
    torch.save(MODELS.build(teacher).state_dict(), tmp_path / 'teacher.pth')
    started.model.teacher = teacher
    started.model.teacher_checkpoint = str(tmp_path / 'teacher.pth')
    model = MODELS.build(started.model)
    model.init_weights()
    own, other = model.state_dict(), model.teacher.model.state_dict()
    first = 'backbone.conv1.weight'
    assert torch.equal(own[first], select_evenly(other[first], own[first].shape))
    assert not torch.equal(own['head.mlp_head_x.weight'], other['head.mlp_head_x.weight'])


@pytest.mark.parametrize('change', [dict(teacher=None), dict(student_checkpoint='student.pth')])
def test_there_is_one_start(started, change):
    started.model.update(change)
    with pytest.raises(UserError, match='model.init_from_teacher needs a model.teacher, and no student_checkpoint'):
        MODELS.build(started.model)


def test_a_teacher_of_another_family_is_refused(started, tmp_path):
    teacher = toy_teacher()
    teacher['backbone'] = dict(type='ResNet', depth=18, strides=(1, 1, 1, 1), dilations=(1, 1, 1, 1))
    teacher['head'].update(in_channels=512, out_channels=14)
    torch.save(MODELS.build(teacher).state_dict(), tmp_path / 'teacher.pth')
    started.model.teacher = teacher
    started.model.teacher_checkpoint = str(tmp_path / 'teacher.pth')
    started.model.backbone = dict(type='MobileNetV2', out_indices=(1,))
    started.model.head.in_channels = 24
    model = MODELS.build(started.model)
    with pytest.raises(UserError, match='networks of one family'):
        model.init_weights()
