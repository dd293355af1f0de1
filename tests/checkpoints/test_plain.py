"""Whatever is read from a file consists of plain values, made anew."""

import io
import pickle
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer
from mmengine.utils import digit_version

from mmpose_tskd.checkpoints import NotPlainError, read_checkpoint, reading, to_plain
from mmpose_tskd.errors import UserError

LEAVES = (str, int, float, bool, type(None))


def is_plain(value, within=()):
    if type(value) in LEAVES:
        return True
    if type(value) is torch.Tensor:
        whole = value.layout == torch.strided and value.nbytes <= value.untyped_storage().nbytes()
        return whole and not vars(value) and value._backward_hooks is None
    if id(value) in within:
        return False
    if type(value) in (list, tuple):
        return all(is_plain(part, (*within, id(value))) for part in value)
    keys = type(value) is dict and all(type(key) in LEAVES for key in value)
    return keys and all(is_plain(part, (*within, id(value))) for part in value.values())


def test_known_kinds_become_plain_and_the_rest_stays():
    tensor = torch.ones(1)
    value = OrderedDict(
        a=np.arange(3),
        b=(np.float32(1.5), [np.int64(2)]),
        c=tensor,
        d='text',
        e=None,
        f=Counter('aab'),
        g=torch.Size([2]),
    )
    plain = to_plain(value)
    assert plain == dict(a=[0, 1, 2], b=(1.5, [2]), c=tensor, d='text', e=None, f=dict(a=2, b=1), g=(2,))
    assert is_plain(plain) and plain['c'].data_ptr() == tensor.data_ptr()
    log = to_plain(HistoryBuffer([3.0, 4.0], [1, 1]))
    assert is_plain(log) and log['log'].tolist() == [3, 4]


def test_attributes_and_methods_of_a_file_are_left_behind():
    value = OrderedDict(a=1)
    value.items = value.pop = lambda *args: 'of the file'
    tensor = torch.nn.Parameter(torch.ones(2))
    tensor.note = value
    value['b'] = tensor
    plain = to_plain(value)
    assert is_plain(plain) and plain['a'] == 1 and not plain['b'].requires_grad


@pytest.mark.parametrize('name', ['detach', 'numel', 'element_size'])
def test_methods_that_a_file_sets_on_a_tensor_are_not_called(name, tmp_path):
    tensor = torch.ones(2)
    setattr(tensor, name, OrderedDict)
    torch.save(tensor, tmp_path / 'file.pth')
    read = read_checkpoint(str(tmp_path / 'file.pth'))
    assert is_plain(read) and read.tolist() == [1, 1]


@pytest.mark.parametrize('value', [np.ones(1, 'c8'), np.complex64(1), np.ones(1, np.longdouble), np.longdouble(1)])
def test_arrays_of_what_is_no_plain_number_are_refused(value, tmp_path):
    torch.save(value, tmp_path / 'file.pth')
    with pytest.raises(UserError, match='more than tensors and plain values'):
        read_checkpoint(str(tmp_path / 'file.pth'))


def test_what_stands_in_two_places_is_one():
    shared = [1]
    plain = to_plain(dict(a=shared, b=shared))
    assert plain['a'] is plain['b'] is not shared


def ring():
    value = []
    value.append(dict(a=value))
    return value


def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    'make, part',
    [
        (lambda: dict(a=[{1}]), "it['a'][0] is a builtins.set"),
        (lambda: [torch.float32], 'it[0] is a torch.dtype'),
        (lambda: {(1, 2): 1}, 'it has a tuple for a key'),
        (ring, 'holds itself'),
        (deep, 'nested too deeply'),
        (lambda: [torch.eye(2).to_sparse()], 'it[0] is a tensor of another kind'),
        (lambda: [torch.empty(2, device='meta')], 'it[0] is a tensor of another kind'),
        (lambda: [torch.ones(1).expand(1 << 50)], 'it[0] is a tensor that says it has more numbers'),
    ],
)
def test_anything_else_is_refused_by_its_place(make, part):
    with pytest.raises(NotPlainError) as error:
        to_plain(make())
    assert part in str(error.value)


def test_what_is_not_plain_is_left_out_of_a_trusted_file():
    assert to_plain(dict(a={1}, b=[1]), drop=True) == dict(a=None, b=[1])


# ---------------------------------------------------------------------------------------------------------------------
# fuzzing


def with_attributes(entries, attributes):
    value = OrderedDict(entries)
    vars(value).update(attributes)
    return value


def noted(tensor, name, note):
    tensor = tensor.clone()
    setattr(tensor, name, note)
    return tensor


names = st.sampled_from(['pop', 'config', '__class__', '\x1b', 'a'])  # no 'items', by which an OrderedDict is saved
numbers = st.integers(-3, 3)
tensors = st.sampled_from(
    [
        torch.ones(2),
        torch.tensor(0),
        torch.eye(2).to_sparse(),
        torch.ones(1).expand(9),
        torch.tensor([1j]),
        torch.zeros(0),
    ]
)
arrays = st.sampled_from(
    [np.ones(2), np.arange(4).reshape(2, 2).T, np.array(['a']), np.float32(1), np.array([None]), np.ones(1, 'c8')]
)
odd = st.sampled_from(
    [getattr, torch.float16, torch.device('cpu'), torch.Size([1]), b'a', 1j, {1}, bytearray(b'a'), OrderedDict]
)
leaves = st.none() | st.booleans() | numbers | st.floats() | st.text(max_size=3) | tensors | arrays | odd
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3)
    | st.tuples(inner, inner)
    | st.dictionaries(names | numbers | st.tuples(numbers), inner, max_size=3)
    | st.builds(with_attributes, st.dictionaries(names, inner, max_size=2), st.dictionaries(names, inner, max_size=2))
    | st.builds(noted, tensors, st.sampled_from(['note', 'detach', 'numel']), inner)
    | st.builds(lambda logs: HistoryBuffer(logs, [1] * len(logs)), st.lists(st.floats(0, 1), max_size=2)),
    max_leaves=8,
)
once = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read_or_refuse(path):
    try:
        content = read_checkpoint(str(path))
    except UserError:
        return False
    assert is_plain(content), content
    return True


@once
@given(value=values)
def test_of_what_torch_saves(value, tmp_path):
    torch.save(value, tmp_path / 'random.pth')
    assert read_or_refuse(tmp_path / 'random.pth') or not is_plain(value)


GLOBALS = [
    *(
        'collections OrderedDict',
        'collections Counter',
        'builtins getattr',
        'builtins set',
        'builtins eval',
        'os system',
    ),
    *('numpy ndarray', 'numpy dtype', 'numpy._core.multiarray _reconstruct', 'numpy._core.multiarray scalar'),
    *('mmengine.logging.history_buffer HistoryBuffer', 'torch Tensor', 'torch Size', 'torch.nn.parameter Parameter'),
    *('torch._utils _rebuild_tensor_v2', 'torch._utils _rebuild_parameter', 'torch._tensor _rebuild_from_type_v2'),
    *('torch FloatStorage', '_codecs encode', 'torch device'),
]
operations = st.sampled_from(
    [
        *(f'c{name.replace(" ", chr(10))}\n'.encode() for name in GLOBALS),
        *(b'}', b']', b')', b'(', b't', b'\x85', b'\x86', b'\x87', b'R', b'R', b'R', b'b', b'b', b'\x81', b's', b'u'),
        *(b'a', b'e', b'N', b'\x88', b'K\x01', b'K\x02', b'q\x00', b'h\x00', b'q\x01', b'h\x01', b'Q', b'\x8f'),
        *(
            pickle.BINUNICODE + len(text).to_bytes(4, 'little') + text
            for text in (b'f4', b'<', b'pop', b'storage', b'cpu')
        ),
    ]
)


def crafted(path, program, again=False):
    """A file of torch's with another program in it; its last record twice, if ``again``."""
    content = io.BytesIO()
    torch.save(torch.ones(2), content)
    with zipfile.ZipFile(content) as whole, zipfile.ZipFile(path, 'w') as file:
        for name in whole.namelist():
            file.writestr(name, program if name.endswith('data.pkl') else whole.read(name))
        if again:
            file.writestr('other/data/0', bytes(1 << 20))


# MMPose's own torch is older than what checks the sizes, today's is newer
readers = pytest.mark.parametrize('checks_sizes', ['0', '99'], ids=['of_torch', 'own'])


@readers
@pytest.mark.parametrize('again', [False, True])
def test_a_tensor_cannot_reach_beyond_what_the_file_has_of_it(checks_sizes, again, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, 'CHECKS_SIZES', checks_sizes)
    if checks_sizes == '0' and digit_version(torch.__version__) < digit_version('2.13'):
        pytest.skip('torch lets it')
    content = io.BytesIO()
    torch.save(torch.ones(1 << 18), content)
    with zipfile.ZipFile(content) as file:
        program = file.read(next(name for name in file.namelist() if name.endswith('data.pkl')))
    crafted(tmp_path / 'crafted.pth', program, again)
    with pytest.raises(UserError, match='crafted.pth'):
        read_checkpoint(str(tmp_path / 'crafted.pth'))


@readers
@settings(once, max_examples=1000)
@given(program=st.lists(operations, max_size=25))
def test_of_what_is_pickled_by_hand(program, checks_sizes, tmp_path):
    crafted(tmp_path / 'crafted.pth', b'\x80\x02' + b''.join(program) + b'.')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, 'CHECKS_SIZES', checks_sizes)
        read_or_refuse(tmp_path / 'crafted.pth')
