"""Reduces what a file holds to plain values: numbers, text and tensors, in dicts, lists and tuples."""

import re
from typing import Any, Dict, List, Tuple

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

LEAVES = (str, int, float, bool, type(None))


class NotPlainError(ValueError):
    """A value is neither plain nor known to be made of plain ones; the message says which and where."""


class Recorded:
    """A call that a file asks for: its arguments and state are kept, and nothing is called.

    :data:`STAND_INS` has a subclass for each name, other than torch's, that MMEngine's checkpoints call.
    """

    args: tuple
    state: Any

    def __new__(cls, *args: Any) -> 'Recorded':
        recorded = object.__new__(cls)
        recorded.args, recorded.state = args, None
        return recorded

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _stand_in(path: str) -> type:
    module, _, name = path.rpartition('.')
    return type(name, (Recorded,), dict(__module__=module))


STAND_INS: List[Any] = [
    _stand_in(path)
    for path in (
        'mmengine.logging.history_buffer.HistoryBuffer',
        'builtins.getattr',  # by which a log's pickle fetches its methods
        '__builtin__.getattr',  # the same, in torch before 2.6
        'numpy.dtype',
        'numpy.ndarray',
        *(f'numpy.{core}.multiarray.{name}' for core in ('core', '_core') for name in ('_reconstruct', 'scalar')),
    )
]


def to_plain(value: Any, drop: bool = False) -> Any:
    """Rebuilds a value from dict, list, tuple, str, int, float, bool, None and tensor alone.

    Every part is of exactly that type, not of a subclass, and without attributes of its own. Arrays become lists,
    NumPy's scalars numbers, ordered dictionaries and counters dictionaries, parameters tensors, and MMEngine's logs
    ``dict(log=..., count=...)`` of two tensors. An object that stands in two places of the value stays one object.

    Args:
        value: What a file holds, or what is to be saved.
        drop: Put None in the place of what is not plain, instead of raising.

    Raises:
        NotPlainError: Something in it is not plain or contains itself, or it is nested too deeply.
    """
    try:
        return _rebuild(value, 'it', drop, {})
    except RecursionError as error:
        raise NotPlainError('it is nested too deeply') from error


def _rebuild(value: Any, where: str, drop: bool, done: Dict[int, Tuple[Any, Any]]) -> Any:
    if type(value) in LEAVES:
        return value
    if id(value) in done:
        _, fresh = done[id(value)]
        if fresh is done:
            raise NotPlainError(f'{where} holds itself')
        return fresh
    done[id(value)] = value, done  # under way
    fresh = _rebuild_anew(value, where, drop, done)
    done[id(value)] = value, fresh  # with the value, or another could get its id
    return fresh


def _rebuild_anew(value: Any, where: str, drop: bool, done: Dict[int, Tuple[Any, Any]]) -> Any:
    def part(inner: Any, name: Any) -> Any:
        return _rebuild(inner, f'{where}[{name!r}]', drop, done)

    if isinstance(value, dict):
        entries = [(_key(key, where), inner) for key, inner in dict.items(value)]  # its own items may be the file's
        return {key: part(inner, key) for key, inner in entries}
    if type(value) in (list, tuple, torch.Size):
        parts = [part(inner, number) for number, inner in enumerate(value)]
        return parts if type(value) is list else tuple(parts)
    if type(value) in (Tensor, nn.Parameter):
        return _tensor(value, where)
    if isinstance(value, HistoryBuffer):
        log, count = value.data
        return dict(log=torch.as_tensor(log), count=torch.as_tensor(count))
    if isinstance(value, np.ndarray):
        return part(value.tolist(), '...')
    if isinstance(value, np.generic):
        return part(value.item(), '...')
    if isinstance(value, Recorded):
        return _decode(value, where)
    if drop:
        return None
    raise NotPlainError(f'{where} is a {type(value).__module__}.{type(value).__qualname__}')


def _key(key: Any, where: str) -> Any:
    key = key.item() if isinstance(key, np.generic) else key
    if type(key) not in LEAVES:
        raise NotPlainError(f'{where} has a {type(key).__name__} for a key')
    return key


def _tensor(value: Tensor, where: str) -> Tensor:
    if value.layout != torch.strided or value.is_quantized or value.is_meta or value.is_nested:
        raise NotPlainError(f'{where} is a tensor of another kind than an array of numbers')
    # its own methods may be the file's
    if Tensor.numel(value) * Tensor.element_size(value) > Tensor.untyped_storage(value).nbytes():
        raise NotPlainError(f'{where} is a tensor that says it has more numbers than are there')
    return Tensor.detach(value)


def _decode(value: Recorded, where: str) -> Any:
    """The numbers that a recorded call would have made; None where it would have made a method or a type."""
    name = type(value).__name__
    try:
        if name == '_reconstruct':
            return _array(value).tolist()
        if name == 'scalar':
            kind, data = value.args
            return np.frombuffer(data, _dtype(kind), 1)[0].item()
        if name == 'HistoryBuffer':
            log, count = (torch.from_numpy(_array(value.state[f'_{part}_history']).copy()) for part in ('log', 'count'))
            return dict(log=log, count=count)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise NotPlainError(f'{where} is an array whose numbers do not fit its shape ({error})') from error
    return None  # the name of a method or type


def _array(value: Recorded) -> np.ndarray:
    _, shape, kind, is_fortran, data = value.state
    return np.frombuffer(data, _dtype(kind)).reshape(shape, order='F' if is_fortran else 'C')


def _dtype(kind: Recorded) -> np.dtype:
    code, order = kind.args[0], kind.state[1]
    if not re.fullmatch('[?]|b1|[iu][1248]|f[248]', code):
        raise TypeError(f'of {code!r}')
    return np.dtype(code).newbyteorder(order)
