from abc import abstractmethod
from dataclasses import replace
from typing import Callable, List, Optional, Sequence, Union

import torch
from mmengine.logging import print_log
from mmpose.models import TopdownPoseEstimator
from mmpose.models.data_preprocessors import PoseDataPreprocessor
from torch import Tensor, nn

from ...errors import UserError
from ...poses import HeadReader, KeypointReader, PoseOutputs, Skeleton, load_skeleton, match_joints
from .student_frame import StudentFrame
from .teacher import Teacher


class LiveTeacher(Teacher):
    """A network that is asked in every training step.

    A subclass implements :meth:`make` and :meth:`_read`, and :meth:`load` if :meth:`make` does not load the weights.

    Args:
        metainfo: Its keypoints, as a dataset class's name or a metainfo dict. Needed where the network does not say
            them itself, or names them otherwise than the student's data set does.
        flip_test: Average its answers for the image and the mirrored image, at twice the cost.
        confidence_power: The losses weigh each keypoint by its confidence (:attr:`PoseOutputs.confidence`) to this
            power; 0 weighs all alike.
    """

    model: Optional[nn.Module] = None  # the module that :meth:`apply` moves, if there is one
    reader: Union[HeadReader, KeypointReader]  # of its own outputs
    preprocessor: PoseDataPreprocessor  # how its images are normalized
    num_keypoints: int

    def __init__(
        self,
        metainfo: Union[str, dict, None] = None,
        flip_test: bool = False,
        confidence_power: float = 0.0,
    ):
        self.skeleton = None if metainfo is None else load_skeleton(metainfo, 'model.teacher_metainfo')
        self.flip_test = flip_test
        self.flip_indices: Optional[List[int]] = None
        self.confidence_power = confidence_power

    @abstractmethod
    def make(self, source: str) -> None:
        """Makes the network and sets ``reader``, ``num_keypoints`` and ``preprocessor``; its weights may be random."""

    def load(self, source: str) -> None:
        """Loads the weights of a network that :meth:`make` has made without."""
        return

    def place(self, device: torch.device) -> None:
        """Puts it on a device."""
        if self.model is not None:
            self.model.to(device)

    @abstractmethod
    def _read(self, inputs: Tensor) -> PoseOutputs:
        """N×3×H×W as it takes them to its own outputs."""

    def build(self, student: TopdownPoseEstimator, source: str) -> None:
        """See :meth:`Teacher.build`.

        Raises:
            UserError: The weights do not fit, or the teacher's input is not the student's.
        """
        self.make(source)
        frame = StudentFrame(student, self.preprocessor, student.reader, self.reader)
        self.load(source)
        device = next(student.parameters()).device
        self.place(device)
        self.frame = frame.to(device)
        self.is_built = True

    def match(self, student: Optional[Skeleton], num_keypoints: int) -> None:
        """See :meth:`Teacher.match`; where names are not known, all keypoints are taken in order.

        Raises:
            UserError: They cannot be matched, or it is not known which of them mirror which for the flip test.
        """
        count, own = self.num_keypoints, self.skeleton
        if own is not None and own.num_keypoints != count:
            raise UserError(
                f'{own.dataset}, the data set of model.teacher, has {own.num_keypoints} keypoints, the teacher '
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
                f'model.teacher has {count} keypoints, the student {num_keypoints}: to match them by name, set {key} '
                '(a dataset class such as "CocoDataset", or a metainfo dict), or give the teacher as the config that '
                'trained it'
            )
        if self.flip_test:
            known = own or student
            if known is None:
                raise UserError(
                    'model.teacher_flip_test needs to know which keypoints mirror which: set model.teacher_metainfo, '
                    'or give the teacher as the config that trained it'
                )
            self.flip_indices = list(known.flip_indices)

    def _report(self, joints: Tensor, student: Skeleton, own: Skeleton) -> None:
        missing = [name for name, joint in zip(student.names, joints) if joint < 0]
        if len(missing) == len(joints):
            raise UserError(
                f'the data sets of model.teacher ({own.dataset}) and of the student ({student.dataset}) have no '
                f"keypoint's name in common, such as {own.names[0]} and {student.names[0]} (a number says no place): "
                "give model.teacher_metainfo as a metainfo dict with the student's names"
            )
        print_log(
            f'The teacher ({own.dataset}) teaches {len(joints) - len(missing)} of {len(joints)} keypoints of '
            f'{student.dataset}, those of the same name' + (f'; not {", ".join(missing)}' if missing else ''),
            logger='current',
        )

    def apply(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Follows the student's ``.to()``, ``.cuda()`` and changes of dtype and memory format."""
        if self.is_built:
            self.frame._apply(fn)
            if self.model is not None:
                self.model._apply(fn)

    @torch.no_grad()
    def answer(self, inputs: Tensor) -> PoseOutputs:
        """Its outputs in its own frame, averaged by the flip test if set, for N×3×H×W images as it takes them."""
        outputs = self._read(inputs)
        if self.flip_indices is not None:
            outputs = self.reader.merge_flipped(outputs, self._read(inputs.flip(-1)), self.flip_indices)
        return outputs

    @torch.no_grad()
    def __call__(self, inputs: Tensor, data_samples: Sequence = ()) -> PoseOutputs:
        """See :meth:`Teacher.__call__`; the samples are not looked at."""
        outputs = self.frame.outputs(self.answer(self.frame.inputs(inputs)))
        if self.confidence_power:
            confidence = outputs.confidence**self.confidence_power
            known = 1.0 if outputs.weights is None else outputs.weights
            outputs = replace(outputs, weights=confidence * known)
        return outputs

    def example(self, inputs: Tensor) -> PoseOutputs:
        """See :meth:`Teacher.example`."""
        return self(inputs)
