"""Loading weights that somebody else wrote: tensors only, strictly, and with errors that say which file."""

import functools
import hashlib
import logging
import math
import os
import pickle
import re
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import CheckpointLoader
from mmengine.utils import digit_version
from torch import Tensor, nn

from .errors import UserError


def find_checkpoint(source: str) -> str:
    """The checkpoint that a path means.

    Args:
        source: A file, a URL, or the work folder of a run: its best checkpoint, else its last.

    Raises:
        UserError: There is none.
    """
    if _is_url(source):
        return source
    path = Path(source)
    if path.is_file():
        return str(path)
    if not path.is_dir():
        raise UserError(f'there is no checkpoint or work folder {source}')
    best = sorted(path.glob('best_*.pth'), key=lambda p: p.stat().st_mtime)
    if best:
        return str(best[-1])
    last = _noted(path)
    if last is not None:
        return find_checkpoint(str(last))
    raise UserError(
        f'the work folder {source} holds no best_*.pth and no last_checkpoint: has its run saved anything yet?'
    )


def find_resumable(work_dir: str) -> Optional[str]:
    """The checkpoint that a stopped run goes on from: the one noted in ``last_checkpoint``, else its newest.

    MMEngine writes that note, and removes old checkpoints, in steps that a kill can come between.
    """
    folder = Path(work_dir)
    noted = _noted(folder)
    if noted is not None and noted.is_file():
        return str(noted)
    files = [*folder.glob('epoch_*.pth'), *folder.glob('iter_*.pth'), *folder.glob('interrupted.pth')]
    return str(max(files, key=lambda file: file.stat().st_mtime)) if files else None


def _noted(folder: Path) -> Optional[Path]:
    """The file in a work folder that its ``last_checkpoint`` names, by where the folder was when it was written."""
    note = folder / 'last_checkpoint'
    noted = note.read_text().strip() if note.is_file() else ''
    return folder / Path(noted).name if noted else None


class _History(HistoryBuffer):
    """MMEngine's log of a value, made from its numbers alone; its pickle names methods to call, too."""

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__init__(state['_log_history'], state['_count_history'], state['max_length'])  # type: ignore[misc]
        self.__class__ = HistoryBuffer  # type: ignore[assignment]


def _call_nothing(*args) -> None:
    """Stands for ``getattr``, by which a log's pickle fetches its methods."""


class _DType:
    """A NumPy type of numbers, by its code; NumPy's own would take a state from the file that it does not check."""

    def __init__(self, code: str, *args) -> None:
        if not re.fullmatch('[biuf][1248]', code):
            raise pickle.UnpicklingError(f'a NumPy array of {code!r}')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        if state[1] == '>':
            self.dtype = self.dtype.newbyteorder('>')


class _Array(np.ndarray):
    """A NumPy array that takes nothing but numbers from a file, and as many of them as its shape says."""

    def __new__(cls, *args):
        raise pickle.UnpicklingError('a NumPy array that is made in another way than by its pickle')

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, is_fortran, data = state
        size = kind.dtype.itemsize * math.prod(shape) if isinstance(kind, _DType) else -1
        if not isinstance(data, bytes) or min(shape, default=0) < 0 or size != len(data):
            raise pickle.UnpicklingError('a NumPy array whose numbers do not fit its shape')
        super().__setstate__((1, shape, kind.dtype, bool(is_fortran), data))  # type: ignore[arg-type]


def _make_array(*args) -> np.ndarray:
    return np.empty(0, np.uint8).view(_Array)


def _make_scalar(kind: _DType, data: bytes) -> Any:
    return np.frombuffer(data, kind.dtype, 1)[0]


@contextmanager
def mmengines_globals() -> Iterator[None]:
    """Lets a tensors-only load read what MMEngine writes beside the weights: arrays of numbers, and the logs.

    Each name that such a file may call stands for a function or class here, which takes numbers and runs nothing.
    """
    if digit_version(torch.__version__) < digit_version('2.6'):  # which cannot rename: such files are refused
        yield
        return
    stand_ins: List[Any] = [
        (_History, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (_call_nothing, 'builtins.getattr'),
        (_DType, 'numpy.dtype'),
        (_Array, 'numpy.ndarray'),
    ]
    for core in ('core', '_core'):  # NumPy 2 has renamed it
        stand_ins.append((_make_array, f'numpy.{core}.multiarray._reconstruct'))
        stand_ins.append((_make_scalar, f'numpy.{core}.multiarray.scalar'))
    before = torch.serialization.get_safe_globals()  # torch's own context manager cannot be nested
    torch.serialization.add_safe_globals(stand_ins)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


_trusts = False  # whether --trust-checkpoint is given


@contextmanager
def trusting_checkpoints(trusts: bool) -> Iterator[None]:
    """Within it checkpoints are loaded in full, with the code that they may hold, if ``trusts``; the log says so."""
    global _trusts
    _trusts = trusts
    try:
        yield
    finally:
        _trusts = False


@contextmanager
def reading(source: str) -> Iterator[None]:
    """What ``torch.load`` reads within it, it reads tensors-only, whoever calls it, and in full if that is trusted.

    Args:
        source: The file or URL, for the messages.

    Raises:
        UserError: It does not exist, is damaged, or holds more than tensors and plain values.
    """
    switches = ['TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD']
    before = {name: os.environ.pop(name, None) for name in switches}
    os.environ[switches[_trusts]] = '1'
    if _trusts:
        message = f'{source} is loaded in full, with the code that it may hold: --trust-checkpoint is given'
        print_log(message, logger='current', level=logging.WARNING)
    try:
        with mmengines_globals():
            yield
    except FileNotFoundError as error:
        raise UserError(f'there is no checkpoint {source}') from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f'the checkpoint {source} is not loaded: it holds more than tensors and plain values, which could run '
            f'code, or is damaged ({_reason(error)}). If you trust whom it came from, give the tool --trust-checkpoint'
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise UserError(f'the checkpoint {source} cannot be read ({_reason(error)}): get it again') from error
    finally:
        del os.environ[switches[_trusts]]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _reason(error: Exception) -> str:
    """What torch says, without its advice."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    line = next((line for line in lines if 'WeightsUnpickler error: ' in line), lines[0])
    return line.split('WeightsUnpickler error: ')[-1].split('. Please')[0]


def load_safely(loader: Callable[..., Any]) -> Callable[..., Any]:
    """One of MMEngine's loaders of checkpoints, :func:`reading` its file.

    MMEngine runs the config of an old checkpoint, ``meta['config']``, when a run is resumed from it; that is left out.
    """

    @functools.wraps(loader)
    def load(filename: str, map_location: Any = None, **kwargs) -> Any:
        with reading(filename):
            checkpoint = loader(filename, map_location=map_location, **kwargs)
        meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
        if isinstance(meta, dict):
            meta.pop('config', None)
        return checkpoint

    return load


for _prefix, _loader in list(CheckpointLoader._schemes.items()):
    CheckpointLoader.register_scheme(_prefix, load_safely(_loader), force=True)


def load_weights(source: str, entries: Sequence[str] = ('state_dict',)) -> Dict[str, Tensor]:
    """The weights in a checkpoint, on the CPU, loaded without running code from it.

    Args:
        source: A file or a URL.
        entries: Names that they may stand under, the first one there wins; without any, the file is the weights.

    Raises:
        UserError: It does not exist, is damaged, holds more than tensors and plain values, or holds no weights.
    """
    with reading(source):
        file = _download(source) if _is_url(source) else source
        checkpoint = torch.load(file, map_location='cpu', weights_only=not _trusts)
    return find_weights(checkpoint, source, entries)


def find_weights(checkpoint: Any, source: str, entries: Sequence[str] = ('state_dict',)) -> Dict[str, Tensor]:
    """The weights in what was loaded from a file; the arguments are :func:`load_weights`'s.

    Raises:
        UserError: There are none.
    """
    weights = checkpoint
    if isinstance(checkpoint, dict):
        weights = next((checkpoint[name] for name in entries if name in checkpoint), checkpoint)
    if not isinstance(weights, dict) or not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f'the checkpoint {source} holds no weights: it is not the file of a model')
    weights = {name[7:] if name.startswith('module.') else name: value for name, value in weights.items()}
    # MMPose before 1.0
    return {name[9:] if name.startswith('keypoint_head.') else name: value for name, value in weights.items()}


def weights_digest(weights: Dict[str, Tensor]) -> str:
    """12 hexadecimal digits of the SHA-256 of a model's weights."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def load_strictly(
    module: nn.Module, weights: Dict[str, Tensor], source: str, what: str, only: Optional[Iterable[str]] = None
) -> None:
    """Fills a module with weights that must fit it key for key and shape for shape.

    Args:
        module: The module.
        weights: By name.
        source: Where they come from, for the messages.
        what: What they fill, for the messages.
        only: The module's entries to fill; all of them when None.

    Raises:
        UserError: An entry is missing, left over, of another shape or not finite.
    """
    own = module.state_dict()
    wanted = set(own if only is None else only)
    given = {name: value for name, value in weights.items() if not name.startswith('data_preprocessor.')}
    missing = sorted(name for name in wanted - set(given) if not name.endswith('num_batches_tracked'))
    left_over = sorted(set(given) - wanted)
    shapes = sorted(
        f'{name} ({tuple(given[name].shape)} in the file, {tuple(own[name].shape)} in the model)'
        for name in wanted & set(given)
        if given[name].shape != own[name].shape
    )
    problems = [
        f'{len(names)} {kind}: {", ".join(names[:5])}{", ..." if len(names) > 5 else ""}'
        for kind, names in (('missing', missing), ('left over', left_over), ('of another shape', shapes))
        if names
    ]
    if problems:
        raise UserError(f'{source} does not fit {what}; {"; ".join(problems)}. Is it the checkpoint of this config?')
    damaged = [name for name, value in given.items() if value.is_floating_point() and not value.isfinite().all()]
    if damaged:
        raise UserError(f'{source} holds NaN or infinite weights ({damaged[0]}): its training has failed, take another')
    module.load_state_dict(given, strict=False)
    print_log(f'{what} ← {source}, {len(given)} keys, 0 missing', logger='current')


def _is_url(source: str) -> bool:
    return source.startswith(('http://', 'https://'))


def _download(url: str) -> str:
    """The file that a URL names, in torch's cache of checkpoints."""
    name = f'{hashlib.sha256(url.encode()).hexdigest()[:8]}-{Path(urlparse(url).path).name}'
    file = Path(torch.hub.get_dir()) / 'checkpoints' / name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file))
    return str(file)
