"""The language of poses: the common outputs of all pose networks, the readers of their heads, and skeletons."""

from .build import build_reader
from .heatmap import HeatmapReader
from .keypoints import KeypointReader, join_keypoints
from .labels import labelled_coords, labelled_joints
from .outputs import PoseOutputs, PoseReader
from .reader import HeadReader, flip_coords
from .refined import RefinerReader
from .rescaled import RescaledView
from .simcc import SimCCReader, merge_flipped_simcc, simcc_peaks, simcc_scores
from .skeleton import Skeleton, load_skeleton, match_joints

__all__ = [
    'HeadReader',
    'HeatmapReader',
    'KeypointReader',
    'PoseOutputs',
    'PoseReader',
    'RefinerReader',
    'RescaledView',
    'SimCCReader',
    'Skeleton',
    'build_reader',
    'flip_coords',
    'join_keypoints',
    'labelled_coords',
    'labelled_joints',
    'load_skeleton',
    'match_joints',
    'merge_flipped_simcc',
    'simcc_peaks',
    'simcc_scores',
]
