from .feature_mse_loss import FeatureMSELoss, feature_mse_loss
from .heatmap_mse_loss import HeatmapMSELoss, heatmap_mse_loss
from .joint_affinity_loss import JointAffinityLoss, joint_affinity_loss
from .pose_l1_loss import PoseL1Loss, pose_l1_loss
from .progressive_pose_loss import ProgressivePoseLoss, progressive_pose_loss
from .simcc_kl_loss import SimCCKLLoss, simcc_kl_loss
from .simcc_logit_kd_loss import SimCCLogitKDLoss, simcc_logit_kd_loss
from .structure_loss import StructureLoss, structure_loss

__all__ = [
    'FeatureMSELoss',
    'HeatmapMSELoss',
    'JointAffinityLoss',
    'PoseL1Loss',
    'ProgressivePoseLoss',
    'SimCCKLLoss',
    'SimCCLogitKDLoss',
    'StructureLoss',
    'feature_mse_loss',
    'heatmap_mse_loss',
    'joint_affinity_loss',
    'pose_l1_loss',
    'progressive_pose_loss',
    'simcc_kl_loss',
    'simcc_logit_kd_loss',
    'structure_loss',
]
