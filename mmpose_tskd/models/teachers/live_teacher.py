from abc import abstractmethod
from dataclasses import replace
from typing import Any, Callable, List, Optional, Sequence, Union

import torch
from torch import Tensor

from ...errors import UserError
from ...poses import PoseOutputs, Skeleton, load_skeleton, match_joints
from .student_frame import StudentFrame
from .teacher import Teacher


class LiveTeacher(Teacher):
    """A network that is asked in every step.

    A subclass fills in :meth:`make`, where weights come later :meth:`load`, and :meth:`_read`.

    Args:
        metainfo: Its joints, where they are not the student's: a dataset class's name or a metainfo dict.
        student_metainfo: The student's joints, likewise.
        flip_test: Average its answers for the picture and the mirrored picture, at twice the cost.
        confidence_power: A joint teaches with its confidence (:attr:`PoseOutputs.confidence`) to this power.
    """

    model: Any = None  # what :meth:`apply` moves, where it has some
    reader: Any  # of its own outputs
    preprocessor: Any  # an MMPose data preprocessor: how its pictures are normalised
    num_keypoints: int

    def __init__(
        self,
        metainfo: Union[str, dict, None] = None,
        student_metainfo: Union[str, dict, None] = None,
        flip_test: bool = False,
        confidence_power: float = 0.0,
    ):
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
    def digest(self) -> str:
        """What tells it from another teacher: hexadecimal digits of the SHA-256 of its weights, file or code."""

    @abstractmethod
    def _read(self, inputs: Tensor) -> PoseOutputs:
        """N×3×H×W as it takes them to its own outputs."""

    def build(self, student: Any, source: str) -> None:
        """See :meth:`Teacher.build`.

        Raises:
            UserError: The weights do not fit, or the teacher's pose or its input are not the student's.
        """
        self.make(source)
        joints = self._match(self.num_keypoints, getattr(student.head, 'base_head', student.head).out_channels)
        frame = StudentFrame(student, self.preprocessor, student.reader, self.reader, joints)
        self.load(source)
        device = next(student.parameters()).device
        self.place(device)
        self.frame = frame.to(device)
        self.is_built = True

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

    def apply(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Follows the student's ``.to()``, ``.cuda()`` and changes of dtype and memory format."""
        if self.is_built:
            self.frame._apply(fn)
            if self.model is not None:
                self.model._apply(fn)

    @torch.no_grad()
    def answer(self, inputs: Tensor) -> PoseOutputs:
        """N×3×H×W as it takes them to its outputs in its own frame, of the flip test where that is asked for."""
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


def _load_skeleton(metainfo: Union[str, dict, None], key: str) -> Optional[Skeleton]:
    if metainfo is None:
        return None
    try:
        return load_skeleton(metainfo)
    except UserError as error:
        raise UserError(f'model.{key}: {error}') from error
