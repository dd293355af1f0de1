from abc import ABC, abstractmethod
from typing import Callable, Optional, Sequence

from mmpose.models import TopdownPoseEstimator
from torch import Tensor

from ...poses import PoseOutputs, Skeleton


class Teacher(ABC):
    """What a distiller asks of its teacher, which may be a network, a file or a function.

    A teacher is no :class:`nn.Module`. It therefore adds nothing to the parameters, the ``state_dict`` or the copies
    (EMA) of the distiller that holds it, and ``train()`` does not reach it. :meth:`build` makes it when training
    starts, so a model made for testing needs none of the teacher's files. After :meth:`match` it answers in the
    student's keypoints.
    """

    name: str  # of the file or function that answers, for messages
    is_built = False

    def __deepcopy__(self, memo: dict) -> 'Teacher':
        return self

    def find_source(self) -> str:
        """The file, URL or name that :meth:`build` reads.

        Raises:
            UserError: There is none. The message says how to get one.
        """
        return self.name

    @abstractmethod
    def build(self, student: TopdownPoseEstimator, source: str) -> None:
        """Reads what it answers from, onto the student's device.

        Args:
            student: The model it is to teach.
            source: What :meth:`find_source` found.

        Raises:
            UserError: It cannot be read, or its input is not the student's.
        """

    @abstractmethod
    def match(self, student: Optional[Skeleton], num_keypoints: int) -> None:
        """Lets it answer in the student's keypoints: those of the same name.

        Args:
            student: The student's keypoints, None where they are not known.
            num_keypoints: Their number.

        Raises:
            UserError: They cannot be matched.
        """

    @abstractmethod
    def digest(self) -> str:
        """Hexadecimal digits of the SHA-256 of its weights, files or code, which identify it."""

    @abstractmethod
    def __call__(self, inputs: Tensor, data_samples: Sequence) -> PoseOutputs:
        """Its outputs in the student's frame (keypoints, their order, input pixels), without gradient.

        Args:
            inputs: N×3×H×W, preprocessed for the student.
            data_samples: The N samples they were made from.
        """

    @abstractmethod
    def example(self, inputs: Tensor) -> PoseOutputs:
        """Outputs like those of :meth:`__call__`, but without samples; each loss checks on them what it offers."""

    def apply(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Follows the student's ``.to()``, ``.cuda()`` and changes of dtype and memory format."""
        return
