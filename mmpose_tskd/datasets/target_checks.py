"""Whether a data set's pictures and targets are those that a model takes."""

from typing import Any, Optional

import numpy as np

from ..errors import UserError
from ..poses import find_reader

# What a codec's targets depend on, of all of MMPose's top-down codecs that we read.
CODEC_OPTIONS = (
    'input_size',
    'heatmap_size',
    'simcc_split_ratio',
    'sigma',
    'smoothing_type',
    'label_smooth_weight',
    'normalize',
    'heatmap_type',
    'unbiased',
    'radius_factor',
    'kernel_size',
)


def check_targets(dataset: Any, model: Any) -> None:
    """Compares a data set's joints and pipeline with a top-down model's head.

    A changed ``codec`` has to be written again wherever a base config uses it, and a place is easily forgotten.

    Args:
        dataset: A data set of MMPose, or a wrapper of one.
        model: The model that it is for.

    Raises:
        UserError: The data set has another number of joints than the head, or its pipeline crops pictures to another
            size or encodes other targets than the head's codec.
    """
    reader = find_reader(getattr(model, 'head', None))
    if reader is None:
        return
    codec = reader.codec
    num_keypoints = dataset.metainfo['num_keypoints']
    for transform in _transforms(dataset):
        kind = type(transform).__name__
        if kind == 'KeypointConverter':
            num_keypoints = transform.num_keypoints
        if kind == 'TopdownAffine' and tuple(transform.input_size) != reader.input_size:
            raise UserError(
                f"TopdownAffine.input_size in the pipeline is {tuple(transform.input_size)}, but the head's codec has "
                f'{reader.input_size} (w, h): write the changed codec into model.head.decoder and each pipeline'
            )
        if kind == 'GenerateTarget' and not isinstance(transform.encoder, list):
            difference = _difference(transform.encoder, codec)
            if difference is not None:
                raise UserError(
                    f"GenerateTarget.encoder in the pipeline has {difference} in the head's codec "
                    '(model.head.decoder): write the changed codec into both'
                )
    if num_keypoints != reader.num_keypoints:
        raise UserError(
            f'model.head.out_channels is {reader.num_keypoints}, but the data set ({dataset.metainfo["dataset_name"]}) '
            f'has {num_keypoints} joints'
        )


def _transforms(dataset: Any) -> Any:
    while hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    return getattr(getattr(dataset, 'pipeline', None), 'transforms', ())


def _difference(encoder: Any, codec: Any) -> Optional[str]:
    """Of the two codecs: the first option that differs."""
    if type(encoder) is not type(codec):
        return f'type={type(encoder).__name__}, and {type(codec).__name__}'
    for name in CODEC_OPTIONS:
        own, other = (getattr(one, name, ()) for one in (encoder, codec))
        if not np.array_equal(own, other):
            return f'{name}={own}, and {other}'
    return None
