import copy

import numpy as np
from mmpose.datasets.transforms import RandomBBoxTransform

from mmpose_tskd.datasets.transforms import FastRandomBBoxTransform


def test_the_fast_transform_draws_what_mmposes_draws():
    sample = dict(bbox_scale=np.array([[150.0, 200.0]], np.float32), bbox_center=np.array([[70.0, 90.0]], np.float32))
    slow, fast = RandomBBoxTransform(scale_factor=(0.65, 1.35)), FastRandomBBoxTransform(scale_factor=(0.65, 1.35))
    for seed in range(200):
        np.random.seed(seed)
        expected = slow(copy.deepcopy(sample))
        after = np.random.rand()
        np.random.seed(seed)
        found = fast(copy.deepcopy(sample))
        assert np.random.rand() == after
        assert {key: value.tolist() for key, value in found.items()} == {
            key: value.tolist() for key, value in expected.items()
        }
