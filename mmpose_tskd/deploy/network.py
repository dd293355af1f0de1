"""The network that is exported: images to keypoints and confidences, with everything between inside."""

import copy
from typing import Any, Callable, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.layers import SemGraphConv
from ..poses import PoseOutputs, build_reader


class Normalization(NamedTuple):
    """How pixels of 0 to 255 become a network's input: (pixel - mean) / std for each channel, in its order."""

    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    rgb: bool  # the order of the channels, of mean and std too; else BGR


PIXELS = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), rgb=False)


def normalization(preprocessor: Any) -> Normalization:
    """The normalization of a model's data preprocessor, which takes BGR pixels."""
    mean, std = [0.0], [1.0]
    if preprocessor._enable_normalize:
        mean, std = preprocessor.mean.flatten().tolist(), preprocessor.std.flatten().tolist()
    for_all = 3 // len(mean)  # one value may stand for all channels
    return Normalization(tuple(mean * for_all), tuple(std * for_all), rgb=preprocessor._channel_conversion)


def normalize(pixels: Tensor, wanted: Normalization) -> Tensor:
    """BGR pixels N×3×H×W to what a network or a runtime is given, in fp32."""
    return InputLayer(PIXELS, wanted)(pixels)


class InputLayer(nn.Module):
    """Turns images that were normalized in one way into what another way gives, exactly: a 1×1 convolution.

    With S, M the standard deviations and means of what comes in, s, m those of what goes out, and c' the channel c
    where it comes in: ``y_c = x_c' S_c' / s_c + (M_c' - m_c) / s_c``.

    Args:
        given: What comes in.
        wanted: What goes out.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, given: Normalization, wanted: Normalization):
        super().__init__()
        order = [0, 1, 2] if given.rgb == wanted.rgb else [2, 1, 0]
        std, mean = (torch.tensor(values, dtype=torch.float64) for values in (wanted.std, wanted.mean))
        given_std, given_mean = (torch.tensor(values, dtype=torch.float64)[order] for values in (given.std, given.mean))
        weight = torch.zeros(3, 3, dtype=torch.float64)
        weight[torch.arange(3), order] = given_std / std
        self.register_buffer('weight', weight[..., None, None].float())
        self.register_buffer('bias', ((given_mean - mean) / std).float())

    def forward(self, images: Tensor) -> Tensor:
        return F.conv2d(images.float(), self.weight, self.bias)


class ConstantGraphConv(nn.Module):
    """A trained :class:`SemGraphConv` with its matrix A, which depends on the weights alone, as a constant."""

    own: Tensor
    neighbors: Tensor

    def __init__(self, conv: SemGraphConv):
        super().__init__()
        attention = conv.attention().detach()
        own = attention.diagonal()[:, None]
        self.register_buffer('own', own.clone())
        self.register_buffer('neighbors', attention - own * torch.eye(len(attention)))
        self.weight = conv.weight
        self.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """N×K×C_in to N×K×C_out."""
        return self.own * (x @ self.weight[0]) + self.neighbors @ (x @ self.weight[1]) + self.bias


class PoseNetwork(nn.Module):
    """A pose estimator from images to its answer, without data samples.

    Args:
        model: A :class:`TopdownPoseEstimator` on the CPU whose head a reader knows; a copy of it is kept.
        answer: Computes the two outputs from a batch's :class:`PoseOutputs`.
        given: How the input images are normalized; by default as the model wants them.
        flip_indices: For each keypoint, its counterpart on the other side of the body. If given, the pose is averaged
            over the image and its mirror image.
        half: Keep backbone and neck in half precision. The head and a refiner stay in fp32: in half precision the
            highest bins of a wide peak would be equal.

    Raises:
        UserError: No reader knows the head.
    """

    def __init__(
        self,
        model: Any,
        answer: Callable[[PoseOutputs], Tuple[Tensor, Tensor]],
        given: Optional[Normalization] = None,
        flip_indices: Optional[Sequence[int]] = None,
        half: bool = False,
    ):
        super().__init__()
        wanted = normalization(model.data_preprocessor)
        self.input_layer = nn.Identity() if given is None or given == wanted else InputLayer(given, wanted)
        self.model = copy.deepcopy(model).requires_grad_(False)
        for parent in list(self.model.modules()):
            for name, child in parent.named_children():
                if isinstance(child, SemGraphConv):
                    setattr(parent, name, ConstantGraphConv(child))
        self.reader = build_reader(self.model.head)
        self.answer = answer
        self.flip_indices = None if flip_indices is None else list(flip_indices)
        self.half_body = half
        if half:
            self.model.backbone.half()
            if self.model.with_neck:
                self.model.neck.half()
        self.eval()

    @property
    def input_size(self) -> Tuple[int, int]:
        """(W, H) of the images, in pixels."""
        return self.reader.input_size

    def read(self, images: Tensor) -> PoseOutputs:
        """The model's outputs for images N×3×H×W, which are normalized as ``given`` says."""
        images = self.input_layer(images)
        outputs = self._view(images)
        if self.flip_indices is None:
            return outputs
        return self.reader.merge_flipped(outputs, self._view(images.flip(-1)), self.flip_indices)

    def _view(self, images: Tensor) -> PoseOutputs:
        feats = self.model.extract_feat(images.half() if self.half_body else images)
        feats = tuple(feat.float() for feat in feats)
        return self.reader(feats, self.model.head(feats))

    def forward(self, images: Tensor) -> Tuple[Tensor, Tensor]:
        return self.answer(self.read(images))
