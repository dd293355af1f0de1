import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import train
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from mmpose_tskd.checkpoints import find_checkpoint, load_weights, read_checkpoint, replace_loaders
from mmpose_tskd.errors import UserError


class Malicious:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('was_run').touch()",))


def test_weights_are_found_bare_nested_and_behind_ddp(tmp_path):
    for name, content in dict(bare={'a': torch.ones(1)}, nested={'state_dict': {'module.a': torch.ones(1)}}).items():
        torch.save(content, tmp_path / name)
        assert load_weights(str(tmp_path / name)) == {'a': torch.ones(1)}
    torch.save(dict(state_dict={'a': torch.ones(1)}, best_state_dict={'a': torch.zeros(1)}), tmp_path / 'both')
    assert load_weights(str(tmp_path / 'both'), ('best_state_dict', 'state_dict'))['a'] == 0


def test_code_in_a_checkpoint_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(state_dict={'a': torch.ones(1)}, extra=Malicious()), 'bad.pth')
    with pytest.raises(UserError, match='bad.pth is not loaded.*could run code'):
        load_weights('bad.pth')
    with open('old.pth', 'wb') as file:
        pickle.dump(Malicious(), file)
    with pytest.raises(UserError, match='old.pth'):
        load_weights('old.pth')
    assert not (tmp_path / 'was_run').exists()


def test_torchs_own_switches_do_not_let_code_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    torch.save(dict(state_dict={'a': torch.ones(1)}, extra=Malicious()), 'bad.pth')
    replace_loaders()
    with pytest.raises(UserError, match='bad.pth is not loaded.*could run code'):
        CheckpointLoader.load_checkpoint('bad.pth')
    assert not (tmp_path / 'was_run').exists() and os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] == '1'


def test_a_checkpoint_of_plain_mmpose_is_loaded(make_config):
    """It has NumPy arrays in its metainfo, and logs with methods in them."""
    cfg = make_config('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py')
    cfg.custom_hooks = [dict(type='SyncBuffersHook')]
    runner = train(cfg)
    path = f'{cfg.work_dir}/epoch_2.pth'
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    weights, own = load_weights(path), runner.model.state_dict()
    assert weights.keys() == own.keys() and all(torch.equal(weights[name], own[name]) for name in own)


class Fetches:
    """As a log's pickle does."""

    def __reduce__(self):
        return (getattr, (HistoryBuffer, 'mean'))


def test_a_method_that_a_log_names_is_not_fetched(tmp_path):
    torch.save(dict(a=Fetches()), tmp_path / 'fetches.pth')
    assert read_checkpoint(str(tmp_path / 'fetches.pth')) == dict(a=None)


def test_what_mmengine_puts_beside_the_weights_is_read_as_numbers(tmp_path):
    log = HistoryBuffer([1.0, 2.0], [1, 1])
    content = dict(
        array=np.arange(6, dtype=np.float32).reshape(2, 3).T,
        big=np.arange(2, dtype='>i8'),
        scalar=np.float64(0.5),
        log=log,
    )
    torch.save(content, tmp_path / 'mmengines.pth')
    read = read_checkpoint(str(tmp_path / 'mmengines.pth'))
    assert read['array'] == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]] and read['big'] == [0, 1] and read['scalar'] == 0.5
    assert read['log']['log'].tolist() == [1, 2] and read['log']['count'].tolist() == [1, 1]


class Scalar:
    """An object at an address that the file chooses."""

    def __reduce__(self):
        return (np.float32(1).__reduce__()[0], (Crafted('O8', (3, '|', None, None, None, -1, -1, 0)), b'AAAAAAAA'))


class Crafted:
    """A NumPy type with a state of the file's choice."""

    def __init__(self, code, state):
        self.code, self.state = code, state

    def __reduce__(self):
        return (np.dtype, (self.code, False, True), self.state)


class Array:
    def __init__(self, *state):
        self.state = state

    def __reduce__(self):
        return (np.ones(1).__reduce__()[0], (np.ndarray, (0,), b'b'), self.state)


def test_crafted_arrays_are_refused_or_numbers(tmp_path):
    """In a process of its own: NumPy reads memory at the file's address where it takes such a state."""
    subdtype = (3, '|', (np.dtype('O'), (1,)), None, None, -1, -1, 0)
    crafted = dict(
        scalar=Scalar(),
        subdtype=Array(1, (1,), Crafted('u1', subdtype), False, b'A'),
        objects=Array(1, (1,), np.dtype('O'), False, [Malicious()]),
        short=Array(1, (9,), np.dtype('f4'), False, b'1234'),
        negative=Array(1, (-1,), np.dtype('f4'), False, b'1234'),
    )
    for name, content in crafted.items():
        torch.save(dict(state_dict={'a': torch.ones(1)}, extra=content), tmp_path / f'{name}.pth')
    code = """
import sys
from mmpose_tskd.checkpoints import load_weights
for path in sys.argv[1:]:
    try:
        load_weights(path)
    except Exception as error:
        print(error)
"""
    paths = [str(tmp_path / f'{name}.pth') for name in crafted]
    outcome = subprocess.run([sys.executable, '-c', code, *paths], capture_output=True, text=True, cwd=tmp_path)
    assert outcome.returncode == 0, outcome
    refused = {name for name in crafted if f'{name}.pth is not loaded' in outcome.stdout}
    assert refused == {'scalar', 'objects', 'short'}, outcome.stdout  # the others are bytes, which are read as numbers
    assert not (tmp_path / 'was_run').exists()


@pytest.mark.skipif(not hasattr(torch.serialization, 'add_safe_globals'), reason='of torch from 2.4 on')
def test_what_a_load_admits_is_forgotten_after_it(tmp_path):
    torch.save(dict(a=np.ones(1)), tmp_path / 'array.pth')
    torch.serialization.add_safe_globals([Malicious])  # somebody else's
    before = set(torch.serialization.get_safe_globals())
    assert read_checkpoint(str(tmp_path / 'array.pth')) == dict(a=[1.0])
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'array.pth', weights_only=True)


def test_threads_read_at_the_same_time(tmp_path):
    torch.save(dict(a=np.ones(1)), tmp_path / 'array.pth')
    before = dict(os.environ)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(read_checkpoint, [str(tmp_path / 'array.pth')] * 100))
    assert read == [dict(a=[1.0])] * 100 and dict(os.environ) == before


def test_an_import_leaves_mmengines_loaders_alone():
    code = """
import mmpose_tskd
from mmengine.runner.checkpoint import CheckpointLoader, load_from_http, load_from_local
assert CheckpointLoader._schemes[''] is load_from_local and CheckpointLoader._schemes['https://'] is load_from_http
"""
    subprocess.run([sys.executable, '-c', code], check=True)


def test_the_head_of_a_checkpoint_from_before_mmpose_1_is_renamed(tmp_path):
    torch.save({'state_dict': {'keypoint_head.final_layer.weight': torch.ones(1)}}, tmp_path / 'old.pth')
    assert set(load_weights(str(tmp_path / 'old.pth'))) == {'head.final_layer.weight'}


def test_a_truncated_file_is_named(tmp_path):
    torch.save({'a': torch.ones(1000)}, tmp_path / 'cut.pth')
    data = (tmp_path / 'cut.pth').read_bytes()
    (tmp_path / 'cut.pth').write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match='cut.pth cannot be read'):
        load_weights(str(tmp_path / 'cut.pth'))


@pytest.mark.parametrize('content', [{}, [1, 2], {'meta': 'x'}, {'state_dict': {}}])
def test_a_file_without_weights_is_named(tmp_path, content):
    torch.save(content, tmp_path / 'none.pth')
    with pytest.raises(UserError, match='none.pth holds no weights'):
        load_weights(str(tmp_path / 'none.pth'))


def write_weights(path, number=1000):
    torch.save({'state_dict': {'a': torch.linspace(0, 1, number)}}, path)


def test_a_flipped_bit_and_zeroed_bytes_are_noticed(tmp_path):
    path = tmp_path / 'weights.pth'
    write_weights(path)
    data = path.read_bytes()
    place = data.index(torch.linspace(0, 1, 1000).numpy().tobytes()) + 2000
    for damage in (bytes([data[place] ^ 64]), bytes(2000)):
        path.write_bytes(data[:place] + damage + data[place + len(damage) :])
        with pytest.raises(UserError, match='weights.pth cannot be read .*not those that were written'):
            read_checkpoint(str(path))
    path.write_bytes(data)
    assert set(read_checkpoint(str(path))['state_dict']) == {'a'}


def test_archives_that_torch_runs_whatever_it_is_told_are_refused(tmp_path):
    """torch before 2.6 unpickles a tar archive in full, and a TorchScript program is one."""
    with tarfile.open(tmp_path / 'old.pth', 'w') as archive:
        archive.add(__file__, 'pickle')
    torch.jit.script(torch.nn.ReLU()).save(str(tmp_path / 'program.pth'))
    for name, what in {'old.pth': 'tar format', 'program.pth': 'TorchScript'}.items():
        with pytest.raises(UserError, match=f'{name} is not loaded.*{what}'):
            read_checkpoint(str(tmp_path / name))


def test_mmengine_is_given_no_config_to_run(tmp_path):
    """As it does when a run is resumed, also one without a hook of ours."""
    meta = OrderedDict(config='print()', epoch=1)
    meta.pop = getattr  # a dictionary's own method may be the file's
    torch.save(dict(meta=meta, state_dict={}), tmp_path / 'resumed.pth')
    replace_loaders()
    assert CheckpointLoader.load_checkpoint(str(tmp_path / 'resumed.pth'))['meta'] == dict(epoch=1)


def test_a_name_in_a_file_tells_the_terminal_nothing(tmp_path):
    torch.save({'a': {'\x1b[2J\u202e': {1, 2}}}, tmp_path / 'escapes.pth')
    with pytest.raises(UserError) as error:
        read_checkpoint(str(tmp_path / 'escapes.pth'))
    assert 'x1b[2J' in str(error.value) and str(error.value).isprintable()


def test_a_url_is_downloaded_once_and_loaded_as_safely(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    torch.save({'a': torch.ones(1)}, tmp_path / 'good.pth')
    torch.save({'a': Malicious()}, tmp_path / 'bad.pth')
    downloads = []

    def download(url, target):
        downloads.append(url)
        shutil.copy(tmp_path / url.rsplit('/', 1)[1], target)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    url = 'https://example.org/models/good.pth'
    assert find_checkpoint(url) == url
    assert load_weights(url) == load_weights(url) == {'a': torch.ones(1)}
    assert downloads == [url]
    torch.save({'b': torch.ones(1)}, tmp_path / 'good.pth')
    assert set(load_weights('https://example.org/others/good.pth')) == {'b'}  # another file of the same name
    with pytest.raises(UserError, match='bad.pth is not loaded'):
        load_weights('https://example.org/bad.pth')


def test_a_download_that_was_cut_off_is_fetched_again(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    write_weights(tmp_path / 'model.pth')
    contents = [(tmp_path / 'model.pth').read_bytes()[:-500], (tmp_path / 'model.pth').read_bytes()]
    monkeypatch.setattr(
        torch.hub, 'download_url_to_file', lambda url, target: open(target, 'wb').write(contents.pop(0))
    )
    with pytest.raises(UserError, match='cannot be read.*get it again'):
        load_weights('https://example.org/model.pth')
    assert set(load_weights('https://example.org/model.pth')) == {'a'}


def test_one_of_several_processes_downloads(tmp_path, monkeypatch):
    """As all ranks of a distributed run want the teacher."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    write_weights(tmp_path / 'model.pth')

    def download(url, target):
        time.sleep(0.3)
        (tmp_path / f'fetched_by_{os.getpid()}').touch()
        shutil.copy(tmp_path / 'model.pth', target)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    context = multiprocessing.get_context('fork')
    ranks = [context.Process(target=load_weights, args=('https://example.org/model.pth',)) for _ in range(3)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert [rank.exitcode for rank in ranks] == [0, 0, 0] and len(list(tmp_path.glob('fetched_by_*'))) == 1


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'pipe.pth')
    for file in (tmp_path / 'pipe.pth', '/dev/zero'):
        with pytest.raises(UserError, match='cannot be read .it is no regular file'):
            read_checkpoint(str(file))
