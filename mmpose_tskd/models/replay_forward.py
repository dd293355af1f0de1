from contextlib import contextmanager
from typing import Any, Iterator, Sequence, Tuple

from mmpose.models.heads.base_head import BaseHead
from torch import Tensor


@contextmanager
def replay_forward(head: BaseHead, *known: Tuple[Any, Any]) -> Iterator[None]:
    """Lets a head's ``loss`` or ``predict`` use outputs that are worked out already.

    MMPose's heads call ``self.forward`` inside both, so a head whose output is needed elsewhere would run twice. The
    outputs are handed over in fp32: MMPose's accuracies go through NumPy, which has no bfloat16.

    Args:
        head: An MMPose head.
        known: Pairs of features and the output of ``head.forward`` for them.
    """
    own = head.__dict__.get('forward')  # such as a compiled one

    def forward(feats: Sequence) -> Any:
        for seen, output in known:
            if seen is feats:
                return _in_fp32(output)
        raise RuntimeError(
            f'{type(head).__name__} asks its forward for other features than it was given: its loss or predict '
            'changes them first, which distillation does not support'
        )

    head.forward = forward
    try:
        yield
    finally:
        del head.forward
        if own is not None:
            head.forward = own


def _in_fp32(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.float()
    return type(output)(map(_in_fp32, output)) if type(output) in (tuple, list) else output
