"""The keypoints and limbs of a dataset, read from its metainfo, and how those of two are matched."""

import re
import warnings
from typing import Any, List, NamedTuple, Optional, Tuple, Union

import torch
from mmengine.logging import MessageHub
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS
from torch import Tensor

from ..errors import UserError

NUMBERED = re.compile(r'(kpt|kp|key_?point|joint|landmark|point|pt|node)?[-_ ]?\d+', re.IGNORECASE)  # says no place


class Skeleton(NamedTuple):
    """K keypoints and E limbs.

    Args:
        names: The K keypoints' names.
        links: The E limbs, pairs of keypoint indices; none for most faces.
        sigmas: The K keypoints' OKS sigmas; none where the metainfo has none.
        flip_indices: The keypoint that each becomes in the mirrored image.
        dataset: The name of the data set.
    """

    names: Tuple[str, ...]
    links: Tuple[Tuple[int, int], ...]
    sigmas: Tuple[float, ...]
    flip_indices: Tuple[int, ...]
    dataset: str

    @property
    def num_keypoints(self) -> int:
        return len(self.names)

    def edges(self) -> Tensor:
        """2×E, int64: the two ends of each limb.

        Raises:
            UserError: There is no limb, or one is there twice or does not join two keypoints.
        """
        where = f'the metainfo of {self.dataset}'
        if not self.links:
            raise UserError(f'{where} has no skeleton links: write them into skeleton_info')
        if any(len(link) != 2 for link in self.links):
            raise UserError(f'{where} has a link that does not join two keypoints: in skeleton_info, link=(name, name)')
        seen = set()
        for first, second in self.links:
            if first == second or frozenset((first, second)) in seen:
                raise UserError(
                    f'{where} links {self.names[first]} and {self.names[second]} twice, or a keypoint to itself: '
                    'remove that link'
                )
            seen.add(frozenset((first, second)))
        return torch.tensor(self.links, dtype=torch.long).T.contiguous()

    def adjacency(self) -> Tensor:
        """K×K, bool, symmetric, with self-loops.

        Raises:
            UserError: As :meth:`edges`.
        """
        first, second = self.edges()
        matrix = torch.eye(self.num_keypoints, dtype=torch.bool)
        matrix[first, second] = matrix[second, first] = True
        return matrix

    def unmirrored(self) -> List[str]:
        """The keypoints that mirroring twice turns into others, because of a mistake in the metainfo's swaps."""
        flip = self.flip_indices
        return [name for k, name in enumerate(self.names) if flip[flip[k]] != k]

    def require_same(self, other: 'Skeleton', key: str) -> None:
        """Compares a skeleton that a config names with the training data's.

        Args:
            other: The training data's.
            key: The config key of this one, for the message.

        Raises:
            UserError: Their keypoints, limbs or mirror pairs differ.
        """
        advice = f'the training data are {other.dataset}: leave {key} out, or name the same keypoints'
        if self.names != other.names:
            both = [f'{a} and {b}' for a, b in zip(self.names, other.names) if a != b] or ['another number of them']
            raise UserError(f'{key} ({self.dataset}) has other keypoints than the data, such as {both[0]}; {advice}')
        if {frozenset(link) for link in self.links} != {frozenset(link) for link in other.links}:
            raise UserError(f'{key} ({self.dataset}) has other limbs (skeleton_info) than the data; {advice}')
        if self.flip_indices != other.flip_indices:
            raise UserError(f'{key} ({self.dataset}) has other mirror pairs (swap) than the data; {advice}')


def load_skeleton(metainfo: Union[str, dict], key: str = 'metainfo') -> Skeleton:
    """The skeleton that a dataset's metainfo describes.

    A skeleton in several parts, or with keypoints that no limb reaches (the face of ``'CocoWholeBodyDataset'``), is
    taken as it is, and so is one without limbs.

    Args:
        metainfo: A dataset class registered in MMPose (``'CocoDataset'``, ``'CrowdPoseDataset'``, ...), or a metainfo
            dict as MMPose's datasets take it, in full or as ``dict(from_file='configs/_base_/datasets/coco.py')``, or
            as they hand it out.
        key: The config key that it stands in, for messages.

    Raises:
        UserError: The dataset is unknown, or the metainfo is incomplete, does not number and name its keypoints one by
            one, or has a link or a swap to a keypoint that it has not.
    """
    where = f'{key}={metainfo!r}' if isinstance(metainfo, str) else key
    raw: Any = metainfo
    if isinstance(metainfo, str):
        dataset = DATASETS.get(metainfo)
        if dataset is None or not getattr(dataset, 'METAINFO', None):
            raise UserError(
                f'{where} is not a dataset class of MMPose with metainfo of its own: '
                'name one such as "CocoDataset" or "CrowdPoseDataset", or give the metainfo dict'
            )
        raw = dataset.METAINFO
    parsed = raw if 'keypoint_id2name' in raw else _parse(raw, where)
    # MMPose numbers flip_indices in the order of keypoint_info
    if list(parsed['keypoint_id2name']) != list(range(parsed['num_keypoints'])):
        ids = list(parsed['keypoint_id2name'])
        raise UserError(f'{where} numbers its keypoints {ids}: the keys of keypoint_info must be 0 to K-1, in order')
    names = tuple(parsed['keypoint_id2name'].values())
    if len(set(names)) != len(names):
        raise UserError(f'{where} names two keypoints alike, of {names}: every keypoint_info needs a name of its own')
    return Skeleton(
        names,
        tuple(tuple(link) for link in parsed['skeleton_links']),
        tuple(float(s) for s in parsed['sigmas']),
        tuple(parsed['flip_indices']),
        str(parsed['dataset_name']),
    )


def _parse(raw: Any, where: str) -> dict:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # that it finds the metainfo in MMPose's own folder
            return parse_pose_metainfo(dict(raw))
    except (AssertionError, FileNotFoundError) as error:
        raise UserError(
            f'{where} cannot be read ({error}): it takes dataset_name, keypoint_info, skeleton_info, joint_weights and '
            'sigmas, or from_file'
        ) from error
    except KeyError as error:
        raise UserError(f'{where} names {error} in a link or as a swap, but has no such keypoint') from error


def training_skeleton(num_keypoints: int, given: Optional[Skeleton], key: str) -> Optional[Skeleton]:
    """The keypoints of a network in training: those of the data, which the Runner's ``RuntimeInfoHook`` reports.

    Args:
        num_keypoints: How many keypoints the network has.
        given: The keypoints that the config names, or None. If the data have ``num_keypoints`` keypoints, they must be
            the same. If not, the pipeline converts the data's (``KeypointConverter``), and ``given`` counts.
        key: The config key of ``given``, for messages.

    Returns:
        The keypoints; None where neither a Runner nor the config names any.

    Raises:
        UserError: The data have other keypoints than ``given``; or another number than the network, and ``given`` is
            None.
    """
    metainfo = MessageHub.get_current_instance().get_info('dataset_meta')
    found = None if metainfo is None else load_skeleton(metainfo)
    if found is None:
        return given
    if found.num_keypoints == num_keypoints:
        if given is not None:
            given.require_same(found, key)
    elif given is None:
        raise UserError(
            f'the training data ({found.dataset}) have {found.num_keypoints} keypoints, the student {num_keypoints}: '
            f'where the pipeline converts them (KeypointConverter), set {key} to what it makes of them'
        )
    return given or found


def config_skeleton(config: dict) -> Optional[Skeleton]:
    """The keypoints of the data set that a whole config names; None where it names none, as a model's alone."""
    for split in ('train', 'val', 'test'):
        dataset = (config.get(f'{split}_dataloader') or {}).get('dataset')
        while dataset is not None:
            kind = dataset['type']
            kind = DATASETS.get(kind) if isinstance(kind, str) else kind
            metainfo = dataset.get('metainfo') or getattr(kind, 'METAINFO', None)
            if metainfo:
                return load_skeleton(metainfo)
            dataset = dataset.get('dataset') or (dataset.get('datasets') or [None])[0]
    return None


def match_joints(wanted: Skeleton, given: Skeleton) -> Optional[Tensor]:
    """Finds for each keypoint of ``wanted`` the one of ``given`` with the same name.

    A name that is only a number (``kpt-0``) is matched only if both are of the same data set.

    Returns:
        K indices into ``given``, -1 where it has none; None where both have the same keypoints in the same order.
    """
    same_data = wanted.dataset == given.dataset
    indices = {name: k for k, name in enumerate(given.names) if same_data or not NUMBERED.fullmatch(name)}
    joints = [indices.get(name, -1) for name in wanted.names]
    return None if joints == list(range(given.num_keypoints)) else torch.tensor(joints)
