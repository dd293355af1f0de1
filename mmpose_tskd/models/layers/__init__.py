from .feature_adaption import FeatureAdaption
from .graph import GraphBlock, JointAttention, JointBatchNorm, SemGraphConv

__all__ = ['FeatureAdaption', 'GraphBlock', 'JointAttention', 'JointBatchNorm', 'SemGraphConv']
