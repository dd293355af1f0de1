from typing import Optional

from mmpose.codecs import IntegralRegressionLabel, MegviiHeatmap, MSRAHeatmap, RegressionLabel, SimCCLabel, UDPHeatmap
from mmpose.models.heads.base_head import BaseHead

from ..errors import UserError
from .combined import CombinedReader
from .heatmap import HeatmapReader
from .megvii import MegviiReader
from .reader import HeadReader
from .refined import RefinerReader
from .regression import RegressionReader
from .simcc import SimCCReader


def find_reader(head: BaseHead, temperature: float = 1.0) -> Optional[HeadReader]:
    """The reader for a head, chosen by its codec; None where there is none.

    Args:
        head: An MMPose head; of one that predicts visibility beside the pose, its ``pose_head`` is read.
        temperature: Of the softmax in ``coords``, for SimCC heads.
    """
    if hasattr(head, 'base_head'):
        base = find_reader(head.base_head, temperature)
        return None if base is None else RefinerReader(head, base)
    if hasattr(head, 'pose_head'):
        return find_reader(head.pose_head, temperature)
    codec = getattr(head, 'decoder', None)
    if isinstance(codec, SimCCLabel):
        return SimCCReader(head, temperature)
    if isinstance(codec, UDPHeatmap) and codec.heatmap_type == 'combined':
        return CombinedReader(head)
    if isinstance(codec, (MSRAHeatmap, UDPHeatmap)):
        return HeatmapReader(head)
    if isinstance(codec, MegviiHeatmap):
        return MegviiReader(head)
    if isinstance(codec, (RegressionLabel, IntegralRegressionLabel)):
        return RegressionReader(head)
    return None


def build_reader(head: BaseHead, temperature: float = 1.0, where: str = 'model.head') -> HeadReader:
    """:func:`find_reader`, with the head's config key for the message.

    Raises:
        UserError: No reader knows the head's codec.
    """
    reader = find_reader(head, temperature)
    if reader is None:
        codec = getattr(head, 'decoder', None)
        raise UserError(
            f'{where}.decoder: no reader knows the codec {type(codec).__name__} of the head {type(head).__name__}: '
            'distillation reads heads of top-down estimators whose `decoder` is SimCCLabel, MSRAHeatmap, UDPHeatmap, '
            'MegviiHeatmap, RegressionLabel or IntegralRegressionLabel'
        )
    return reader
