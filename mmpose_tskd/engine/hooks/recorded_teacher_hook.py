from typing import Any, List

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator
from mmpose.registry import HOOKS

from ...datasets.transforms import pack_input_frames
from ...errors import UserError
from ...models.teachers import RecordedTeacher
from .utils import unwrapped_model


@HOOKS.register_module()
class RecordedTeacherHook(Hook):
    """Prepares the training data for a :class:`RecordedTeacher`, which does not work without this hook.

    Before the first step it compares the record with the labels, and makes the pipeline pack with each sample where it
    is in its image.
    """

    priority = 'LOW'  # after what replaces the data loader or its pipeline

    def before_train(self, runner) -> None:
        teacher = getattr(unwrapped_model(runner), 'teacher', None)
        if not isinstance(teacher, RecordedTeacher):
            raise UserError('custom_hooks: RecordedTeacherHook needs model.teacher=dict(type="RecordedTeacher", ...)')
        unwrapped_model(runner).learn_joints()
        teacher.prepare(runner.train_dataloader.dataset)
        self._frame(runner)
        if isinstance(runner.train_loop, IterBasedTrainLoop):  # it already iterates over samples without that
            runner.train_loop.dataloader_iterator = _InfiniteDataloaderIterator(runner.train_dataloader)

    def before_train_epoch(self, runner) -> None:
        self._frame(runner)  # a hook such as PipelineSwitchHook may have set another pipeline

    def _frame(self, runner) -> None:
        packed = [pack_input_frames(transforms) for transforms in _pipelines(runner.train_dataloader.dataset)]
        if not any(packed):
            raise UserError(
                'a recorded teacher needs a top-down training pipeline, with one TopdownAffine and PackPoseInputs at '
                'its end'
            )


def _pipelines(dataset: Any) -> List[list]:
    """The transforms of a data set, and of those that a wrapper holds."""
    if hasattr(dataset, 'dataset'):
        return _pipelines(dataset.dataset)
    inner = [pipeline for part in getattr(dataset, 'datasets', ()) for pipeline in _pipelines(part)]
    transforms = getattr(getattr(dataset, 'pipeline', None), 'transforms', None)
    return inner if transforms is None else [*inner, transforms]
