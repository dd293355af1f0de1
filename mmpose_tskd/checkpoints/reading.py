"""Reads checkpoints of others: their tensors, numbers and text, and no code that they may hold."""

import hashlib
import logging
import pickle
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator
from urllib.parse import urlparse

import mmengine.runner.checkpoint as mmengines
import torch
from mmengine.fileio import get_local_path
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from mmengine.utils import digit_version

from ..errors import UserError
from . import old_torch
from .locks import locked
from .plain import STAND_INS, NotPlainError, to_plain

CHECKS_SIZES = '2.13'  # the torch from which on we rely on its own tensors-only reading
_admitting = threading.Lock()  # torch's list of what it admits is one for all threads
_trusts = False  # whether --trust-checkpoint is given


@contextmanager
def trusting_checkpoints(trusts: bool) -> Iterator[None]:
    """If ``trusts``, checkpoints are loaded in full inside the block, with code that they may hold; the log says so."""
    global _trusts
    _trusts = trusts
    try:
        yield
    finally:
        _trusts = False


def is_url(source: str) -> bool:
    return source.startswith(('http://', 'https://'))


def read_checkpoint(source: str, map_location: Any = 'cpu') -> Any:
    """Reads a checkpoint into plain values (:func:`to_plain`), without running any code from it.

    The archive's checksums are verified. torch reads it tensors-only; the arrays and logs that MMEngine stores beside
    the weights become numbers. Before torch 2.13, :mod:`.old_torch` does the same. Inside
    :func:`trusting_checkpoints`, the file is loaded in full, and what is not plain becomes None.

    Args:
        source: A file, or a URL of what MMEngine's file backends can fetch.
        map_location: As in :func:`torch.load`.

    Raises:
        UserError: It does not exist, is damaged, or holds more than tensors and plain values.
    """
    try:
        if is_url(source):
            return _read(_download(source), map_location)
        with get_local_path(source) as path:
            return _read(Path(path).expanduser(), map_location)
    except FileNotFoundError as error:
        raise UserError(f'there is no checkpoint {source}') from error
    except Exception as error:  # torch's readers raise all kinds, of bytes that somebody chose
        if is_url(source):
            _cached(source).unlink(missing_ok=True)  # it may have been cut off
        if isinstance(error, (pickle.UnpicklingError, NotPlainError)):
            raise UserError(
                f'the checkpoint {source} is not loaded: it holds more than tensors and plain values, which could run '
                f'code, or is damaged ({_reason(error)}). If you trust whom it came from, give the tool '
                '--trust-checkpoint'
            ) from error
        raise UserError(f'the checkpoint {source} cannot be read ({_reason(error)}): get it again') from error


def _read(file: Path, map_location: Any) -> Any:
    if file.exists() and not file.is_file():
        raise OSError('it is no regular file')  # a pipe would be waited for
    _check_archive(file)
    if _trusts:
        message = f'{file} is loaded in full, with the code that it may hold: --trust-checkpoint is given'
        print_log(message, logger='current', level=logging.WARNING)
    if digit_version(torch.__version__) < digit_version(CHECKS_SIZES) and not _trusts:
        content = torch.load(file, map_location=map_location, pickle_module=old_torch.of(file), weights_only=False)
        return to_plain(content)
    with _admitting, _stand_ins():
        content = torch.load(file, map_location=map_location, weights_only=not _trusts)
    return to_plain(content, drop=_trusts)


def _check_archive(file: Path) -> None:
    """Refuses what torch before 2.6 would run although it reads tensors-only, and archives with changed bytes."""
    with file.open('rb') as stream:
        if stream.read(4) != b'PK\x03\x04':  # as torch tells them; older files have no checksums
            if tarfile.is_tarfile(str(file)):
                raise pickle.UnpicklingError("an archive in tar format, from torch's first versions")
            return
    with zipfile.ZipFile(file) as archive:
        if any(name.rsplit('/')[-1] == 'constants.pkl' for name in archive.namelist()):
            raise pickle.UnpicklingError('a TorchScript program')
        damaged = archive.testzip()
    if damaged is not None:
        raise OSError(f'the bytes of {damaged} in it are not those that were written')


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Makes torch's tensors-only reading admit the names of :data:`STAND_INS`, and record their calls."""
    if _trusts:
        yield
        return
    before = list(torch.serialization.get_safe_globals())
    torch.serialization.add_safe_globals(STAND_INS)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _reason(error: Exception) -> str:
    """What torch says, without its advice."""
    lines = [line for line in str(error).split('WeightsUnpickler error: ')[-1].splitlines() if line.strip()]
    return lines[0].split('. Please')[0] if lines else type(error).__name__


def _cached(url: str) -> Path:
    """Where the file of a URL belongs in torch's cache of checkpoints."""
    name = f'{hashlib.sha256(url.encode()).hexdigest()[:8]}-{Path(urlparse(url).path).name}'
    return Path(torch.hub.get_dir()) / 'checkpoints' / name


def _download(url: str) -> Path:
    """The file of a URL, fetched by one process where several want it."""
    file = _cached(url)
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file.with_name(f'.{file.name}.lock')):
        if not file.exists():
            torch.hub.download_url_to_file(url, str(file))
    return file


def load_from_plain_values(filename: str, map_location: Any = 'cpu', **kwargs: Any) -> Any:
    """:func:`read_checkpoint` as one of MMEngine's loaders.

    The log shows this function's name without its first ten letters ("Loads checkpoint by plain_values backend").
    The text of a config in the checkpoint, ``meta['config']``, is left out: MMEngine would run it on resuming.
    """
    content = read_checkpoint(filename, map_location)
    if isinstance(content, dict) and isinstance(content.get('meta'), dict):
        content['meta'].pop('config', None)
    return content


def replace_loaders() -> None:
    """From here on MMEngine reads every checkpoint of this process by :func:`read_checkpoint`."""
    for prefix in ('', 'http://', 'https://', r'(\S+\:)?s3://', r'(\S+\:)?petrel://'):
        CheckpointLoader.register_scheme(prefix, load_from_plain_values, force=True)
    mmengines.load_from_http = load_from_plain_values  # what the loaders of model names such as mmcls:// call
