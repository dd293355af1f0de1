"""Tensors-only reading for torch before 2.13, whose own cannot be relied on.

Up to 2.8 at least, torch believes the size that a file gives for a tensor. If the archive holds fewer bytes, the tensor
reaches into whatever else is in memory, and is read from there and written to there. Before 2.4, torch does not let us
admit further names, either.

This module makes a ``pickle_module`` for :func:`torch.load`. It knows only the pickle operations that ``torch.save``
writes. It finds and calls only what the installed torch's tensors-only reading admits, ``set``, ``Counter`` and
``_codecs.encode``, and our stand-ins. Where a file sets the state of an object, it keeps that of a stand-in, ignores
that of a dict, and refuses any other.
"""

import pickle
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Dict, Optional

import torch
from torch import nn

from .plain import STAND_INS, Recorded

OPERATIONS = (
    *(b'\x80', b'.', b'c', b'R', b'\x81', b'b', b'Q', b'(', b't', b'\x85', b'\x86', b'\x87', b'a', b'e', b's', b'u'),
    *(b'N', b'\x88', b'\x89', b')', b']', b'}', b'J', b'K', b'M', b'\x8a', b'G', b'X', b'U', b'h', b'j', b'q', b'r'),
)


def _encode(text: str, encoding: str) -> bytes:
    """Replaces ``_codecs.encode``: pickle's protocol 2 stores bytes as a call of it."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'bytes in {encoding!r}')
    return text.encode(encoding)


def _admitted() -> Dict[str, Any]:
    own = dict(torch._weights_only_unpickler._get_allowed_globals())
    own.update({'_codecs.encode': _encode, 'collections.Counter': Counter, '__builtin__.set': set, 'builtins.set': set})
    return {**own, **{f'{kind.__module__}.{kind.__name__}': kind for kind in STAND_INS}}


PYTHONS: Any = pickle._Unpickler  # type: ignore[attr-defined]  # the one in Python, whose operations can be chosen


class Unpickler(PYTHONS):
    """Python's unpickler, the one written in Python, limited to :data:`OPERATIONS`."""

    records: ClassVar[Optional[Dict[str, int]]] = None  # sizes in bytes, by name; None where the file is no archive
    dispatch: Dict[int, Any] = {code: do for code, do in PYTHONS.dispatch.items() if bytes([code]) in OPERATIONS}

    def find_class(self, module: str, name: str) -> Any:
        admitted = _admitted()
        if f'{module}.{name}' not in admitted:
            raise pickle.UnpicklingError(f'Unsupported class {module}.{name}')
        return admitted[f'{module}.{name}']

    def load(self) -> Any:
        try:
            return super().load()
        except KeyError as error:
            raise pickle.UnpicklingError(f'Unsupported operand {error}') from error

    def load_reduce(self) -> None:
        args = self.stack.pop()
        function = self.stack[-1]
        if not any(function is one for one in _admitted().values()):
            raise pickle.UnpicklingError(f'a call of {type(function).__name__}')
        self.stack[-1] = function(*args)

    def load_newobj(self) -> None:
        args = self.stack.pop()
        kind = self.stack.pop()
        if kind is not nn.Parameter and kind not in STAND_INS:
            raise pickle.UnpicklingError(f'an instance of {kind}')
        self.append(kind(*args))

    def load_build(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Recorded):
            self.stack[-1].__setstate__(state)
        elif not isinstance(self.stack[-1], dict):  # a dict's state is ignored
            raise pickle.UnpicklingError(f'the state of a {type(self.stack[-1]).__name__}')

    def load_binpersid(self) -> None:
        name = self.stack.pop()
        if not isinstance(name, tuple) or not name or name[0] not in ('storage', b'storage'):
            raise pickle.UnpicklingError('what is stored elsewhere and no storage')
        if self.records is not None:
            _, kind, key, _, count = name
            each = 1 if kind is torch.UntypedStorage else torch.empty(0, dtype=kind.dtype).element_size()
            if type(key) is not str or type(count) is not int or self.records.get(key) != count * each:
                raise pickle.UnpicklingError(f'a tensor of {count} numbers where the file has others')
        self.append(self.persistent_load(name))

    for _code, _operation in (
        *((b'R', load_reduce), (b'\x81', load_newobj)),
        *((b'b', load_build), (b'Q', load_binpersid)),
    ):
        dispatch[_code[0]] = _operation
    del _code, _operation


def of(file: Path) -> Any:
    """The ``pickle_module`` for a file."""
    records = None
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            parts = [(info.filename.split('/'), info.file_size) for info in archive.infolist()]
        records = {path[-1]: size for path, size in parts if path[-2:-1] == ['data']}
        if len({name.lower() for name in records}) < sum(path[-2:-1] == ['data'] for path, _ in parts):
            raise pickle.UnpicklingError('an archive with two records of one name')
    kind = type(Unpickler.__name__, (Unpickler,), dict(records=records))
    return SimpleNamespace(
        __name__=__name__, Unpickler=kind, load=lambda *args, **options: kind(*args, **options).load()
    )
