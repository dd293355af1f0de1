"""The weights in a checkpoint, and a module that must take all of them."""

import hashlib
from typing import Any, Dict, Iterable, Optional, Sequence, Set

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..errors import UserError
from .reading import read_checkpoint


def load_weights(source: str, entries: Sequence[str] = ('state_dict',)) -> Dict[str, Tensor]:
    """The weights in a checkpoint, on the CPU, read without running code from it.

    Args:
        source: A file or a URL.
        entries: The checkpoint's entries that may hold the weights; the first that exists is taken. If none exists, the
            whole checkpoint is taken for the weights.

    Raises:
        UserError: It does not exist, is damaged, holds more than tensors and plain values, or holds no weights.
    """
    return find_weights(read_checkpoint(source), source, entries)


def find_weights(checkpoint: Any, source: str, entries: Sequence[str] = ('state_dict',)) -> Dict[str, Tensor]:
    """The weights in what was read from a file; the arguments are :func:`load_weights`'s.

    Raises:
        UserError: There are none, or two by one name.
    """
    weights = checkpoint
    if isinstance(checkpoint, dict):
        weights = next((checkpoint[name] for name in entries if name in checkpoint), checkpoint)
    if not isinstance(weights, dict) or not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f'the checkpoint {source} holds no weights: it is not the file of a model')
    renamed: Dict[str, Tensor] = {}
    for name, value in weights.items():
        name = str(name)
        for prefix, now in (('module.', ''), ('keypoint_head.', 'head.')):  # of DDP, and of MMPose before 1.0
            name = now + name[len(prefix) :] if name.startswith(prefix) else name
        if name in renamed:
            raise UserError(f'the checkpoint {source} has two weights by the name {name}: take another')
        renamed[name] = value
    return renamed


def weights_digest(weights: Dict[str, Tensor]) -> str:
    """12 hexadecimal digits of the SHA-256 of a model's weights."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def load_strictly(
    module: nn.Module, weights: Dict[str, Tensor], source: str, what: str, only: Optional[Iterable[str]] = None
) -> None:
    """Fills a module with weights that must fit it key for key, in shape and in kind of number.

    ``num_batches_tracked`` may be missing, and entries of ``data_preprocessor`` are ignored.

    Args:
        module: The module.
        weights: By name. Floats of any precision fit floats.
        source: Where they come from, for the messages.
        what: What they fill, for the messages.
        only: The module's entries to fill; all of them when None.

    Raises:
        UserError: An entry is missing, left over, of another shape or kind, not finite, or a negative variance.
    """
    own = module.state_dict()
    wanted = set(own if only is None else only)
    given = {name: value for name, value in weights.items() if not name.startswith('data_preprocessor.')}
    missing = sorted(name for name in wanted - set(given) if not name.endswith('num_batches_tracked'))
    left_over = sorted(set(given) - wanted)
    both = sorted(wanted & set(given))
    shapes = [
        f'{name} ({tuple(given[name].shape)} in the file, {tuple(own[name].shape)} in the model)'
        for name in both
        if given[name].shape != own[name].shape
    ]
    kinds = [
        f'{name} ({given[name].dtype} in the file, {own[name].dtype} in the model)'
        for name in both
        if given[name].dtype != own[name].dtype
        and not (given[name].is_floating_point() and own[name].is_floating_point())
    ]
    problems = [
        f'{len(names)} {kind}: {", ".join(names[:5])}{", ..." if len(names) > 5 else ""}'
        for kind, names in (
            ('missing', missing),
            ('left over', left_over),
            ('of another shape', shapes),
            ('of another kind of number', kinds),
        )
        if names
    ]
    if problems:
        raise UserError(f'{source} does not fit {what}; {"; ".join(problems)}. Is it the checkpoint of this config?')
    check_finite(given, source)
    negative = [name for name, value in given.items() if name.endswith('running_var') and (value < 0).any()]
    if negative:
        raise UserError(f'{source} holds a negative variance ({negative[0]}): it is damaged, take another')
    module.load_state_dict(given, strict=False)
    print_log(f'{what} ← {source}, {len(given)} keys, 0 missing', logger='current')


def check_finite(value: Any, source: str, name: str = '') -> None:
    """Looks through the tensors and numbers in nested plain values.

    Raises:
        UserError: A tensor holds NaN or infinity, or a number is NaN. A number may be infinite, as in some optimizers.
    """
    _check_finite(value, source, name, set())


def _check_finite(value: Any, source: str, name: str, seen: Set[int]) -> None:
    if isinstance(value, (dict, list, tuple)):
        if id(value) in seen:  # a file can share lists so that their places are more than can be looked at
            return
        seen.add(id(value))
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            _check_finite(part, source, f'{name}.{key}' if name else str(key), seen)
    elif value != value if isinstance(value, float) else _is_infinite(value):
        raise UserError(f'{source} holds NaN or infinite weights ({name}): its training has failed, take another')


def _is_infinite(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and not bool(value.isfinite().all())
