from .coco_submission import CocoTestDevSubmission
from .crowdpose_metric import CrowdPoseMetric
from .edge_length_error import EdgeLengthError
from .fast_coco_metric import FastCocoMetric, FastCocoWholeBodyMetric
from .hidden_joint_metric import HiddenJointCocoMetric
from .person_record_metric import PersonRecordMetric

__all__ = [
    'CocoTestDevSubmission',
    'CrowdPoseMetric',
    'EdgeLengthError',
    'FastCocoMetric',
    'FastCocoWholeBodyMetric',
    'HiddenJointCocoMetric',
    'PersonRecordMetric',
]
