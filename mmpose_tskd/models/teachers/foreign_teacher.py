from abc import abstractmethod
from importlib import import_module
from types import SimpleNamespace
from typing import Any, List, Optional, Sequence, Tuple, Union

import torch
from mmengine.logging import print_log
from mmpose.registry import KEYPOINT_CODECS, MODELS
from torch import Tensor

from ...errors import UserError, printable
from ...poses import HeadReader, KeypointReader, PoseOutputs, build_reader, simcc_peaks
from .live_teacher import LiveTeacher

Output = Union[Tensor, Tuple[Tensor, Tensor], List[Tensor]]


class ForeignTeacher(LiveTeacher):
    """A network that is none of MMPose's: crops in, heatmaps, SimCC vectors or poses out.

    A subclass fills in :meth:`open`, :meth:`run` and :meth:`digest`. What :meth:`run` returns says by its shape what it
    is, for N crops of W×H pixels and K keypoints:

    - N×K×h×w: heatmaps, read as ``codec`` says (:func:`build_reader`);
    - N×K×Wx and N×K×Wy: SimCC vectors as RTMPose's files hold them, and rtmlib reads: the highest bin is the keypoint,
      and the mean of the two maxima, cut to [0, 1], its confidence;
    - N×K×2 and N×K: coordinates in the crop's pixels, and confidences in [0, 1].

    Args:
        input_size: (W, H) in pixels; None where the network says it itself.
        mean, std: Of each channel, in the order in which the network takes them, for values in [0, 255].
        bgr_to_rgb: The network takes RGB.
        codec: How heatmaps encode a pose, an MMPose codec (``dict(type='MSRAHeatmap', sigma=2)``), without its sizes.
        kwargs: Of :class:`LiveTeacher`.
    """

    def __init__(
        self,
        input_size: Optional[Sequence[int]] = None,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        bgr_to_rgb: bool = True,
        codec: dict = dict(type='UDPHeatmap', sigma=2),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.input_size = None if input_size is None else tuple(input_size)
        self.codec = codec
        self.is_udp = False  # whether it was trained on crops of UDP
        self.set_normalization(mean, std, bgr_to_rgb)

    def set_normalization(self, mean: Sequence[float], std: Sequence[float], bgr_to_rgb: bool) -> None:
        """How its images are normalized; see the class."""
        self.preprocessor = MODELS.build(
            dict(type='PoseDataPreprocessor', mean=list(mean), std=list(std), bgr_to_rgb=bgr_to_rgb)
        )

    @abstractmethod
    def open(self) -> None:
        """Opens the network; sets ``input_size`` where that is None, and ``model`` where it is one of torch."""

    @abstractmethod
    def run(self, inputs: Tensor) -> Output:
        """N×3×H×W, normalized, to the network's output; see the class."""

    @property
    def license(self) -> str:
        """The network's license, or ``'not stated'``."""
        return 'not stated'

    def make(self, source: str) -> None:
        """See :meth:`LiveTeacher.make`.

        Raises:
            UserError: It cannot be opened, or what it puts out is no pose.
        """
        with torch.random.fork_rng(devices=[]):
            self.open()
        if self.input_size is None:
            raise UserError(f'{self.name} does not say the size of its input: set model.teacher.input_size=(W, H)')
        width, height = self.input_size
        with torch.no_grad():
            output = self.run(torch.zeros(1, 3, height, width))
        self.reader, self.num_keypoints = self._choose_reader(output)
        said = printable(f'{self.num_keypoints} keypoints, {width}×{height}, license: {self.license}')
        print_log(f'{type(self).__name__} {self.name}: {said}', logger='current')

    def place(self, device: torch.device) -> None:
        """See :meth:`LiveTeacher.place`."""
        super().place(device)
        self.preprocessor.to(device)

    def _choose_reader(self, output: Output) -> Tuple[Union[HeadReader, KeypointReader], int]:
        shapes = [tuple(part.shape) for part in ([output] if isinstance(output, Tensor) else output)]
        if len(shapes) == 1 and len(shapes[0]) == 4:
            codec = KEYPOINT_CODECS.build(dict(self.codec, input_size=self.input_size, heatmap_size=shapes[0][:1:-1]))
            head = SimpleNamespace(decoder=codec, out_channels=shapes[0][1])
            reader = build_reader(head, where='model.teacher.codec')
            return reader, reader.num_keypoints
        if len(shapes) == 2 and len(shapes[0]) == 3 and len(shapes[1]) in (2, 3) and shapes[0][:2] == shapes[1][:2]:
            return KeypointReader(self.input_size, self.is_udp), shapes[0][1]  # type: ignore[arg-type]
        raise UserError(
            f'{self.name} puts out {" and ".join(map(str, shapes))} for one crop, which is no pose: heatmaps (N, K, h, '
            'w), SimCC vectors (N, K, Wx) and (N, K, Wy), or coordinates (N, K, 2) and confidences (N, K)'
        )

    def _read(self, inputs: Tensor) -> PoseOutputs:
        output = self.run(inputs)
        if isinstance(output, Tensor):
            return self.reader((), output)
        first, second = output[0].float(), output[1].float()
        if second.ndim == 3:
            ratio = first.shape[-1] / self.reader.input_size[0]
            first, second = simcc_peaks(first, second, ratio), (first.amax(-1) + second.amax(-1)) / 2
        return self.reader((), torch.cat([first, second.clamp(0, 1)[..., None]], dim=-1))


def import_optional(package: str, extra: str) -> Any:
    """A package that an extra of this one installs.

    Raises:
        UserError: It is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise UserError(f'{package} is not installed: pip install "mmpose_tskd[{extra}]" ({error})') from error
