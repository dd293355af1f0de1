from typing import Any

from mmpose.codecs import MSRAHeatmap, UDPHeatmap

from ..errors import UserError
from .heatmap import HeatmapReader
from .reader import HeadReader
from .refined import RefinerReader
from .simcc import SimCCReader


def build_reader(head: Any, temperature: float = 1.0, where: str = 'model.head') -> HeadReader:
    """The reader for a head, chosen by its codec.

    Args:
        head: An MMPose head.
        temperature: Of the softmax in ``coords``, for SimCC heads.
        where: The head's config key, for the message.

    Raises:
        UserError: No reader knows the head's codec.
    """
    if hasattr(head, 'base_head'):
        return RefinerReader(head, build_reader(head.base_head, temperature, f'{where}.base_head'))
    codec = getattr(head, 'decoder', None)
    if hasattr(codec, 'simcc_split_ratio'):
        return SimCCReader(head, temperature)
    if isinstance(codec, (MSRAHeatmap, UDPHeatmap)) and getattr(codec, 'heatmap_type', 'gaussian') == 'gaussian':
        return HeatmapReader(head)
    raise UserError(
        f'{where}.decoder: no reader knows the codec {type(codec).__name__} of the head {type(head).__name__}: '
        'distillation reads heads whose `decoder` is SimCCLabel, MSRAHeatmap or UDPHeatmap (heatmap_type="gaussian")'
    )
