from dataclasses import replace
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from mmpose.models import TopdownPoseEstimator
from mmpose.models.data_preprocessors import PoseDataPreprocessor
from torch import Tensor, nn

from ...errors import UserError
from ...poses import PoseOutputs, PoseReader, RescaledView


class StudentFrame(nn.Module):
    """Converts images prepared for the student to the teacher's input, and the teacher's outputs to the student's.

    The two may differ in input size, normalization, order of the color channels and keypoints. Where they agree,
    nothing is done. Features stay as the teacher's backbone gave them.

    Args:
        student: The student, with its ``data_preprocessor``.
        teacher: The teacher's data preprocessor.
        student_reader: Reads the student's head.
        teacher_reader: Reads the teacher's head.

    Raises:
        UserError: The aspect ratios of the two input sizes differ by more than 1 %.
    """

    order: Tensor
    scale: Tensor
    shift: Tensor
    joints: Optional[Tensor]

    def __init__(
        self,
        student: TopdownPoseEstimator,
        teacher: PoseDataPreprocessor,
        student_reader: PoseReader,
        teacher_reader: PoseReader,
    ):
        super().__init__()
        size, other = student_reader.input_size, teacher_reader.input_size
        self.teacher_size = other
        self.resizes = size != other
        if abs(other[0] * size[1] - other[1] * size[0]) > 0.01 * other[0] * size[1]:
            raise UserError(
                f'model.teacher sees images of {other} (w, h), the student of {size}: of one instance they show '
                f'different parts. Give both codecs an input_size of one shape (w:h), which need not be one size'
            )
        self.reader: PoseReader = RescaledView(teacher_reader, size) if self.resizes else teacher_reader

        mean, std, swaps = _normalization(student.data_preprocessor)
        their_mean, their_std, they_swap = _normalization(teacher)
        order = torch.tensor([2, 1, 0] if swaps != they_swap else [0, 1, 2])
        self.register_buffer('order', order)
        self.register_buffer('scale', (std[order] / their_std).view(3, 1, 1))
        self.register_buffer('shift', ((mean[order] - their_mean) / their_std).view(3, 1, 1))
        self.reorders = swaps != they_swap
        self.renormalizes = not (torch.allclose(self.scale, torch.ones(1)) and self.shift.abs().max() < 1e-6)

        self.register_buffer('joints', None)

    def match(self, joints: Tensor) -> None:
        """Takes the teacher's keypoint for each of the student's, K indices, -1 for one that it does not know."""
        self.joints = joints.to(self.order.device)

    def inputs(self, inputs: Tensor) -> Tensor:
        """N×3×H×W, preprocessed for the student, to what the teacher takes."""
        if self.reorders:
            inputs = inputs[:, self.order]
        if self.renormalizes:
            inputs = inputs * self.scale + self.shift
        if self.resizes:
            width, height = self.teacher_size
            shrinks = height < inputs.shape[-2]
            inputs = F.interpolate(inputs, size=(height, width), mode='bilinear', antialias=shrinks)
        return inputs

    def outputs(self, outputs: PoseOutputs) -> PoseOutputs:
        """The teacher's outputs with the student's keypoints, in its order, and coordinates in its pixels.

        A keypoint that the teacher does not know has weight 0; its values are those of the teacher's first keypoint.
        """
        if self.joints is not None:
            known = (self.joints >= 0).float()[None]
            outputs = replace(outputs.select_joints(self.joints.clamp(min=0)), weights=known)
        return replace(outputs, reader=self.reader)


def _normalization(preprocessor: PoseDataPreprocessor) -> Tuple[Tensor, Tensor, bool]:
    """Mean and standard deviation of a preprocessor, and whether it swaps BGR and RGB before."""
    swaps = bool(getattr(preprocessor, '_channel_conversion', False))
    if not getattr(preprocessor, '_enable_normalize', False):
        return torch.zeros(3), torch.ones(3), swaps
    mean, std = (value.detach().cpu().flatten().expand(3) for value in (preprocessor.mean, preprocessor.std))
    return mean, std, swaps
