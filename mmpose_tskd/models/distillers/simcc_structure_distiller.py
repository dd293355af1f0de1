from typing import Dict, Optional

from mmpose.registry import MODELS

from .pose_distiller import PoseDistiller


@MODELS.register_module()
class SimCCStructureDistiller(PoseDistiller):
    r"""Stage 1 of the paper: feature, pose and structure distillation (Eq. 5).

    .. math::
        L_{s1} = L_{KL} + \gamma \alpha L_{fea} + \gamma \beta (L_1 + L_{cst})

    with :math:`L_{KL}` the SimCC head's own loss, α = 5e-5 and β = 0.1; :class:`DistillWeightDecayHook` lets γ fall
    (Eq. 4).

    Args:
        distill_losses: Options of the paper's losses, ``loss_feat`` (:class:`FeatureMSELoss`, needs
            ``student_channels`` and ``teacher_channels``), ``loss_pose`` (:class:`PoseL1Loss`) and ``loss_structure``
            (:class:`StructureLoss`). None instead of options leaves one out; further names with a ``type`` add losses.
        kwargs: Of :class:`PoseDistiller`.
    """

    paper_losses = dict(
        loss_feat=dict(type='FeatureMSELoss', loss_weight=5e-5),
        loss_pose=dict(type='PoseL1Loss', loss_weight=0.1),
        loss_structure=dict(type='StructureLoss', loss_weight=0.1),
    )

    def __init__(self, distill_losses: Optional[Dict[str, Optional[dict]]] = None, **kwargs):
        options = {**dict.fromkeys(self.paper_losses, {}), **(distill_losses or {})}
        losses = {
            name: None if option is None else {**self.paper_losses.get(name, {}), **option}
            for name, option in options.items()
        }
        super().__init__(distill_losses=losses, **kwargs)
