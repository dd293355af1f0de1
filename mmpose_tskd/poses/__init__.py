"""The language of poses: the common outputs of all pose networks, the readers of their heads, and skeletons."""

from .build import build_reader, find_reader
from .combined import CombinedReader
from .heatmap import HeatmapReader
from .keypoints import KeypointReader, join_keypoints
from .labels import keypoint_weights, labeled_coords, labeled_joints, visible_joints
from .megvii import MegviiReader
from .outputs import PoseOutputs, PoseReader
from .reader import HeadReader, flip_coords
from .refined import RefinerReader
from .regression import RegressionReader
from .rescaled import RescaledView
from .simcc import SimCCReader, merge_flipped_simcc, simcc_peaks, simcc_scores
from .skeleton import Skeleton, config_skeleton, load_skeleton, match_joints, training_skeleton

__all__ = [
    'CombinedReader',
    'HeadReader',
    'HeatmapReader',
    'KeypointReader',
    'MegviiReader',
    'PoseOutputs',
    'PoseReader',
    'RefinerReader',
    'RegressionReader',
    'RescaledView',
    'SimCCReader',
    'Skeleton',
    'build_reader',
    'config_skeleton',
    'find_reader',
    'flip_coords',
    'join_keypoints',
    'keypoint_weights',
    'labeled_coords',
    'labeled_joints',
    'load_skeleton',
    'match_joints',
    'merge_flipped_simcc',
    'simcc_peaks',
    'simcc_scores',
    'training_skeleton',
    'visible_joints',
]
