"""MMPose's own distiller with the arguments of this package's distillers, so that the same runs compare them."""

import tempfile
from pathlib import Path
from typing import Any, Optional

from mmengine.config import Config
from mmpose.models.distillers.dwpose_distiller import DWPoseDistiller
from mmpose.registry import MODELS

from ..apis.complexity import plain_student


@MODELS.register_module()
class DWPosePeer(DWPoseDistiller):
    """``DWPoseDistiller``, first stage, as MMPose ships it: features and bins, their weights and their decay.

    The student keeps its head and the loss of its labels, so that it differs from the plain student in these terms
    alone. `DWPose <https://arxiv.org/abs/2307.15880>`_ has α = 7e-5 for the features and β = 0.1 for the bins.

    Args:
        teacher: The teacher's model.
        data_preprocessor: The student's; it makes the inputs of both.
        teacher_checkpoint: The teacher's weights.
        student: The rest of the model's config. Entries that only this package's distillers have are left out.
    """

    def __init__(
        self, teacher: dict, data_preprocessor: dict, teacher_checkpoint: Optional[str] = None, **student: Any
    ) -> None:
        models = dict(student=plain_student(student), teacher=dict(teacher))
        channels = {f'{name}_channels': model['head']['in_channels'] for name, model in models.items()}
        features = dict(type='FeaLoss', name='loss_fea', use_this=True, alpha_fea=7e-5, **channels)
        bins = dict(type='KDLoss', name='loss_logit', use_this=True, weight=0.1)
        with tempfile.TemporaryDirectory() as folder:
            files = {name: str(Path(folder, f'{name}.py')) for name in models}
            for name, model in models.items():
                Config(dict(model=model)).dump(files[name])
            super().__init__(
                teacher_cfg=files['teacher'],
                student_cfg=files['student'],
                teacher_pretrained=teacher_checkpoint,
                distill_cfg=Config(dict(locations=[dict(methods=[features, bins])])).locations,
                data_preprocessor=data_preprocessor,
            )
        if not hasattr(self.student.head.loss_module, 'beta'):
            self.student.head.loss_module.beta = 1.0  # a temperature of MMPose's KLDiscretLoss, at its default
