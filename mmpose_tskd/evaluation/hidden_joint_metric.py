import copy
from typing import Optional

from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import METRICS
from xtcocotools.coco import COCO

from .crowdpose_metric import drop_unmeasured

HIDDEN = 1  # COCO's visibility of a joint that is labelled but not seen


def keep_hidden_joints(coco: COCO) -> COCO:
    """The same labels, with those joints alone that are hidden (v = 1).

    A person without one has no labelled joint left: the COCO evaluation ignores it, and what was detected there.
    """
    hidden = COCO()
    hidden.dataset = copy.deepcopy(coco.dataset)
    for annotation in hidden.dataset['annotations']:
        keypoints = annotation['keypoints']
        for k in range(0, len(keypoints), 3):
            if keypoints[k + 2] != HIDDEN:
                keypoints[k : k + 3] = [0, 0, 0]
        annotation['num_keypoints'] = sum(v > 0 for v in keypoints[2::3])
    hidden.createIndex()
    return hidden


@METRICS.register_module()
class HiddenJointCocoMetric(CocoMetric):
    """COCO's AP and AR over the hidden joints alone: those with v = 1 in the labels, behind a person or a thing.

    OKS (COCO's) is the mean over a person's hidden joints; people who have none are ignored. Where no joint of the set
    is hidden there is no such number, and none is reported.

    Args:
        kwargs: Of MMPose's ``CocoMetric``; ``prefix`` is ``'coco_hidden'`` by default.
    """

    coco: COCO
    default_prefix: Optional[str] = 'coco_hidden'

    def _do_python_keypoint_eval(self, outfile_prefix: str) -> list:
        every_joint, self.coco = self.coco, keep_hidden_joints(self.coco)
        try:
            return drop_unmeasured(super()._do_python_keypoint_eval(outfile_prefix), self.prefix)
        finally:
            self.coco = every_joint
