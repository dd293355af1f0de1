import json
from pathlib import Path
from typing import Optional, Sequence, Union

import numpy as np
import torch
from mmpose.registry import MODELS
from torch import Tensor, nn

from ...errors import UserError
from ...poses import PoseOutputs, Skeleton
from .checks import check_option, check_shapes
from .joint_weights import joint_weights


def structure_loss(
    student: Tensor,
    teacher: Tensor,
    edges: Tensor,
    edge_weights: Tensor,
    edge_form: str,
    joint_weights: Optional[Tensor] = None,
) -> Tensor:
    r"""Difference of two poses' limbs (Eq. 3 of the paper), limb by limb, averaged over instances.

    .. math::
        L_{cst} = \frac{1}{N} \sum_n \sum_{(i,j) \in E} \omega_{ij}
        \left| \| P^t_{ni} - P^t_{nj} \|_2 - \| P^s_{ni} - P^s_{nj} \|_2 \right|

    ``edge_form='vector'`` compares the limbs themselves, direction included, by their L1 distance.

    Args:
        student: N×K×2, input pixels.
        teacher: N×K×2, input pixels.
        edges: 2×E, int64: the two ends of each limb.
        edge_weights: E, ω.
        edge_form: ``'length'`` or ``'vector'``.
        joint_weights: N×K or 1×K; a limb counts with the product of its two ends'. None counts each as 1.

    Returns:
        Scalar, fp32, pixels.

    Raises:
        ValueError: The shapes differ, or ``edge_form`` is neither.
    """
    check_option('edge_form', edge_form, ('length', 'vector'))
    check_shapes('structure_loss', student, teacher, joint_weights)
    first, second = edges
    limbs_student, limbs_teacher = (p[:, first] - p[:, second] for p in (student.float(), teacher.float()))
    if edge_form == 'length':
        difference = (limbs_student.norm(dim=-1) - limbs_teacher.norm(dim=-1)).abs()
    else:
        difference = (limbs_student - limbs_teacher).abs().sum(-1)
    if joint_weights is not None:
        difference = difference * joint_weights[:, first] * joint_weights[:, second]
    return (difference * edge_weights).sum(-1).mean()


@MODELS.register_module()
class StructureLoss(nn.Module):
    """:func:`structure_loss` between the student's and the teacher's ``coords``, over the limbs of the training data.

    Before the first step the distiller passes these limbs to :meth:`set_skeleton`.

    Args:
        edge_form: ``'length'`` (Eq. 3) or ``'vector'``.
        edge_weights: ω: ``'uniform'``; ``'sigma'``, 1 / (σ_i + σ_j) of the keypoints' OKS sigmas; ``'length_std'``, 1
            over the standard deviation of the limb's length (as a share of the longer side of the instance's box) in
            the labels of ``ann_file``; or one number a limb. All but the numbers are scaled to a mean of 1.
        ann_file: COCO-format labels, for ``'length_std'``.
        use_target_weight: Weigh a limb by the product of its ends' ``keypoint_weights``.
        hard_teacher: Compare with the teacher's decoded pose (``peaks``) instead of its expectation.
        loss_weight: β of Eq. 5.

    Raises:
        UserError: An option has no such value, or ``'length_std'`` has no ``ann_file``.
    """

    edges: Tensor  # no buffers: EMA copies the model before they are set, and its copy would lack them
    edge_weights: Tensor

    def __init__(
        self,
        edge_form: str = 'length',
        edge_weights: Union[str, Sequence[float]] = 'uniform',
        ann_file: Optional[str] = None,
        use_target_weight: bool = False,
        hard_teacher: bool = False,
        loss_weight: float = 0.1,
    ):
        super().__init__()
        check_option('StructureLoss.edge_form', edge_form, ('length', 'vector'))
        if isinstance(edge_weights, str) and edge_weights not in ('uniform', 'sigma', 'length_std'):
            raise UserError(
                'StructureLoss.edge_weights is "uniform", "sigma", "length_std" or one number a limb, not '
                f'{edge_weights!r}'
            )
        if edge_weights == 'length_std' and ann_file is None:
            raise UserError('StructureLoss.edge_weights="length_std" needs the training labels: set ann_file')
        self.edge_form = edge_form
        self.edge_kind = edge_weights
        self.ann_file = ann_file
        self.use_target_weight = use_target_weight
        self.hard_teacher = hard_teacher
        self.loss_weight = loss_weight

    def set_skeleton(self, skeleton: Skeleton, device: torch.device) -> None:
        """Takes the limbs from the keypoints of the training data, and works out ω.

        Args:
            skeleton: The student's.
            device: Where the poses will be.

        Raises:
            UserError: There are no limbs, ``edge_weights`` has another number of entries or needs sigmas that are
                missing, or the labels in ``ann_file`` are missing, too few, or of another dataset.
        """
        self.edges = skeleton.edges().to(device)
        self.edge_weights = make_edge_weights(skeleton, self.edge_kind, self.ann_file).to(device)

    def forward(self, student: PoseOutputs, teacher: PoseOutputs, data_samples: Sequence) -> Tensor:
        """Scalar."""
        target = teacher.peaks if self.hard_teacher else teacher.coords
        weight = joint_weights(teacher, data_samples, self.use_target_weight)
        return self.loss_weight * structure_loss(
            student.coords, target, self.edges, self.edge_weights, self.edge_form, weight
        )


def make_edge_weights(skeleton: Skeleton, kind: Union[str, Sequence[float]], ann_file: Optional[str] = None) -> Tensor:
    """ω of Eq. 3, E numbers; ``kind`` and ``ann_file`` are :class:`StructureLoss`'s."""
    if not isinstance(kind, str):
        if len(kind) != len(skeleton.links):
            raise UserError(f'StructureLoss.edge_weights holds {len(kind)} numbers for {len(skeleton.links)} limbs')
        return torch.tensor(kind, dtype=torch.float)
    if kind == 'uniform':
        weights = torch.ones(len(skeleton.links))
    elif kind == 'sigma':
        if len(skeleton.sigmas) != skeleton.num_keypoints:
            raise UserError(
                f'StructureLoss.edge_weights="sigma" needs a sigma for each of {skeleton.num_keypoints} keypoints, '
                f'but the metainfo has {len(skeleton.sigmas)}: write them into sigmas, or choose "uniform"'
            )
        weights = 1 / torch.tensor(skeleton.sigmas)[skeleton.edges()].sum(0)
    else:
        weights = 1 / _length_std(skeleton, str(ann_file))
    return weights / weights.mean()


def _length_std(skeleton: Skeleton, ann_file: str) -> Tensor:
    """E numbers: the standard deviation of each limb's length, as a share of the longer side of the instance's box."""
    if not Path(ann_file).is_file():
        raise UserError(f'StructureLoss.ann_file: there is no {ann_file}')
    labels = json.loads(Path(ann_file).read_text())['annotations']
    people = [a for a in labels if max(a['bbox'][2:]) > 0 and any(a['keypoints'][2::3])]
    found = {len(a['keypoints']) // 3 for a in people} - {skeleton.num_keypoints}
    if found:
        raise UserError(
            f'StructureLoss.ann_file={ann_file} labels {found.pop()} keypoints, the metainfo has '
            f'{skeleton.num_keypoints}: name the labels of the same dataset'
        )
    joints = np.array([a['keypoints'] for a in people], dtype=np.float64).reshape(-1, skeleton.num_keypoints, 3)
    joints[..., :2] /= np.array([max(a['bbox'][2:]) for a in people])[:, None, None]
    spread = []
    for first, second in skeleton.links:
        seen = (joints[:, first, 2] > 0) & (joints[:, second, 2] > 0)
        if seen.sum() < 2:
            names = f'{skeleton.names[first]}-{skeleton.names[second]}'
            raise UserError(f'{ann_file} labels the limb {names} in fewer than two instances: its spread is unknown')
        limbs = joints[seen, first, :2] - joints[seen, second, :2]
        spread.append(np.linalg.norm(limbs, axis=-1).std())
    return torch.tensor(spread, dtype=torch.float)
