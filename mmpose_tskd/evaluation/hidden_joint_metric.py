import copy
from typing import Callable, Optional

import numpy as np
from mmpose.registry import METRICS
from xtcocotools.coco import COCO

from .crowdpose_metric import drop_unmeasured
from .fast_coco_metric import FastCocoMetric

HIDDEN, SEEN = 1, 2  # COCO's visibility of labeled keypoints


def keep_joints(coco: COCO, wanted: Callable[[np.ndarray], np.ndarray]) -> COCO:
    """A copy of labels in which only the wanted keypoints are labeled.

    The COCO evaluation ignores an instance that has none of them, and the detections that match it.

    Args:
        coco: The labels.
        wanted: Takes an instance's K visibilities (0 no label, 1 hidden, 2 seen) and returns which keypoints to keep
            (K, bool).
    """
    kept = COCO()
    kept.dataset = copy.deepcopy(coco.dataset)
    kept.anno_file = coco.anno_file[:1]  # where the crowd evaluation looks up its images' subsets
    for annotation in kept.dataset['annotations']:
        joints = np.array(annotation['keypoints'], dtype=float).reshape(-1, 3)
        joints[~wanted(joints[:, 2])] = 0
        annotation.update(keypoints=joints.flatten().tolist(), num_keypoints=int((joints[:, 2] > 0).sum()))
    kept.createIndex()
    return kept


@METRICS.register_module()
class HiddenJointCocoMetric(FastCocoMetric):
    """COCO's AP and AR over the hidden keypoints alone: those with v = 1 in the labels, behind a person or a thing.

    OKS (COCO's) is the mean over an instance's hidden keypoints; instances that have none are ignored. Where no
    keypoint of the set is hidden there is no such number, and none is reported.

    Args:
        kwargs: Of :class:`FastCocoMetric`; ``prefix`` is ``'coco_hidden'`` by default.
    """

    default_prefix: Optional[str] = 'coco_hidden'

    def _do_python_keypoint_eval(self, outfile_prefix: str) -> list:
        every_joint, self.coco = self.coco, keep_joints(self.coco, lambda v: v == HIDDEN)
        try:
            return drop_unmeasured(super()._do_python_keypoint_eval(outfile_prefix), self.prefix)
        finally:
            self.coco = every_joint
