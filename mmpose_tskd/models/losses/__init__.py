from .feature_mse_loss import FeatureMSELoss, feature_mse_loss
from .pose_l1_loss import PoseL1Loss, pose_l1_loss
from .progressive_pose_loss import ProgressivePoseLoss, progressive_pose_loss
from .simcc_kl_loss import SimCCKLLoss, simcc_kl_loss
from .structure_loss import StructureLoss, structure_loss

__all__ = [
    'FeatureMSELoss',
    'PoseL1Loss',
    'ProgressivePoseLoss',
    'SimCCKLLoss',
    'StructureLoss',
    'feature_mse_loss',
    'pose_l1_loss',
    'progressive_pose_loss',
    'simcc_kl_loss',
    'structure_loss',
]
