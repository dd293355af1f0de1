from .pose_distiller import PoseDistiller
from .simcc_structure_distiller import SimCCStructureDistiller

__all__ = ['PoseDistiller', 'SimCCStructureDistiller']
