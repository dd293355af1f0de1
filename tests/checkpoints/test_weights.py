import pytest
import torch
from torch import nn

from mmpose_tskd.checkpoints import check_finite, find_weights, load_strictly
from mmpose_tskd.errors import UserError


def filled(**changes):
    module = nn.BatchNorm1d(2)
    load_strictly(module, {**nn.BatchNorm1d(2).state_dict(), **changes}, 'file.pth', 'model')
    return module


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_any_precision_fit(dtype):
    assert filled(weight=torch.tensor([0.5, 2.0], dtype=dtype)).weight.tolist() == [0.5, 2.0]


@pytest.mark.parametrize('dtype', [torch.int8, torch.bool, torch.complex64, torch.int64])
def test_other_numbers_do_not(dtype):
    with pytest.raises(UserError, match=r'1 of another kind of number: weight \(torch\..* in the file, torch.float32'):
        filled(weight=torch.ones(2, dtype=dtype))
    with pytest.raises(UserError, match='num_batches_tracked'):
        filled(num_batches_tracked=torch.tensor(1.0))


def test_a_negative_variance_is_damage():
    with pytest.raises(UserError, match='a negative variance .running_var.'):
        filled(running_var=torch.tensor([1.0, -1.0]))


@pytest.mark.parametrize('name', ['module.a', 'keypoint_head.a'])
def test_two_weights_by_one_name_are_refused(name):
    own = name.replace('module.', '').replace('keypoint_', '')
    with pytest.raises(UserError, match=f'file.pth has two weights by the name {own}'):
        find_weights({own: torch.ones(1), name: torch.zeros(1)}, 'file.pth')


def test_lists_that_share_their_parts_are_looked_at_once():
    value = [torch.ones(1)]
    for _ in range(50):
        value = [value, value]
    check_finite(value, 'file.pth', 'optimizer')


def test_a_number_that_is_nan():
    check_finite(dict(growth_rate=float('inf'), weight=torch.ones(1)), 'file.pth', 'optimizer')
    with pytest.raises(UserError, match='infinite weights .optimizer.0.lr'):
        check_finite([dict(lr=float('nan'))], 'file.pth', 'optimizer')
