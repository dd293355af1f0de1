import logging
from typing import Any, Dict, Optional, Sequence, Tuple, Union

import torch
from mmengine.logging import print_log
from mmpose.models import TopdownPoseEstimator
from mmpose.registry import MODELS
from torch import Tensor, nn

from ...checkpoints import find_checkpoint, load_strictly, load_weights, replace_loaders
from ...errors import UserError
from ...paths import tool_command
from ...poses import PoseOutputs, build_reader
from ..replay_forward import replay_forward
from ..teachers import FrozenTeacher, num_keypoints


@MODELS.register_module()
class PoseDistiller(TopdownPoseEstimator):
    r"""A pose estimator that learns from a teacher.

    It *is* the student: ``backbone``, ``neck`` and ``head`` are its own, ``predict`` is the plain estimator's, and its
    ``state_dict`` is the plain model's key for key. In training the losses are added up by name,

    .. math::
        L = L_{task} + \gamma \sum_i L_i(\text{student}, \text{teacher}),

    with :math:`\gamma` 1 unless :class:`DistillWeightDecayHook` sets it.

    Args:
        backbone: The student's backbone.
        head: The student's head.
        teacher: A model dict, a config file or ``'mmpose::path'``. None trains without one, on the task loss alone.
        teacher_checkpoint: The teacher's weights: a file, a URL, or a work folder (best checkpoint).
        distill_losses: The losses that compare student and teacher, by name; MMEngine sums what has "loss" in its name.
            None instead of a loss leaves it out, such as one of the base config's.
        task_loss: Add the head's own loss on the labels.
        frozen: Modules of the student (``'backbone'``, ``'head.base_head'``) that keep their weights and their
            batch-norm statistics.
        student_checkpoint: Weights to start the student from: a file, a URL, or a work folder (best checkpoint). A
            plain model's ``head`` fills ``head.base_head`` of a refined one. Every key must fit.
        temperature: Divides the logits before the softmax of ``coords``, for SimCC heads.
        metainfo: The student's joints, a dataset class's name (``'CocoDataset'``) or a metainfo dict, where they are to
            be matched with the teacher's or mirrored.
        teacher_metainfo: The teacher's joints where they are not the student's; it teaches those that have the same
            name in both.
        teacher_flip_test: The teacher answers with the average over the picture and its mirror image, at twice the
            cost. Its feature maps are those of the picture.
        teacher_confidence: A joint teaches with the teacher's confidence, in [0, 1], to this power: 0 counts all alike.
        kwargs: Of :class:`TopdownPoseEstimator`.

    Raises:
        UserError: A loss's name or options are wrong, or there is no module to freeze.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        teacher: Union[str, dict, None] = None,
        teacher_checkpoint: Optional[str] = None,
        distill_losses: Optional[Dict[str, Optional[dict]]] = None,
        task_loss: bool = True,
        frozen: Sequence[str] = (),
        student_checkpoint: Optional[str] = None,
        temperature: float = 1.0,
        metainfo: Union[str, dict, None] = None,
        teacher_metainfo: Union[str, dict, None] = None,
        teacher_flip_test: bool = False,
        teacher_confidence: float = 0.0,
        **kwargs,
    ):
        if isinstance(metainfo, dict):  # which a pose estimator shows with its predictions
            kwargs['metainfo'] = metainfo
        super().__init__(backbone=backbone, head=head, **kwargs)
        wanted = {name: cfg for name, cfg in (distill_losses or {}).items() if cfg is not None}
        if wanted and teacher is None:
            raise UserError('model.distill_losses needs a model.teacher to compare with')
        if not wanted and not task_loss:
            raise UserError('model.task_loss is False and model.distill_losses is empty: there is nothing to train')
        if temperature <= 0:
            raise UserError(f'model.temperature divides logits and must be above 0, not {temperature}')
        if teacher_confidence < 0:
            raise UserError(f'model.teacher_confidence is a power and must be 0 or more, not {teacher_confidence}')
        self.teacher: Any = None
        if teacher is not None:
            self.teacher = FrozenTeacher(
                teacher,
                teacher_checkpoint,
                temperature,
                teacher_metainfo,
                metainfo,
                teacher_flip_test,
                teacher_confidence,
            )
        self.reader = build_reader(self.head, temperature)
        self.task_loss = task_loss
        self.student_checkpoint = student_checkpoint
        self.frozen = tuple(frozen)
        for module in self._frozen_modules():
            module.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):  # the student's weights are the same with adapters and without
            losses = {name: self._build_loss(name, cfg) for name, cfg in wanted.items()}
        self.distill_losses = nn.ModuleDict(losses)
        self.register_buffer('gamma', torch.ones(()), persistent=False)
        self._teacher_checked = False
        self.has_state_hook = False  # DistillStateHook says that it is there
        self._register_state_dict_hook(_drop_distill_keys)

    def _build_loss(self, name: str, cfg: dict) -> nn.Module:
        if 'loss' not in name:
            raise UserError(f'model.distill_losses.{name}: a name must contain "loss", or MMEngine does not add it up')
        try:
            loss = MODELS.build(cfg)
        except (TypeError, KeyError, UserError) as error:
            raise UserError(f'model.distill_losses.{name}: {error}') from error
        keypoints = num_keypoints(self.head)
        if getattr(loss, 'num_keypoints', keypoints) != keypoints:
            raise UserError(
                f'model.distill_losses.{name}.metainfo has {loss.num_keypoints} key points, the head {keypoints}'
            )
        return loss

    def _frozen_modules(self):
        for path in self.frozen:
            try:
                yield self.get_submodule(path)
            except AttributeError as error:
                raise UserError(f'model.frozen: the student has no module {path!r} ({error})') from error

    def init_weights(self) -> None:
        """Initialises the student, loads its checkpoint where one is given, and builds the teacher.

        The Runner calls it when training starts, and not for testing.

        Raises:
            UserError: A file is missing or does not fit.
        """
        sources = self._find_checkpoints()
        replace_loaders()
        super().init_weights()
        if self.student_checkpoint is not None:
            self._load_student(sources['student'])
        if self.teacher is not None and self.teacher.model is None:
            self._build_teacher(sources['teacher'])

    @torch.no_grad()
    def _build_teacher(self, source: str) -> None:
        """Builds the teacher and lets each loss see, on an empty picture, whether it can compare the two."""
        self.teacher.build(self, source)
        width, height = self.reader.input_size
        picture = next(self.parameters()).new_zeros(1, 3, height, width)
        training = [module for module in self.modules() if module.training]
        self.eval()
        feats = self.extract_feat(picture)
        student, teacher = self.reader(feats, self.head.forward(feats)), self.teacher(picture)
        for module in training:
            module.training = True
        for name, loss in self.distill_losses.items():
            try:
                getattr(loss, 'check', _accept)(student, teacher)
            except UserError as error:
                raise UserError(f'model.distill_losses.{name}: {error}') from error

    def _find_checkpoints(self) -> Dict[str, str]:
        """The files to start from, looked for together so that one error names all that are missing."""
        sources, problems = {}, []
        try:
            if self.student_checkpoint is not None:
                sources['student'] = find_checkpoint(self.student_checkpoint)
        except UserError as error:
            problems.append(
                f'model.student_checkpoint: {error}.\nTrain the student first, for stage 2 by the config of stage 1:\n'
                f'    {tool_command("train")} configs/stage1_structure.py --work-dir work_dirs/stage1_structure\n'
                'and add  --cfg-options model.student_checkpoint=WORK_FOLDER_OR_CHECKPOINT  to this command.'
            )
        try:
            if self.teacher is not None:
                sources['teacher'] = self.teacher.find_checkpoint()
        except UserError as error:
            problems.append(str(error))
        if problems:
            raise UserError('\n'.join(problems))
        return sources

    def _load_student(self, source: str) -> None:
        weights = load_weights(source)
        if not hasattr(self.head, 'base_head'):
            load_strictly(self, weights, source, 'student')
            return
        if any(name.startswith('head.base_head.') for name in weights):
            raise UserError(
                f'model.student_checkpoint: {source} is a refined model already; give the plain student of stage 1, '
                'or continue from the file as a whole by load_from or --resume'
            )
        weights = {f'head.base_head.{k[5:]}' if k.startswith('head.') else k: v for k, v in weights.items()}
        own = self.state_dict()
        only = [name for name in own if not name.startswith('head.') or name.startswith('head.base_head.')]
        load_strictly(self, weights, source, 'student', only)

    def train(self, mode: bool = True) -> 'PoseDistiller':
        """Frozen modules stay in eval mode."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _apply(self, fn, *args, **kwargs):
        super()._apply(fn, *args, **kwargs)
        if self.teacher is not None:
            self.teacher.apply(fn)
        return self

    def loss(self, inputs: Tensor, data_samples: Sequence) -> dict:
        """The named losses of one batch.

        Args:
            inputs: N×3×H×W, preprocessed.
            data_samples: N samples with their labels.

        Returns:
            The task loss's entries, each distillation loss by its name, times γ, and γ itself as ``distill_gamma``.
        """
        if self.teacher is not None:  # before the student, whose activations would be held meanwhile
            if self.teacher.model is None:
                self._build_teacher(self.teacher.find_checkpoint())
            teacher = self.teacher(inputs)
        feats = self.extract_feat(inputs)
        output = self.head.forward(feats)
        losses = {}
        if self.task_loss:
            with replay_forward(self.head, (feats, output)):
                losses.update(self.head.loss(feats, data_samples, train_cfg=self.train_cfg))
        if self.teacher is not None:
            student = self.reader(feats, output)
            if not self._teacher_checked:
                self._check_teacher(teacher, data_samples)
            for name, loss in self.distill_losses.items():
                if name in losses:
                    raise UserError(
                        f"model.distill_losses.{name}: the head's own losses have that name already; choose "
                        'another, or set task_loss=False'
                    )
                losses[name] = self.gamma * loss(student, teacher, data_samples)
            losses['distill_gamma'] = self.gamma
        return losses

    def parse_losses(self, losses: dict) -> Tuple[Tensor, dict]:
        """As :meth:`BaseModel.parse_losses`, through which each of MMEngine's training steps goes, also under DDP.

        Raises:
            UserError: Nothing would keep what the distiller learns beside the student.
        """
        if self.teacher is not None and not self.has_state_hook:
            raise UserError(
                'custom_hooks has no ReliableRunHook, nor DistillStateHook alone: the adapters of model.distill_losses '
                'and γ would be in no checkpoint. Add dict(type="ReliableRunHook"). In a training loop of your own, '
                'save model.distill_state_dict(), and set model.has_state_hook = True'
            )
        return super().parse_losses(losses)

    def _check_teacher(
        self, teacher: PoseOutputs, data_samples: Sequence, thr: float = 0.1, least: float = 0.3
    ) -> None:
        """Warns, at the first batch, of a teacher that does not find the labelled joints."""
        self._teacher_checked = True
        label = self.reader.labels(data_samples)
        mask = torch.cat([s.gt_instance_labels.keypoint_weights for s in data_samples]) > 0
        if teacher.weights is not None:
            mask = mask & (teacher.weights > 0)
        error = (label.peaks - teacher.peaks).norm(dim=-1)
        pck = ((error < thr * max(self.reader.input_size)) & mask).sum() / mask.sum().clamp(min=1)
        if mask.any() and pck < least:
            print_log(
                f"The teacher ({self.teacher.checkpoint}) places {pck:.0%} of the first batch's labelled joints within "
                f"{thr:.0%} of the input's longer side. Is it trained for this data, input size and order of joints?",
                logger='current',
                level=logging.WARNING,
            )

    def distill_state_dict(self) -> Dict[str, Any]:
        """What the distiller itself has learnt: the losses' adapters, and γ."""
        adapters = {name: value.cpu() for name, value in self.distill_losses.state_dict().items()}
        return dict(adapters=adapters, gamma=float(self.gamma))

    def load_distill_state_dict(self, state: Dict[str, Any]) -> None:
        """Takes up :meth:`distill_state_dict`.

        Raises:
            UserError: The losses' adapters are others, or γ is no number in [0, 1].
        """
        source = 'the checkpoint\'s "distill" entry'
        if not 0 <= state['gamma'] <= 1:
            raise UserError(f'{source} has γ = {state["gamma"]}, which is in [0, 1]: it is damaged, take another')
        load_strictly(self.distill_losses, state['adapters'], source, 'model.distill_losses')
        self.gamma.fill_(state['gamma'])

    def _load_state_dict_pre_hook(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        super()._load_state_dict_pre_hook(state_dict, prefix, *args, **kwargs)
        for name, value in self.distill_losses.state_dict(prefix=f'{prefix}distill_losses.').items():
            state_dict.setdefault(name, value)


def _accept(student: PoseOutputs, teacher: PoseOutputs) -> None:
    """The check of a loss that has none."""


def _drop_distill_keys(module: nn.Module, state_dict: dict, prefix: str, local_metadata: dict) -> None:
    for name in [name for name in state_dict if name.startswith(f'{prefix}distill_losses.')]:
        del state_dict[name]
