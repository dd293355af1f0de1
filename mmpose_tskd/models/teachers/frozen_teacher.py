from dataclasses import replace
from typing import Any, Callable, List, Optional, Union

import torch
from mmengine.logging import print_log
from mmpose.registry import MODELS
from torch import Tensor

from ...checkpoints import find_checkpoint, load_strictly, load_weights, weights_digest
from ...errors import UserError
from ...paths import load_config, tool_command
from ...poses import PoseOutputs, Skeleton, build_reader, config_skeleton, load_skeleton, match_joints
from .student_frame import StudentFrame


class FrozenTeacher:
    """A trained pose estimator that answers and never changes.

    It is no :class:`nn.Module`: held by a distiller it adds nothing to its parameters, its ``state_dict`` or its copies
    (EMA), and ``train()`` does not reach it, so its batch-norm statistics stay as they are. It is built by
    :meth:`build`, so that a model made for testing needs none of the teacher's files, and answers in the student's
    joints after :meth:`match`.

    Args:
        config: The teacher: a model dict, a config file, or a config of a package, ``'mmpose::path'``.
        checkpoint: Its weights: a file, a URL, or a work folder (best checkpoint).
        temperature: See :func:`build_reader`.
        metainfo: Its joints, a dataset class's name or a metainfo dict, where its config does not name its data set or
            names them otherwise than the student's does.
        flip_test: Average its answers for the picture and the mirrored picture, at twice the cost.
        confidence_power: A joint teaches with its confidence (:attr:`PoseOutputs.confidence`) to this power.
    """

    def __init__(
        self,
        config: Union[str, dict],
        checkpoint: Optional[str],
        temperature: float = 1.0,
        metainfo: Union[str, dict, None] = None,
        flip_test: bool = False,
        confidence_power: float = 0.0,
    ):
        self.config = config
        self.checkpoint = checkpoint
        self.temperature = temperature
        self.skeleton = _load_skeleton(metainfo)
        self.flip_test = flip_test
        self.flip_indices: Optional[List[int]] = None
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
            UserError: The weights do not fit, or the teacher's input is not the student's.
        """
        config = load_whole_config(self.config)
        with torch.random.fork_rng(devices=[]):  # the student's weights are the same with a teacher and without
            model = MODELS.build(load_model_config(config))
        self.reader = build_reader(model.head, self.temperature, 'model.teacher.head')
        if self.skeleton is None:
            self.skeleton = config_skeleton(config)
        frame = StudentFrame(student, model, student.reader, self.reader)
        load_strictly(model, load_weights(source), source, 'teacher')
        model.eval()
        model.requires_grad_(False)
        device = next(student.parameters()).device
        self.model, self.frame = model.to(device), frame.to(device)
        if device.type == 'cpu':  # faster there, whatever the student's memory format; on a GPU it follows the student
            self.model.to(memory_format=torch.channels_last)

    def match(self, student: Optional[Skeleton], num_keypoints: int) -> None:
        """Lets it answer in the student's joints: those of the same name; where names are not known, all in order.

        Args:
            student: The student's joints, None where they are not known.
            num_keypoints: Their number.

        Raises:
            UserError: They cannot be matched, or it is not known which of them mirror which for the flip test.
        """
        count = self.reader.num_keypoints
        own = self.skeleton
        if own is not None and own.num_keypoints != count:
            raise UserError(
                f'{own.dataset}, the data set of model.teacher, has {own.num_keypoints} key points, the teacher '
                f"{count}: set model.teacher_metainfo to the teacher's dataset class or metainfo dict"
            )
        if own is not None and student is not None:
            joints = match_joints(student, own)
            if joints is not None:
                self._report(joints, student, own)
                self.frame.match(joints)
        elif count != num_keypoints:
            key = 'model.teacher_metainfo' if own is None else 'model.metainfo'
            raise UserError(
                f'model.teacher has {count} key points, the student {num_keypoints}: to match them by name, set {key} '
                '(a dataset class such as "CocoDataset", or a metainfo dict), or give the teacher as the config that '
                'trained it'
            )
        if self.flip_test:
            known = own or student
            if known is None:
                raise UserError(
                    'model.teacher_flip_test needs to know which joints mirror which: set model.teacher_metainfo, or '
                    'give the teacher as the config that trained it'
                )
            self.flip_indices = list(known.flip_indices)

    def _report(self, joints: Tensor, student: Skeleton, own: Skeleton) -> None:
        missing = [name for name, joint in zip(student.names, joints) if joint < 0]
        if len(missing) == len(joints):
            raise UserError(
                f'the data sets of model.teacher ({own.dataset}) and of the student ({student.dataset}) have no '
                f"joint's name in common, such as {own.names[0]} and {student.names[0]} (a number says no place): give "
                "model.teacher_metainfo as a metainfo dict with the student's names"
            )
        print_log(
            f'The teacher ({own.dataset}) teaches {len(joints) - len(missing)} of {len(joints)} joints of '
            f'{student.dataset}, those of the same name' + (f'; not {", ".join(missing)}' if missing else ''),
            logger='current',
        )

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
        return self.reader(feats, self.reader.head.forward(feats))


def _load_skeleton(metainfo: Union[str, dict, None]) -> Optional[Skeleton]:
    if metainfo is None:
        return None
    try:
        return load_skeleton(metainfo)
    except UserError as error:
        raise UserError(f'model.teacher_metainfo: {error}') from error


def load_whole_config(source: Union[str, dict]) -> Any:
    """A config given as a dict, a file or ``'package::path'``.

    Raises:
        UserError: There is no such file.
    """
    try:
        return load_config(source) if isinstance(source, str) else source
    except UserError as error:
        raise UserError(f'model.teacher: {error}') from error


def load_model_config(source: Union[str, dict]) -> dict:
    """The model part of a config given as a dict, a file or ``'package::path'``.

    Raises:
        UserError: There is no such file, or its model is none that sees one person at a time.
    """
    config = load_whole_config(source)
    model = config.get('model', config)
    reason = _REFUSED.get(model.get('type'))
    if reason is not None:
        raise UserError(f'model.teacher: {model["type"]} {reason}')
    if 'backbone' not in model:
        raise UserError('model.teacher: the config has no model with a backbone')
    return model


_TOP_DOWN = 'a teacher answers for the crop of one person, as a TopdownPoseEstimator does'
_REFUSED = dict(
    BottomupPoseEstimator=f'finds all people in a whole picture (bottom-up or one-stage): {_TOP_DOWN}',
    PoseLifter=f'lifts 2-D poses to 3-D and sees no picture: {_TOP_DOWN}',
    DWPoseDistiller="is itself a distiller: name its student's config (student_cfg), which its exported weights fit",
)
