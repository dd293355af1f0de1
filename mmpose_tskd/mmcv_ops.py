"""Stand-ins for ``mmcv.ops`` where mmcv has no compiled operators (``mmcv-lite``).

MMPose and mmdet import operators of mmcv by name when they are imported, whether a model needs them or not. The method
of this package needs none. So where ``mmcv._ext`` is missing, this module supplies the names: an operator raises
:class:`UserError` when it is used, and torchvision does the non-maximum suppression that mmdet's detectors need.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, List, NoReturn, Optional, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from .errors import UserError


def _refuse(name: str) -> NoReturn:
    raise UserError(
        f'mmcv.ops.{name} is a compiled operator, and the installed mmcv has none: replace it by the full mmcv ("pip '
        'uninstall mmcv-lite", then "pip install --no-build-isolation mmcv==2.1.0"; in the source tree of mmpose_tskd '
        '"make env MMCV=full")'
    )


def _stand_in(name: str) -> type:
    """A class that stands for an operator, a function or a layer: it can be imported and subclassed, not called."""

    def refuse(self, *args, **kwargs):
        _refuse(name)

    return type(name, (torch.nn.Module,), {'__init__': refuse, '__module__': __name__})


def nms(
    boxes: Union[Tensor, np.ndarray],
    scores: Union[Tensor, np.ndarray],
    iou_threshold: float,
    offset: int = 0,
    score_threshold: float = 0,
    max_num: int = -1,
) -> Tuple[Any, Any]:
    """mmcv's ``nms`` by :func:`torchvision.ops.nms`.

    Args:
        boxes: N×4, (x1, y1, x2, y2).
        scores: N.
        iou_threshold: A box that overlaps a better one by more is dropped.
        offset: 1 where x2 and y2 are inside the box, else 0.
        score_threshold: Boxes of at most this score are dropped first, if it is above 0.
        max_num: At most as many are kept, if it is above 0.

    Returns:
        The kept boxes with their scores, n×5, by falling score, and their indices; arrays if ``boxes`` is one.

    Source: ``mmcv.ops.nms`` of mmcv 2.1.0, whose results these are.
    """
    from torchvision.ops import nms as torchvision_nms

    is_array = isinstance(boxes, np.ndarray)
    boxes, scores = torch.as_tensor(boxes), torch.as_tensor(scores)
    # torchvision has no offset: the same boxes with their last pixel inside
    extent = boxes + boxes.new_tensor([0, 0, offset, offset])
    indices = torch.arange(len(boxes), device=boxes.device)
    if score_threshold > 0:
        indices = indices[scores > score_threshold]
    keep = indices[torchvision_nms(extent[indices].float(), scores[indices].float(), iou_threshold)]
    if max_num > 0:
        keep = keep[:max_num]
    dets = torch.cat([boxes[keep], scores[keep, None]], dim=-1)
    return (dets.numpy(), keep.numpy()) if is_array else (dets, keep)


def batched_nms(
    boxes: Tensor, scores: Tensor, idxs: Tensor, nms_cfg: Optional[dict], class_agnostic: bool = False
) -> Tuple[Tensor, Tensor]:
    """mmcv's ``batched_nms``: boxes suppress only others of the same class.

    Args:
        boxes: N×4, (x1, y1, x2, y2).
        scores: N.
        idxs: N, the classes.
        nms_cfg: ``iou_threshold`` and the other options of :func:`nms`; None only sorts.
        class_agnostic: Boxes suppress those of every class. mmcv ignores this from ``split_thr`` boxes on.

    Returns:
        The kept boxes with their scores, n×5, by falling score, and their indices.

    Raises:
        UserError: ``nms_cfg`` asks for another ``type`` than ``nms``.
    """
    if nms_cfg is None:
        scores, keep = scores.sort(descending=True)
        return torch.cat([boxes[keep], scores[:, None]], dim=-1), keep
    options = dict(nms_cfg)
    class_agnostic = options.pop('class_agnostic', class_agnostic)
    options.pop('split_thr', None)  # mmcv's bound on memory
    kind = options.pop('type', 'nms')
    if kind not in ('nms', nms):
        _refuse(str(kind))
    if not class_agnostic and len(boxes):
        apart = idxs.to(boxes) * (boxes.max() + 1)
        _, keep = nms(boxes + apart[:, None], scores, **options)
    else:
        _, keep = nms(boxes, scores, **options)
    return torch.cat([boxes[keep], scores[keep, None]], dim=-1), keep


class _Operators(ModuleType):
    """Stands in for ``mmcv.ops`` or one of its modules: every name but those of NMS gives a stand-in operator."""

    __path__: List[str] = []
    nms = staticmethod(nms)
    batched_nms = staticmethod(batched_nms)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):  # what Python itself asks of a module
            raise AttributeError(name)
        operator = _stand_in(name)
        setattr(self, name, operator)
        return operator

    def __setattr__(self, name: str, value: Any) -> None:
        # an import binds mmcv.ops.nms, the module, in mmcv.ops, where that name is the function's
        if not isinstance(value, ModuleType):
            super().__setattr__(name, value)


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[ModuleSpec]:
        if fullname == 'mmcv.ops' or fullname.startswith('mmcv.ops.'):
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Operators(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def provide() -> bool:
    """Puts the stand-ins in the place of ``mmcv.ops`` for this process, where mmcv has no compiled operators.

    Returns:
        Whether the stand-ins are in place; with the full mmcv nothing changes.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return True
    if find_spec('mmcv._ext') is not None:
        return False
    sys.meta_path.insert(0, _Finder())
    return True
