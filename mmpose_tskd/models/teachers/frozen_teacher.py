from dataclasses import replace
from typing import Any, Callable, List, Optional, Union

import torch
from mmpose.registry import MODELS
from torch import Tensor

from ...checkpoints import find_checkpoint, load_strictly, load_weights, weights_digest
from ...errors import UserError
from ...paths import load_config, tool_command
from ...poses import PoseOutputs, Skeleton, build_reader, load_skeleton, match_joints
from .student_frame import StudentFrame


class FrozenTeacher:
    """A trained pose estimator that answers and never changes.

    It is no :class:`nn.Module`: held by a distiller it adds nothing to its parameters, its ``state_dict`` or its copies
    (EMA), and ``train()`` does not reach it, so its batch-norm statistics stay as they are. It is built by
    :meth:`build`, so that a model made for testing needs none of the teacher's files.

    Args:
        config: The teacher: a model dict, a config file, or a config of a package, ``'mmpose::path'``.
        checkpoint: Its weights: a file, a URL, or a work folder (best checkpoint).
        temperature: See :func:`build_reader`.
        metainfo: Its joints, where they are not the student's: a dataset class's name or a metainfo dict.
        student_metainfo: The student's joints, likewise.
        flip_test: Average its answers for the picture and the mirrored picture, at twice the cost.
        confidence_power: A joint teaches with its confidence (:attr:`PoseOutputs.confidence`) to this power.
    """

    def __init__(
        self,
        config: Union[str, dict],
        checkpoint: Optional[str],
        temperature: float = 1.0,
        metainfo: Union[str, dict, None] = None,
        student_metainfo: Union[str, dict, None] = None,
        flip_test: bool = False,
        confidence_power: float = 0.0,
    ):
        self.config = config
        self.checkpoint = checkpoint
        self.temperature = temperature
        if metainfo is not None and student_metainfo is None:
            raise UserError('model.teacher_metainfo is matched with model.metainfo by names: set that, too')
        self.student_skeleton = _load_skeleton(student_metainfo, 'metainfo')
        self.skeleton = _load_skeleton(metainfo, 'teacher_metainfo') or self.student_skeleton
        self.flip_indices: Optional[List[int]] = None
        if flip_test:
            if self.skeleton is None:
                raise UserError('model.teacher_flip_test needs model.metainfo, which says which joints mirror which')
            self.flip_indices = list(self.skeleton.flip_indices)
        self.confidence_power = confidence_power
        self.model: Any = None

    def __deepcopy__(self, memo: dict) -> 'FrozenTeacher':
        return self

    def find_checkpoint(self) -> str:
        """The file or URL of its weights.

        Raises:
            UserError: None is given, or there is none; with the commands that make one.
        """
        if self.checkpoint is None:
            raise UserError(
                'model.teacher_checkpoint is not set, and an untrained teacher teaches nothing: '
                f'give a checkpoint file, a URL or the work folder of the run that trained it.\n{self._how_to_get()}'
            )
        try:
            return find_checkpoint(self.checkpoint)
        except UserError as error:
            raise UserError(f'model.teacher_checkpoint: {error}.\n{self._how_to_get()}') from error

    def build(self, student: Any, source: str) -> None:
        """Builds the teacher and loads its weights, onto the student's device; on a CPU in channels-last.

        Args:
            student: The model it is to teach.
            source: The file or URL of the weights.

        Raises:
            UserError: The weights do not fit, or the teacher's pose or its input are not the student's.
        """
        with torch.random.fork_rng(devices=[]):  # the student's weights are the same with a teacher and without
            model = MODELS.build(load_model_config(self.config))
        self.reader = build_reader(model.head, self.temperature, 'model.teacher.head')
        joints = self._match(num_keypoints(model.head), num_keypoints(student.head))
        frame = StudentFrame(student, model, student.reader, self.reader, joints)
        load_strictly(model, load_weights(source), source, 'teacher')
        model.eval()
        model.requires_grad_(False)
        device = next(student.parameters()).device
        self.model, self.frame = model.to(device), frame.to(device)
        if device.type == 'cpu':  # faster there, whatever the student's memory format; on a GPU it follows the student
            self.model.to(memory_format=torch.channels_last)

    def _match(self, own: int, students: int) -> Optional[Tensor]:
        """The teacher's joint for each of the student's; None where they are the same."""
        student = self.student_skeleton
        if student is not None and student.num_keypoints != students:
            raise UserError(f'model.metainfo has {student.num_keypoints} key points, the student {students}')
        if self.skeleton is not None and self.skeleton.num_keypoints != own:
            key = 'metainfo, which stands for the teacher too,' if self.skeleton is student else 'teacher_metainfo'
            raise UserError(
                f'model.{key} has {self.skeleton.num_keypoints} key points, the teacher {own}: set '
                "model.teacher_metainfo to the teacher's dataset class or metainfo dict"
            )
        if self.skeleton is None and own != students:
            raise UserError(
                f'model.teacher has {own} key points, the student {students}: to match them by name, set '
                'model.teacher_metainfo and model.metainfo (a dataset class such as "CocoDataset", or a metainfo dict)'
            )
        if self.skeleton is None or self.student_skeleton is None or self.skeleton.names == self.student_skeleton.names:
            return None
        joints = match_joints(self.student_skeleton, self.skeleton)
        if not (joints >= 0).any():
            raise UserError(
                "model.teacher_metainfo and model.metainfo have no joint's name in common, such as "
                f'{self.skeleton.names[0]} and {self.student_skeleton.names[0]}: give one of them as a metainfo dict '
                "with the other's names"
            )
        return joints

    def digest(self) -> str:
        """See :func:`weights_digest`."""
        return weights_digest(self.model.state_dict())

    def _how_to_get(self) -> str:
        is_file = isinstance(self.config, str) and '::' not in self.config
        config = self.config if is_file else 'TEACHER_CONFIG.py'
        target = self.checkpoint if self.checkpoint and self.checkpoint.endswith('.pth') else 'teacher.pth'
        return (
            'To train the teacher:\n'
            f'    {tool_command("train")} {config} --work-dir work_dirs/teacher\n'
            'and add  --cfg-options model.teacher_checkpoint=work_dirs/teacher  to this command. Or, for a SimCC HRNet '
            'checkpoint of the official SimCC code:\n'
            f'    {tool_command("convert_simcc_checkpoint")} model_best.pth {target}'
        )

    def apply(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Follows the student's ``.to()``, ``.cuda()`` and changes of dtype and memory format."""
        if self.model is not None:
            self.model._apply(fn)
            self.frame._apply(fn)

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> PoseOutputs:
        """N×3×H×W, preprocessed for the student, to the teacher's outputs in the student's frame, without gradient."""
        inputs = self.frame.inputs(inputs)
        outputs = self._read(inputs)
        if self.flip_indices is not None:
            outputs = self.reader.merge_flipped(outputs, self._read(inputs.flip(-1)), self.flip_indices)
        outputs = self.frame.outputs(outputs)
        if self.confidence_power:
            confidence = outputs.confidence**self.confidence_power
            known = 1.0 if outputs.weights is None else outputs.weights
            outputs = replace(outputs, weights=confidence * known)
        return outputs

    def _read(self, inputs: Tensor) -> PoseOutputs:
        feats = self.model.extract_feat(inputs)
        return self.reader(feats, self.model.head.forward(feats))


def _load_skeleton(metainfo: Union[str, dict, None], key: str) -> Optional[Skeleton]:
    if metainfo is None:
        return None
    try:
        return load_skeleton(metainfo)
    except UserError as error:
        raise UserError(f'model.{key}: {error}') from error


def load_model_config(source: Union[str, dict]) -> dict:
    """The model part of a config given as a dict, a file or ``'package::path'``.

    Raises:
        UserError: There is no such file, or it has no ``model``.
    """
    try:
        config: Any = load_config(source) if isinstance(source, str) else source
    except UserError as error:
        raise UserError(f'model.teacher: {error}') from error
    model = config.get('model', config)
    if 'backbone' not in model:
        raise UserError('model.teacher: the config has no model with a backbone')
    return model


def num_keypoints(head: Any) -> int:
    """K of a head, or of the head that it refines."""
    return getattr(head, 'base_head', head).out_channels
