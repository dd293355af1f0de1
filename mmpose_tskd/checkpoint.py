"""Loading weights that somebody else wrote: tensors only, strictly, and with errors that say which file."""

import hashlib
import pickle
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ContextManager, Dict, Iterable, List, Optional, Sequence
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
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
    last = path / 'last_checkpoint'
    if last.is_file():
        return find_checkpoint(str(path / Path(last.read_text().strip()).name))
    raise UserError(
        f'the work folder {source} holds no best_*.pth and no last_checkpoint: has its run saved anything yet?'
    )


class _History(HistoryBuffer):
    """MMEngine's log of a value, made from its numbers alone; its pickle names methods to call, too."""

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__init__(state['_log_history'], state['_count_history'], state['max_length'])  # type: ignore[misc]
        self.__class__ = HistoryBuffer  # type: ignore[assignment]


def _call_nothing(*args) -> None:
    """Stands for ``getattr``, by which a log's pickle fetches its methods."""


def mmengines_globals() -> ContextManager:
    """Lets a tensors-only load read what MMEngine writes beside the weights: NumPy's arrays and the logs.

    No function that the file names is called but NumPy's two that make an array of its numbers.
    """
    if not hasattr(torch.serialization, 'safe_globals'):  # torch before 2.5: such files are refused
        return nullcontext()
    array, scalar = np.ones(1).__reduce__()[0], np.float32(1).__reduce__()[0]
    functions: List[Any] = [
        (function, f'numpy.{core}.multiarray.{name}')  # NumPy 2 has renamed the module
        for core in ('core', '_core')
        for function, name in ((array, '_reconstruct'), (scalar, 'scalar'))
    ]
    dtypes = [type(np.dtype(kind)) for kind in ('?', 'i4', 'i8', 'u1', 'f4', 'f8', 'O', 'U')]
    logs: List[Any] = [(_History, 'mmengine.logging.history_buffer.HistoryBuffer'), (_call_nothing, 'builtins.getattr')]
    return torch.serialization.safe_globals([*functions, np.ndarray, np.dtype, *dtypes, *logs])


def load_weights(source: str, entries: Sequence[str] = ('state_dict',)) -> Dict[str, Tensor]:
    """The weights in a checkpoint, on the CPU, loaded without running code from it.

    Args:
        source: A file or a URL.
        entries: Names that they may stand under, the first one there wins; without any, the file is the weights.

    Raises:
        UserError: It does not exist, is damaged, holds more than tensors and plain values, or holds no weights.
    """
    try:
        file = source  # named in the messages below
        if _is_url(source):
            file = _download(source)
        with mmengines_globals():
            checkpoint = torch.load(file, map_location='cpu', weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f'there is no checkpoint {source}') from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f'the checkpoint {source} is not loaded: it holds more than tensors and plain values, which could run code '
            f'({str(error).splitlines()[0]}). If you trust it, save its weights alone: '
            "torch.save({'state_dict': torch.load(FILE, weights_only=False)['state_dict']}, NEW_FILE)"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise UserError(
            f'the checkpoint {source} cannot be read ({str(error).splitlines()[0]}): get it again'
        ) from error
    weights = checkpoint
    if isinstance(checkpoint, dict):
        weights = next((checkpoint[name] for name in entries if name in checkpoint), checkpoint)
    if not isinstance(weights, dict) or not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f'the checkpoint {source} holds no weights: it is not the file of a model')
    weights = {name[7:] if name.startswith('module.') else name: value for name, value in weights.items()}
    # MMPose before 1.0
    return {name[9:] if name.startswith('keypoint_head.') else name: value for name, value in weights.items()}


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
