"""Checkpoints: finding them, reading them into plain values, and filling models with their weights.

Nothing in here knows a run or a model. It is not a part of ``engine``, since distillers load their teacher with it and
``engine`` is above the models.
"""

from .finding import find_checkpoint, find_resumable
from .locks import locked
from .plain import NotPlainError, to_plain
from .reading import read_checkpoint, replace_loaders, trusting_checkpoints
from .weights import check_finite, find_weights, load_strictly, load_weights, weights_digest

__all__ = [
    'NotPlainError',
    'check_finite',
    'find_checkpoint',
    'find_resumable',
    'find_weights',
    'load_strictly',
    'load_weights',
    'locked',
    'read_checkpoint',
    'replace_loaders',
    'to_plain',
    'trusting_checkpoints',
    'weights_digest',
]
