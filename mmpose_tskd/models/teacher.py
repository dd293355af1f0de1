from pathlib import Path
from typing import Any, Callable, Optional, Union

import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmpose.registry import MODELS
from torch import Tensor

from ..checkpoint import find_checkpoint, load_strictly, load_weights
from ..errors import UserError
from ..paths import tool_command
from ..structures import PoseOutputs, build_reader


class FrozenTeacher:
    """A trained pose estimator that answers and never changes.

    It is no :class:`nn.Module`: held by a distiller it adds nothing to its parameters, its ``state_dict`` or its copies
    (EMA), and ``train()`` does not reach it, so its batch-norm statistics stay as they are. It is built by
    :meth:`build`, so that a model made for testing needs none of the teacher's files.

    Args:
        config: The teacher: a model dict, a config file, or a config of a package, ``'mmpose::path'``.
        checkpoint: Its weights: a file, a URL, or a work folder (best checkpoint).
        temperature: See :func:`build_reader`.
    """

    def __init__(self, config: Union[str, dict], checkpoint: Optional[str], temperature: float = 1.0):
        self.config = config
        self.checkpoint = checkpoint
        self.temperature = temperature
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
        """Builds the teacher and loads its weights, onto the student's device.

        Args:
            student: The model it is to teach.
            source: The file or URL of the weights.

        Raises:
            UserError: The weights do not fit, or the teacher's pose or its input are not the student's.
        """
        with torch.random.fork_rng(devices=[]):  # the student's weights are the same with a teacher and without
            model = MODELS.build(load_model_config(self.config))
        self._check_fit(model, student)
        load_strictly(model, load_weights(source), source, 'teacher')
        model.eval()
        model.requires_grad_(False)
        self.reader = build_reader(model.head, self.temperature)
        self.model = model.to(next(student.parameters()).device)

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

    def _check_fit(self, model: Any, student: Any) -> None:
        reader, own = build_reader(model.head), build_reader(student.head)
        keypoints = [num_keypoints(m.head) for m in (model, student)]
        if keypoints[0] != keypoints[1]:
            raise UserError(f'model.teacher has {keypoints[0]} key points, the student {keypoints[1]}: they must agree')
        if reader.input_size != own.input_size:
            raise UserError(
                f'model.teacher takes pictures of {reader.input_size} (w, h), the student of {own.input_size}; '
                'they must agree'
            )
        for name in ('mean', 'std', '_channel_conversion'):
            theirs, ours = (_as_list(getattr(m.data_preprocessor, name, None)) for m in (model, student))
            if theirs != ours:
                raise UserError(
                    f'model.teacher and the student differ in data_preprocessor.{name.lstrip("_")}: they must agree'
                )

    def apply(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Follows the student's ``.to()``, ``.cuda()`` and changes of dtype and memory format."""
        if self.model is not None:
            self.model._apply(fn)

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> PoseOutputs:
        """N×3×H×W, preprocessed, to the teacher's outputs, without gradient."""
        feats = self.model.extract_feat(inputs)
        return self.reader(feats, self.model.head.forward(feats))


def load_model_config(source: Union[str, dict]) -> dict:
    """The model part of a config given as a dict, a file or ``'package::path'``.

    Raises:
        UserError: There is no such file, or it has no ``model``.
    """
    config: Any = source
    if isinstance(source, str):
        if '::' in source:
            config = get_config(source)
        elif Path(source).is_file():
            config = Config.fromfile(source)
        else:
            raise UserError(
                f'model.teacher: there is no config file {source}; a path is relative to the current folder, '
                'or, written as {{ fileDirname }}/..., to the config that names it'
            )
    model = config.get('model', config)
    if 'backbone' not in model:
        raise UserError('model.teacher: the config has no model with a backbone')
    return model


def num_keypoints(head: Any) -> int:
    """K of a head, or of the head that it refines."""
    return getattr(head, 'base_head', head).out_channels


def _as_list(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor) else value
