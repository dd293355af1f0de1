"""The joints and limbs of a dataset, read from its metainfo."""

import warnings
from typing import Any, List, NamedTuple, Tuple, Union

import torch
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS
from torch import Tensor

from ..errors import UserError


class Skeleton(NamedTuple):
    """K joints and E limbs.

    Args:
        names: The K joints' names.
        links: The E limbs, pairs of joint indices.
        sigmas: The K joints' OKS sigmas; none where the metainfo has none.
        flip_indices: The joint that each becomes in the mirrored picture.
    """

    names: Tuple[str, ...]
    links: Tuple[Tuple[int, int], ...]
    sigmas: Tuple[float, ...]
    flip_indices: Tuple[int, ...]

    @property
    def num_keypoints(self) -> int:
        return len(self.names)

    def edges(self) -> Tensor:
        """2×E, int64: the two ends of each limb."""
        return torch.tensor(self.links, dtype=torch.long).T.contiguous()

    def adjacency(self) -> Tensor:
        """K×K, bool, symmetric, with self-loops."""
        first, second = self.edges()
        matrix = torch.eye(self.num_keypoints, dtype=torch.bool)
        matrix[first, second] = matrix[second, first] = True
        return matrix


def load_skeleton(metainfo: Union[str, dict]) -> Skeleton:
    """The skeleton that a dataset's metainfo describes.

    The Runner hands a model no metainfo when it builds it, so the config names it. A skeleton in several parts, or with
    joints that no limb reaches (the face of ``'CocoWholeBodyDataset'``), is taken as it is.

    Args:
        metainfo: A dataset class registered in MMPose (``'CocoDataset'``, ``'CrowdPoseDataset'``, ...), or a metainfo
            dict as MMPose's datasets take it, in full or as ``dict(from_file='configs/_base_/datasets/coco.py')``.

    Raises:
        UserError: The dataset is unknown, or the metainfo is incomplete, does not number and name its joints one by
            one, has no links, has one twice, or has one that does not join two of its joints.
    """
    where = f'metainfo {metainfo!r}' if isinstance(metainfo, str) else 'the metainfo given'
    raw: Any = metainfo
    if isinstance(metainfo, str):
        dataset = DATASETS.get(metainfo)
        if dataset is None or not getattr(dataset, 'METAINFO', None):
            raise UserError(
                f'{where} is not a dataset class of MMPose with metainfo of its own: '
                'name one such as "CocoDataset" or "CrowdPoseDataset", or give the metainfo dict'
            )
        raw = dataset.METAINFO
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # that it finds the metainfo in MMPose's own folder
            parsed = parse_pose_metainfo(dict(raw))
    except (AssertionError, FileNotFoundError) as error:
        raise UserError(
            f'{where} cannot be read ({error}): it takes dataset_name, keypoint_info, skeleton_info, joint_weights and '
            'sigmas, or from_file'
        ) from error
    except KeyError as error:
        raise UserError(f'{where} names the joint {error} in a link or as a swap, but has no such joint') from error
    # MMPose numbers flip_indices in the order of keypoint_info
    if list(parsed['keypoint_id2name']) != list(range(parsed['num_keypoints'])):
        ids = list(parsed['keypoint_id2name'])
        raise UserError(f'{where} numbers its joints {ids}: the keys of keypoint_info must be 0 to K-1, in this order')
    names = tuple(parsed['keypoint_id2name'].values())
    if len(set(names)) != len(names):
        raise UserError(f'{where} names two joints alike, of {names}: every keypoint_info needs a name of its own')
    links: List[Tuple[int, int]] = [tuple(link) for link in parsed['skeleton_links']]
    if not links:
        raise UserError(f'{where} has no skeleton links: write them into skeleton_info')
    if any(len(link) != 2 for link in links):
        raise UserError(f'{where} has a link that does not join two joints: in skeleton_info, link=(name, name)')
    seen = set()
    for first, second in links:
        if first == second or frozenset((first, second)) in seen:
            raise UserError(
                f'{where} links {names[first]} and {names[second]} twice, or a joint to itself: remove that link'
            )
        seen.add(frozenset((first, second)))
    return Skeleton(names, tuple(links), tuple(float(s) for s in parsed['sigmas']), tuple(parsed['flip_indices']))


def match_joints(wanted: Skeleton, given: Skeleton) -> Tensor:
    """The joint of ``given`` with the name of each joint of ``wanted``: K indices, -1 where there is none."""
    indices = {name: index for index, name in enumerate(given.names)}
    return torch.tensor([indices.get(name, -1) for name in wanted.names])
