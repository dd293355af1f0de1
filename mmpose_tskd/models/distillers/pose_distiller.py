import logging
from dataclasses import replace
from typing import Any, Dict, Optional, Sequence, Tuple, Union

import torch
from mmengine.logging import print_log
from mmpose.models import TopdownPoseEstimator
from mmpose.registry import MODELS
from torch import Tensor, nn

from ...checkpoints import find_checkpoint, load_strictly, load_weights, replace_loaders
from ...errors import UserError
from ...paths import tool_command
from ...poses import PoseOutputs, build_reader, keypoint_weights, load_skeleton, training_skeleton
from ..heads import IGPGCNHead
from ..replay_forward import replay_forward
from ..teachers import FrozenTeacher, LabeledCategories, Teacher, TeacherCheck, build_teacher
from ..weight_selection import select_weights


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
        teacher: An MMPose network: a model dict, a config file or ``'mmpose::path'``; or another teacher, by the
            ``type`` of a :class:`Teacher`. None trains without one, on the task loss alone.
        teacher_checkpoint: The weights of an MMPose network: a file, a URL, or a work folder (best checkpoint).
        distill_losses: The losses that compare student and teacher, by name; MMEngine sums what has "loss" in its name.
            None instead of a loss leaves it out, such as one of the base config's.
        task_loss: Add the head's own loss on the labels.
        frozen: Modules of the student (``'backbone'``, ``'head.base_head'``) that keep their weights and their
            batch-norm statistics.
        student_checkpoint: Weights to start the student from: a file, a URL, or a work folder (best checkpoint). A
            plain model's ``head`` fills ``head.base_head`` of a refined one. Every key must fit.
        temperature: Divides the logits before the softmax of ``coords``, for SimCC heads.
        metainfo: The student's keypoints, as a dataset class's name (``'CocoDataset'``) or a metainfo dict. Needed
            where the training data do not say them: outside of a Runner, or where the pipeline converts them
            (``KeypointConverter``). A refiner takes its graph from them.
        teacher_metainfo: The teacher's keypoints, in the same form. Needed where its config names no data set, or one
            that calls the keypoints otherwise. The teacher teaches the keypoints that have the same name in both.
        teacher_flip_test: The teacher answers with the average over the image and its mirror image, at twice the
            cost. Its feature maps are those of the image.
        teacher_pass: How an MMPose teacher runs. ``'plain'``: bit for bit as its file does elsewhere. The others are
            faster. ``'folded'`` folds batch norm into the convolutions, which moves a keypoint by less than 0.01 pixels
            in fp32. ``'compiled'`` compiles its backbone, too.
        init_from_teacher: Start the student from a selection of the teacher's weights (:func:`select_weights`). The two
            must be of one family, such as HRNet-W32 and W48. If they have different numbers of keypoints, the head
            keeps its own initialization. If they have the same number in another order, the head starts from the wrong
            rows, and training on the labels corrects it.
        teacher_confidence: The losses weigh each keypoint by the teacher's confidence, in [0, 1], to this power; 0
            weighs all keypoints alike.
        kwargs: Of :class:`TopdownPoseEstimator`.

    Raises:
        UserError: A loss's name or options are wrong, or ``frozen`` names a module that does not exist. At the first
            step: the keypoints cannot be matched, or are not those of the data.
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
        teacher_pass: str = 'plain',
        init_from_teacher: bool = False,
        **kwargs,
    ):
        skeleton = None if metainfo is None else load_skeleton(metainfo, 'model.metainfo')
        if isinstance(metainfo, dict):  # which a pose estimator shows with its predictions
            kwargs['metainfo'] = metainfo
        super().__init__(backbone=backbone, head=head, **kwargs)
        wanted = {name: cfg for name, cfg in (distill_losses or {}).items() if cfg is not None}
        if wanted and teacher is None:
            raise UserError('model.distill_losses needs a model.teacher to compare with')
        if init_from_teacher and (teacher is None or student_checkpoint is not None):
            raise UserError('model.init_from_teacher needs a model.teacher, and no student_checkpoint to start from')
        if not wanted and not task_loss:
            raise UserError('model.task_loss is False and model.distill_losses is empty: there is nothing to train')
        if temperature <= 0:
            raise UserError(f'model.temperature divides logits and must be above 0, not {temperature}')
        if teacher_confidence < 0:
            raise UserError(f'model.teacher_confidence is a power and must be 0 or more, not {teacher_confidence}')
        self.teacher: Optional[Teacher] = None
        if teacher is not None:
            self.teacher = build_teacher(
                teacher,
                teacher_checkpoint,
                temperature,
                teacher_pass,
                metainfo=teacher_metainfo,
                flip_test=teacher_flip_test,
                confidence_power=teacher_confidence,
            )
        self.reader = build_reader(self.head, temperature)
        self.skeleton = skeleton
        if skeleton is not None and skeleton.num_keypoints != self.reader.num_keypoints:
            raise UserError(
                f'model.metainfo has {skeleton.num_keypoints} keypoints, the student {self.reader.num_keypoints}'
            )
        if skeleton is not None and isinstance(self.head, IGPGCNHead) and self.head.skeleton is None:
            self.head.set_skeleton(skeleton)
        self.task_loss = task_loss
        self.init_from_teacher = init_from_teacher
        self.student_checkpoint = student_checkpoint
        self.frozen = tuple(frozen)
        for module in self._frozen_modules():
            module.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):  # the student's weights are the same with adapters and without
            losses = {name: self._build_loss(name, cfg) for name, cfg in wanted.items()}
        self.distill_losses = nn.ModuleDict(losses)
        self.register_buffer('gamma', torch.ones(()), persistent=False)
        self.compares = any(getattr(loss, 'loss_weight', 1) for loss in losses.values())
        self.teaches = self.compares  # and γ is above 0; a Python bool, so that no step waits for the device
        self.knows_joints = False
        self.teacher_check = TeacherCheck()
        self.categories = LabeledCategories()
        self.has_state_hook = False  # DistillStateHook sets it
        self._register_state_dict_hook(_drop_distill_keys)

    def _build_loss(self, name: str, cfg: dict) -> nn.Module:
        if 'loss' not in name:
            raise UserError(f'model.distill_losses.{name}: a name must contain "loss", or MMEngine does not add it up')
        if not cfg.get('loss_weight', 1) >= 0:  # nor NaN
            raise UserError(f'model.distill_losses.{name}.loss_weight is {cfg["loss_weight"]}, and must be 0 or more')
        try:
            return MODELS.build(cfg)
        except (TypeError, KeyError, UserError) as error:
            raise UserError(f'model.distill_losses.{name}: {error}') from error

    def learn_joints(self) -> None:
        """Takes the student's keypoints from the training data, and gives them to its teacher and its losses.

        The first training step calls it. Whoever asks the teacher before that step must call it first.

        Raises:
            UserError: The data's keypoints are not those of ``metainfo``, the teacher has none of them, or a loss needs
                limbs and there are none.
        """
        if self.knows_joints:
            return
        count = self.reader.num_keypoints
        self.skeleton = training_skeleton(count, self.skeleton, 'model.metainfo')
        if self.skeleton is not None and self.skeleton.unmirrored():
            joints = ', '.join(self.skeleton.unmirrored())
            print_log(
                f'The metainfo of {self.skeleton.dataset} mirrors {joints} to a keypoint that is not mirrored to it: '
                'what is flipped has another keypoint there. Mend swap in its keypoint_info',
                logger='current',
                level=logging.WARNING,
            )
        if self.teacher is not None:
            self.teacher.match(self.skeleton, count)
        for name, loss in self.distill_losses.items():
            if hasattr(loss, 'set_skeleton'):
                self._give_limbs(f'model.distill_losses.{name}', loss)
        self.knows_joints = True

    def _give_limbs(self, key: str, loss: Any) -> None:
        if self.skeleton is None:
            raise UserError(
                f'{key} compares limbs, and neither a Runner nor the config says which keypoints the '
                f"{self.reader.num_keypoints} of the student are: set model.metainfo to the data's dataset class or "
                'metainfo dict'
            )
        try:
            loss.set_skeleton(self.skeleton, self.gamma.device)
        except UserError as error:
            raise UserError(f'{key}: {error}') from error

    def _frozen_modules(self):
        for path in self.frozen:
            try:
                yield self.get_submodule(path)
            except AttributeError as error:
                raise UserError(f'model.frozen: the student has no module {path!r} ({error})') from error

    def init_weights(self) -> None:
        """Initializes the student, loads its checkpoint where one is given, and builds the teacher.

        The Runner calls it when training starts, and not for testing.

        Raises:
            UserError: A file is missing or does not fit.
        """
        sources = self._find_checkpoints()
        replace_loaders()
        super().init_weights()
        if self.student_checkpoint is not None:
            self._load_student(sources['student'])
        if self.teacher is not None and not self.teacher.is_built:
            self._build_teacher(self.teacher, sources['teacher'])
        if self.init_from_teacher:
            self._init_from_teacher()

    def _init_from_teacher(self) -> None:
        if not isinstance(self.teacher, FrozenTeacher):
            raise UserError(f'model.init_from_teacher needs a teacher of MMPose, not a {type(self.teacher).__name__}')
        student = nn.Module()
        student.backbone = self.backbone
        if self.with_neck:
            student.neck = self.neck
        if self.teacher.reader.num_keypoints == self.reader.num_keypoints:
            student.head = self.head
        taken, count = select_weights(student, self.teacher.model), len(self.state_dict())
        if not taken:
            raise UserError(
                'model.init_from_teacher: the teacher has no layer of the same name and kind as one of the student, at '
                'least as large: it is for networks of one family, such as HRNet-W32 and W48'
            )
        print_log(f'student ← a selection of the weights of the teacher: {taken} of {count} entries', logger='current')

    @torch.no_grad()
    def _build_teacher(self, teacher: Teacher, source: str) -> None:
        """Builds the teacher and lets each loss see, on an empty image, whether it can compare the two."""
        teacher.build(self, source)
        if not self.distill_losses:
            return
        width, height = self.reader.input_size
        image = next(self.parameters()).new_zeros(1, 3, height, width)
        training = [module for module in self.modules() if module.training]
        self.eval()
        feats = self.extract_feat(image)
        student, example = self.reader(feats, self.reader.head.forward(feats)), teacher.example(image)
        for module in training:
            module.training = True
        for name, loss in self.distill_losses.items():
            try:
                getattr(loss, 'check', _accept)(student, example)
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
                sources['teacher'] = self.teacher.find_source()
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

    def set_gamma(self, gamma: float) -> None:
        """Sets γ, the weight of all distillation losses.

        While γ is 0, or each loss has a ``loss_weight`` of 0, the teacher does not run.
        """
        self.gamma.fill_(gamma)
        self.teaches = gamma > 0 and self.compares

    def loss(self, inputs: Tensor, data_samples: Sequence) -> dict:
        """The named losses of one batch.

        Args:
            inputs: N×3×H×W, preprocessed.
            data_samples: N samples with their labels.

        Returns:
            The head's own losses, if ``task_loss`` is set. With a teacher, also each distillation loss times γ, by its
            name, and γ itself as ``distill_gamma``.

        Raises:
            UserError: A distillation loss has the name of one of the head's own losses; or see :meth:`learn_joints`.
        """
        if self.teacher is not None and self.teaches:  # first, while the student holds no activations
            if not self.teacher.is_built:
                self._build_teacher(self.teacher, self.teacher.find_source())
            self.learn_joints()
            teacher = self._teach(self.teacher, inputs, data_samples)
        feats = self.extract_feat(inputs)
        output = self.reader.head.forward(feats)
        losses = {}
        if self.task_loss:
            with replay_forward(self.reader.head, (feats, output)):
                losses.update(self.head.loss(feats, data_samples, train_cfg=self.train_cfg))
        if self.teacher is None:
            return losses
        for name in self.distill_losses:
            if name in losses:
                raise UserError(
                    f"model.distill_losses.{name}: the head's own losses have that name already; choose another, or "
                    'set task_loss=False'
                )
        if not self.teaches:
            # 0, but with a gradient (of 0) for every parameter, which DDP waits for
            nothing = 0 * sum(p.sum() for p in self.parameters() if p.requires_grad)
            losses.update({name: nothing for name in self.distill_losses}, distill_gamma=self.gamma)
        else:
            student = self.reader(feats, output)
            for name, loss in self.distill_losses.items():
                losses[name] = self.gamma * loss(student, teacher, data_samples)
            losses['distill_gamma'] = self.gamma
        return losses

    def parse_losses(self, losses: dict) -> Tuple[Tensor, dict]:
        """As :meth:`BaseModel.parse_losses`, which every training step of MMEngine calls, also under DDP.

        Raises:
            UserError: There is no :class:`DistillStateHook`, so no checkpoint would hold the adapters and γ.
        """
        if self.teacher is not None and not self.has_state_hook:
            raise UserError(
                'custom_hooks has no ReliableRunHook, nor DistillStateHook alone: the adapters of model.distill_losses '
                'and γ would be in no checkpoint. Add dict(type="ReliableRunHook"). In a training loop of your own, '
                'save model.distill_state_dict(), and set model.has_state_hook = True'
            )
        return super().parse_losses(losses)

    def _teach(self, teacher: Teacher, inputs: Tensor, data_samples: Sequence) -> PoseOutputs:
        """The teacher's outputs, with weight 0 for keypoints that no label of the instance's category has had so far.

        Logs a warning, once, if the teacher does not fit the labels of the first batches (:class:`TeacherCheck`).
        """
        outputs = teacher(inputs, data_samples)
        known = self.categories(data_samples, inputs.device)
        outputs = replace(outputs, weights=known if outputs.weights is None else known * outputs.weights)
        if not self.teacher_check.is_done:
            names = None if self.skeleton is None else self.skeleton.names
            label, mask = self.reader.labels(data_samples), keypoint_weights(data_samples) > 0
            fault = self.teacher_check(label, mask, outputs, names)
            if fault is not None:
                print_log(
                    f'The teacher ({teacher.name}) knows little of these data: {fault}. Is it trained for '
                    "them and this input size, and are its keypoints the student's, in their order "
                    '(model.teacher_metainfo)?',
                    logger='current',
                    level=logging.WARNING,
                )
        return outputs

    def distill_state_dict(self) -> Dict[str, Any]:
        """What the distiller itself has learned: the adapters, γ, and which keypoints the labels of a category have."""
        adapters = {name: value.cpu() for name, value in self.distill_losses.state_dict().items()}
        return dict(adapters=adapters, gamma=float(self.gamma), categories=self.categories.state_dict())

    def load_distill_state_dict(self, state: Dict[str, Any]) -> None:
        """Restores what :meth:`distill_state_dict` returned.

        Raises:
            UserError: The adapters do not fit those of the losses, or γ is no number in [0, 1].
        """
        source = 'the checkpoint\'s "distill" entry'
        if not (isinstance(state['gamma'], (int, float)) and 0 <= state['gamma'] <= 1):
            raise UserError(f'{source} has γ = {state["gamma"]}, no number in [0, 1]: it is damaged, take another')
        load_strictly(self.distill_losses, state['adapters'], source, 'model.distill_losses')
        self.set_gamma(state['gamma'])
        self.categories.load_state_dict(state.get('categories', {}))

    def _load_state_dict_pre_hook(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        super()._load_state_dict_pre_hook(state_dict, prefix, *args, **kwargs)
        for name, value in self.distill_losses.state_dict(prefix=f'{prefix}distill_losses.').items():
            state_dict.setdefault(name, value)


def _accept(student: PoseOutputs, teacher: PoseOutputs) -> None:
    """The check of a loss that has none."""


def _drop_distill_keys(module: nn.Module, state_dict: dict, prefix: str, local_metadata: dict) -> None:
    for name in [name for name in state_dict if name.startswith(f'{prefix}distill_losses.')]:
        del state_dict[name]
