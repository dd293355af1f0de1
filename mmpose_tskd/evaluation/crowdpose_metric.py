from typing import List, Optional

from mmengine.logging import print_log
from mmpose.registry import METRICS

from ..errors import UserError
from .fast_coco_metric import FastCocoMetric


def drop_unmeasured(stats: List[tuple], prefix: Optional[str]) -> List[tuple]:
    """The statistics without those that the COCO tools give as -1, because there was no ground truth for them."""
    missing = [name for name, value in stats if not value >= 0]
    if missing:
        print_log(f'{prefix}: n/a, without ground truth: {", ".join(missing)}', 'current')
    return [(name, value) for name, value in stats if value >= 0]


@METRICS.register_module()
class CrowdPoseMetric(FastCocoMetric):
    """CrowdPose's evaluation: AP and AR, and AP of easy, medium and hard images.

    As MMPose's ``CocoMetric`` with ``iou_type='keypoints_crowd'``: the area in OKS is 0.53 times the box's, at most 20
    instances an image, and an image is easy below a crowd index of 0.2, medium below 0.8, and hard above. AR .5 is the
    recall at OKS 0.50. A subset without instances is n/a, and left out of the result; ``CocoMetric`` says -1.

    Args:
        ann_file: The labels, with ``crowdIndex`` for each image.
        kwargs: Of :class:`FastCocoMetric`.

    Raises:
        UserError: An image in the labels has no crowd index.
    """

    default_prefix: Optional[str] = 'crowdpose'

    def __init__(self, ann_file: str, **kwargs) -> None:
        super().__init__(ann_file, **{'use_area': False, 'iou_type': 'keypoints_crowd', **kwargs})
        missing = [image['file_name'] for image in self.coco.dataset['images'] if 'crowdIndex' not in image]
        if missing:
            raise UserError(
                f'{ann_file}: {len(missing)} images have no crowdIndex, such as {missing[0]}; CrowdPoseMetric needs '
                'it. Use CocoMetric for data without.'
            )

    def _do_python_keypoint_eval(self, outfile_prefix: str) -> list:
        return drop_unmeasured(super()._do_python_keypoint_eval(outfile_prefix), self.prefix)
