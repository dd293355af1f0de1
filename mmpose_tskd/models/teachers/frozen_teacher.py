from pathlib import Path
from typing import Optional, Union

import torch
from mmcv.cnn.utils import fuse_conv_bn
from mmengine.config import Config
from mmpose.models import TopdownPoseEstimator
from mmpose.registry import MODELS
from torch import Tensor

from ...checkpoints import find_checkpoint, load_strictly, load_weights, weights_digest
from ...errors import UserError
from ...paths import load_config, tool_command
from ...poses import HeadReader, PoseOutputs, Skeleton, build_reader, config_skeleton
from .live_teacher import LiveTeacher

PASSES = ('plain', 'folded', 'compiled')
MOST_MOVED = 0.01  # input pixels that a keypoint may move by when batch norm is folded


class FrozenTeacher(LiveTeacher):
    """A trained pose estimator of MMPose whose weights and batch-norm statistics never change.

    Its keypoints are those of the data set that its config names, unless ``metainfo`` names others.

    Args:
        config: The teacher: a model dict, a config file, or a config of a package, ``'mmpose::path'``.
        checkpoint: Its weights: a file, a URL, or a work folder (best checkpoint).
        temperature: See :func:`build_reader`.
        forward_pass: ``'plain'``; ``'folded'``: :meth:`match` folds each batch norm into the convolution before it;
            ``'compiled'``: folded, and the backbone goes through ``torch.compile``.
        kwargs: Of :class:`LiveTeacher`.

    Raises:
        UserError: ``forward_pass`` is none of these.
    """

    model: TopdownPoseEstimator
    reader: HeadReader

    def __init__(
        self,
        config: Union[str, dict],
        checkpoint: Optional[str],
        temperature: float = 1.0,
        forward_pass: str = 'plain',
        **kwargs,
    ):
        super().__init__(**kwargs)
        if forward_pass not in PASSES:
            raise UserError(f'model.teacher_pass is one of {", ".join(PASSES)}, not {forward_pass!r}')
        self.forward_pass = forward_pass
        self.file_digest: Optional[str] = None  # of the weights before they are folded
        self.config = config
        self.checkpoint = checkpoint
        self.temperature = temperature
        self.name = str(checkpoint)

    def find_source(self) -> str:
        """The file or URL of its weights.

        Raises:
            UserError: No checkpoint is given, or there is no such file. The message has the commands that make one.
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

    def make(self, source: str) -> None:
        """Builds the network with random weights."""
        config = load_whole_config(self.config)
        with torch.random.fork_rng(devices=[]):  # the student's weights are the same with a teacher and without
            self.model = MODELS.build(load_model_config(config))
        self.reader = build_reader(self.model.head, self.temperature, 'model.teacher.head')
        self.num_keypoints = self.reader.num_keypoints
        self.preprocessor = self.model.data_preprocessor
        if self.skeleton is None:
            self.skeleton = config_skeleton(config)

    def load(self, source: str) -> None:
        """Loads its weights."""
        load_strictly(self.model, load_weights(source), source, 'teacher')
        self.model.eval()
        self.model.requires_grad_(False)

    def place(self, device: torch.device) -> None:
        """Puts it on a device; on a CPU in channels-last, which is faster there; on a GPU it follows the student."""
        super().place(device)
        if device.type == 'cpu':
            self.model.to(memory_format=torch.channels_last)

    def match(self, student: Optional[Skeleton], num_keypoints: int) -> None:
        """See :meth:`LiveTeacher.match`; then folds batch norm and compiles the backbone as ``forward_pass`` says.

        Raises:
            UserError: As there; or folding moves a keypoint by 0.01 pixels or more, since a norm is not applied to the
                convolution listed before it.
        """
        super().match(student, num_keypoints)
        if self.forward_pass != 'plain':
            self._fold()
        if self.forward_pass == 'compiled':
            self.model.backbone.forward = torch.compile(self.model.backbone.forward)

    @torch.no_grad()
    def _fold(self) -> None:
        self.file_digest = self.digest()
        weight = next(self.model.parameters())
        width, height = self.reader.input_size
        noise = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0)).to(weight)
        with torch.autocast(weight.device.type, enabled=False):
            plain = self._read(noise).coords
            fuse_conv_bn(self.model).requires_grad_(False)
            moved = float((self._read(noise).coords - plain).abs().max())
        if not moved < MOST_MOVED:
            raise UserError(
                f'model.teacher_pass={self.forward_pass!r}: folding batch norm moves the pose of {self.name} by '
                f'{moved:.2g} pixels: one of its norms does not follow the convolution before it. Set it to "plain"'
            )

    def digest(self) -> str:
        """See :func:`weights_digest`."""
        return self.file_digest or weights_digest(self.model.state_dict())

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

    def _read(self, inputs: Tensor) -> PoseOutputs:
        feats = self.model.extract_feat(inputs)
        forward = self.reader.head.forward if self.flip_indices is None else self.reader.unmerged
        return self.reader(feats, forward(feats))


def load_whole_config(source: Union[str, dict]) -> Union[Config, dict]:
    """A config given as a dict, a file or ``'package::path'``; of MMPose's ``DWPoseDistiller``, its student's.

    Raises:
        UserError: There is no such file.
    """
    try:
        config = load_config(source) if isinstance(source, str) else source
        student = config.get('model', config).get('student_cfg')
        if student is None:
            return config
        # as MMPose's configs name it, from the root of its sources
        return load_config(student if Path(student).is_file() else f'mmpose::{student.partition("configs/")[2]}')
    except UserError as error:
        raise UserError(f'model.teacher: {error}') from error


def load_model_config(source: Union[str, dict]) -> dict:
    """The model part of a config given as a dict, a file or ``'package::path'``.

    Raises:
        UserError: There is no such file, or its model is no top-down one, which sees one instance at a time.
    """
    config = load_whole_config(source)
    model = config.get('model', config)
    reason = _REFUSED.get(model.get('type'))
    if reason is not None:
        raise UserError(f'model.teacher: {model["type"]} {reason}')
    if 'backbone' not in model:
        raise UserError('model.teacher: the config has no model with a backbone')
    return model


_TOP_DOWN = 'a teacher answers for the crop of one instance, as a TopdownPoseEstimator does'
_REFUSED = dict(
    BottomupPoseEstimator=f'finds all instances in a whole image (bottom-up or one-stage): {_TOP_DOWN}',
    PoseLifter=f'lifts 2-D poses to 3-D and sees no image: {_TOP_DOWN}',
)
