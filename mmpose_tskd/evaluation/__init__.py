from .edge_length_error import EdgeLengthError
from .hidden_joint_metric import HiddenJointCocoMetric

__all__ = ['EdgeLengthError', 'HiddenJointCocoMetric']
