import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import train
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from mmpose_tskd.checkpoints import find_checkpoint, find_resumable, load_weights, mmengines_globals
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
    with mmengines_globals():
        assert torch.load(tmp_path / 'fetches.pth', weights_only=True) == dict(a=None)


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


def test_crafted_arrays_are_refused(tmp_path):
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
    refused = [line for line in outcome.stdout.splitlines() if 'is not loaded' in line]
    assert len(refused) == len(crafted), outcome.stdout
    assert not (tmp_path / 'was_run').exists()


def test_what_a_load_admits_is_forgotten_after_it_and_kept_within_another():
    before = set(torch.serialization.get_safe_globals())
    with mmengines_globals():
        within = set(torch.serialization.get_safe_globals())
        with mmengines_globals():
            pass
        assert set(torch.serialization.get_safe_globals()) == within != before
    assert set(torch.serialization.get_safe_globals()) == before


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


@pytest.mark.parametrize('note', ['', 'gone/epoch_9.pth', None])
def test_where_the_note_does_not_help_the_newest_file_is_resumed_from(tmp_path, note):
    for time, name in enumerate(['epoch_2.pth', 'epoch_10.pth', 'best_coco_AP_epoch_2.pth']):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time, time))
    if note is not None:
        (tmp_path / 'last_checkpoint').write_text(note)
    assert find_resumable(str(tmp_path)) == str(tmp_path / 'epoch_10.pth')


def test_a_copied_work_folder_goes_on_from_its_own_files(tmp_path):
    first = tmp_path / 'first'
    first.mkdir()
    (first / 'epoch_1.pth').touch()
    (first / 'last_checkpoint').write_text(str(first / 'epoch_1.pth'))
    copied = shutil.copytree(first, tmp_path / 'copied')
    for find in (find_resumable, find_checkpoint):
        assert find(str(copied)) == str(copied / 'epoch_1.pth')


def test_a_missing_file_and_an_empty_work_folder_are_named(tmp_path):
    with pytest.raises(UserError, match='no checkpoint or work folder'):
        find_checkpoint(str(tmp_path / 'gone'))
    with pytest.raises(UserError, match='no best_.*has its run saved anything'):
        find_checkpoint(str(tmp_path))


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
