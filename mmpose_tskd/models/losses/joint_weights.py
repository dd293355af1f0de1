from typing import Optional, Sequence

from torch import Tensor

from ...poses import PoseOutputs, keypoint_weights


def joint_weights(teacher: PoseOutputs, data_samples: Sequence, use_target_weight: bool) -> Optional[Tensor]:
    """How much each keypoint teaches, N×K or 1×K, or None where all count as 1.

    Args:
        teacher: The teacher's outputs, with its own weights.
        data_samples: N samples with their labels.
        use_target_weight: Weigh by the labels' ``keypoint_weights`` as well.
    """
    if not use_target_weight:
        return teacher.weights
    labeled = keypoint_weights(data_samples)
    return labeled if teacher.weights is None else teacher.weights * labeled
