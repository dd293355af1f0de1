import copy
from typing import Any, Dict, Optional, Sequence

import torch
from mmengine.hooks import Hook
from mmpose.registry import HOOKS

from ...errors import UserError
from ...models.heads.official_simcc_head import pack_instances
from ...models.teachers import LiveTeacher
from .utils import unwrapped_model


@HOOKS.register_module()
class TeacherEvaluationHook(Hook):
    """Reports the teacher's own metrics beside the student's in each validation, as ``teacher/...``.

    It evaluates the pose that teaches: the teacher's decoded one, in the student's keypoints and pixels (with
    ``teacher_flip_test``, the average). The teacher runs in the first validation alone; later ones report the same
    metrics again, since the teacher does not change. Scores are confidences, on one scale for all heads. A keypoint
    that the teacher does not know has score 0.
    """

    def __init__(self) -> None:
        self.evaluator: Any = None
        self.metrics: Optional[Dict[str, float]] = None

    def before_train(self, runner) -> None:
        if getattr(unwrapped_model(runner), 'teacher', None) is None:
            kind = type(unwrapped_model(runner)).__name__
            raise UserError(
                f'custom_hooks: TeacherEvaluationHook needs a distiller with a teacher, which model.type={kind} is not'
            )
        if not isinstance(unwrapped_model(runner).teacher, LiveTeacher):
            raise UserError(
                'custom_hooks: TeacherEvaluationHook asks a teacher for the poses of the validation images, which a '
                'record does not have: take the hook out'
            )
        unwrapped_model(runner).learn_joints()  # a resumed run may begin with the validation that it still owes
        if runner.val_loop is None:
            raise UserError('custom_hooks: TeacherEvaluationHook needs a validation: set val_dataloader, val_evaluator')
        metrics = copy.deepcopy(runner.cfg.val_evaluator)
        for metric in metrics if isinstance(metrics, list) else [metrics]:
            metric.pop('outfile_prefix', None)  # the student's results stay there
        self.evaluator = runner.build_evaluator(metrics)
        self.evaluator.dataset_meta = runner.val_dataloader.dataset.metainfo

    @torch.no_grad()
    def after_val_iter(
        self, runner, batch_idx: int, data_batch: Any = None, outputs: Optional[Sequence] = None
    ) -> None:
        if self.evaluator is None or self.metrics is not None:
            return
        model = unwrapped_model(runner)
        data = model.data_preprocessor(copy.deepcopy(data_batch), False)
        answer = model.teacher(data['inputs'])
        scores = answer.confidence
        if answer.weights is not None:
            scores = scores * (answer.weights > 0)
        instances = pack_instances(model.reader.decoded(answer.peaks), scores)
        samples = model.add_pred_to_datasample(instances, None, data['data_samples'])
        self.evaluator.process(data_samples=samples, data_batch=data_batch)

    def after_val_epoch(self, runner, metrics: Optional[Dict[str, float]] = None) -> None:
        if self.evaluator is None:
            return
        if self.metrics is None:
            self.metrics = self.evaluator.evaluate(len(runner.val_dataloader.dataset))
        for name, value in self.metrics.items():
            runner.message_hub.update_scalar(f'val/teacher/{name}', value)
