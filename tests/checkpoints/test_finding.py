import os
import shutil

import pytest
import torch

from mmpose_tskd.checkpoints import find_checkpoint, find_resumable
from mmpose_tskd.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Two epochs, and the best one's weights."""
    for time, name in enumerate(['epoch_2.pth', 'epoch_10.pth', 'best_coco_AP_epoch_2.pth']):
        torch.save(dict(name=name), tmp_path / name)
        os.utime(tmp_path / name, (time, time))
    return tmp_path


@pytest.mark.parametrize('note', ['', 'gone/epoch_9.pth', None])
def test_where_the_note_does_not_help_the_newest_file_is_resumed_from(folder, note):
    if note is not None:
        (folder / 'last_checkpoint').write_text(note)
    assert find_resumable(str(folder)) == str(folder / 'epoch_10.pth')


@pytest.mark.parametrize('note', [b'\xff\xfe', b'x' * 5000, b'a\0b'])
def test_a_note_that_is_no_name_is_not_followed(folder, note):
    (folder / 'last_checkpoint').write_bytes(note)
    assert find_resumable(str(folder)) == str(folder / 'epoch_10.pth')


def test_what_is_last_is_told_by_its_iteration_not_by_the_clock(folder):
    """Which may be set back, and a copy has the times at which it was copied."""
    for name, iteration in {'epoch_2.pth': 20, 'epoch_10.pth': 100, 'interrupted.pth': 105}.items():
        torch.save(dict(meta=dict(iter=iteration)), folder / name)
        os.utime(folder / name, (1000 - iteration, 1000 - iteration))
    assert find_resumable(str(folder)) == str(folder / 'interrupted.pth')
    (folder / 'interrupted.pth').unlink()
    assert find_resumable(str(folder)) == str(folder / 'epoch_10.pth')


def test_a_path_too_long_is_none():
    with pytest.raises(UserError, match='there is no checkpoint or work folder xxx'):
        find_checkpoint('x' * 5000)


def test_the_newest_that_is_whole_is_resumed_from(folder):
    data = (folder / 'epoch_10.pth').read_bytes()
    (folder / 'epoch_10.pth').write_bytes(data[: len(data) // 2])
    assert find_resumable(str(folder)) == str(folder / 'epoch_2.pth')
    (folder / 'epoch_2.pth').write_bytes(b'')
    with pytest.raises(UserError, match='nothing to go on from: all of its checkpoints are damaged'):
        find_resumable(str(folder))


def test_a_note_of_what_is_not_there_is_no_reason_to_begin_anew(tmp_path):
    assert find_resumable(str(tmp_path)) is None
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_3.pth')
    with pytest.raises(UserError, match='epoch_3.pth, which .*last_checkpoint names, is not in it'):
        find_resumable(str(tmp_path))


def test_a_copied_work_folder_goes_on_from_its_own_files(tmp_path):
    first = tmp_path / 'first'
    first.mkdir()
    (first / 'epoch_1.pth').touch()
    (first / 'last_checkpoint').write_text(str(first / 'epoch_1.pth'))
    copied = shutil.copytree(first, tmp_path / 'copied')
    for find in (find_resumable, find_checkpoint):
        assert find(str(copied)) == str(copied / 'epoch_1.pth')


def test_the_best_is_found_then_the_last(folder):
    assert find_checkpoint(str(folder)) == str(folder / 'best_coco_AP_epoch_2.pth')
    (folder / 'best_coco_AP_epoch_2.pth').unlink()
    assert find_checkpoint(str(folder)) == str(folder / 'epoch_10.pth')


def test_a_missing_file_and_an_empty_work_folder_are_named(tmp_path):
    with pytest.raises(UserError, match='no checkpoint or work folder'):
        find_checkpoint(str(tmp_path / 'gone'))
    with pytest.raises(UserError, match='no best_.*has its run saved anything'):
        find_checkpoint(str(tmp_path))
