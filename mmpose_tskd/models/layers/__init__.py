from .feature_adaption import FeatureAdaption
from .graph import GraphBlock, JointAttention, SemGraphConv, normalize_joints

__all__ = ['FeatureAdaption', 'GraphBlock', 'JointAttention', 'SemGraphConv', 'normalize_joints']
