"""Whether a data set's images and targets are those that a model takes."""

from typing import Any, Optional, Sequence

import numpy as np
from mmcv.transforms import Compose
from mmengine.dataset import BaseDataset
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.datasets.transforms import GenerateTarget, KeypointConverter, PackPoseInputs, TopdownAffine
from torch import nn

from ..errors import UserError
from ..models.heads import IGPGCNHead
from ..poses import find_reader
from ..poses.labels import NO_COORDS

# The options on which targets depend, of all top-down codecs of MMPose that our readers read.
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


def check_targets(dataset: BaseDataset, model: nn.Module, later: Sequence[Sequence[dict]] = ()) -> None:
    """Compares a data set's keypoints and its pipelines with a top-down model's head.

    A changed ``codec`` has to be written again wherever a base config uses it, and a place is easily forgotten.

    Args:
        dataset: A data set of MMPose, or a wrapper of one.
        model: The model that it is for.
        later: Configs of pipelines that replace the data set's own in the course of the training.

    Raises:
        UserError: The data set has another number of keypoints than the head, or a pipeline crops images to another
            size, encodes other targets than the head's codec, or does not pack what the head learns from.
    """
    head = getattr(model, 'head', None)
    reader = find_reader(head)
    if reader is None:
        return
    codec = reader.codec
    inner: Any = dataset
    while hasattr(inner, 'dataset'):
        inner = inner.dataset
    is_trained = not getattr(inner, 'test_mode', False)
    takes_coords = is_trained and isinstance(head, IGPGCNHead) and getattr(model, 'task_loss', True)
    for pipeline in (getattr(inner, 'pipeline', None), *map(Compose, later)):
        num_keypoints = dataset.metainfo['num_keypoints']
        for transform in getattr(pipeline, 'transforms', ()):
            if isinstance(transform, KeypointConverter):
                num_keypoints = transform.num_keypoints
            elif isinstance(transform, TopdownAffine) and tuple(transform.input_size) != reader.input_size:
                raise UserError(
                    f"TopdownAffine.input_size in the pipeline is {tuple(transform.input_size)}, but the head's codec "
                    f'has {reader.input_size} (w, h): write the changed codec into model.head.decoder and each '
                    'pipeline'
                )
            elif isinstance(transform, GenerateTarget) and not isinstance(transform.encoder, list):
                difference = _difference(transform.encoder, codec)
                if difference is not None:
                    raise UserError(
                        f"GenerateTarget.encoder in the pipeline has {difference} in the head's codec "
                        '(model.head.decoder): write the changed codec into both'
                    )
            elif isinstance(transform, PackPoseInputs) and takes_coords and not transform.pack_transformed:
                raise UserError(f'model.head learns from labels, but {NO_COORDS}')
        if num_keypoints != reader.num_keypoints:
            raise UserError(
                f'model.head.out_channels is {reader.num_keypoints}, but the data set '
                f'({dataset.metainfo["dataset_name"]}) has {num_keypoints} keypoints'
            )


def _difference(encoder: BaseKeypointCodec, codec: BaseKeypointCodec) -> Optional[str]:
    """Of the two codecs: the first option that differs."""
    if type(encoder) is not type(codec):
        return f'type={type(encoder).__name__}, and {type(codec).__name__}'
    for name in CODEC_OPTIONS:
        own, other = (getattr(one, name, ()) for one in (encoder, codec))
        if not np.array_equal(own, other):
            return f'{name}={own}, and {other}'
    return None
