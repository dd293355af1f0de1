from types import SimpleNamespace

import pytest
from mmengine.registry import init_default_scope
from mmpose.registry import KEYPOINT_CODECS, TRANSFORMS

from mmpose_tskd.datasets.target_checks import check_targets
from mmpose_tskd.errors import UserError


def test_a_head_that_decodes_by_dark_needs_targets_that_are_drawn_for_it():
    init_default_scope('mmpose')
    codec = dict(type='MSRAHeatmap', input_size=(64, 96), heatmap_size=(16, 24), sigma=2)
    model = SimpleNamespace(head=SimpleNamespace(decoder=None, out_channels=17))
    model.head.decoder = KEYPOINT_CODECS.build(dict(codec, unbiased=True))
    for unbiased in (True, False):
        target = TRANSFORMS.build(dict(type='GenerateTarget', encoder=dict(codec, unbiased=unbiased)))
        metainfo = dict(num_keypoints=17, dataset_name='toy')
        dataset = SimpleNamespace(metainfo=metainfo, pipeline=SimpleNamespace(transforms=[target]))
        if unbiased:
            check_targets(dataset, model)
        else:
            with pytest.raises(UserError, match="has unbiased=False, and True in the head's codec"):
                check_targets(dataset, model)
