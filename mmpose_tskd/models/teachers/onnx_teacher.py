import hashlib
from pathlib import Path
from textwrap import shorten
from typing import Any, Dict

import torch
from mmpose.registry import MODELS
from torch import Tensor

from ...checkpoints.onnx_metadata import LARGEST_SIDE, read_metadata
from ...errors import UserError
from ...poses import Skeleton
from .foreign_teacher import ForeignTeacher, Output, import_optional


@MODELS.register_module()
class OnnxTeacher(ForeignTeacher):
    """An ONNX file (``pip install mmpose_tskd[onnx]``): RTMPose, DWPose, or what this package exports.

    A file of this package says itself which keypoints it has and how its images are normalized.

    Args:
        file: The file; its one input is N×3×H×W, fp32. With a fixed N of 1, crops run one by one; others are refused.
        kwargs: Of :class:`ForeignTeacher`.

    Raises:
        UserError: onnxruntime is not installed.
    """

    def __init__(self, file: str, **kwargs):
        super().__init__(**kwargs)
        self.name = file
        self.runtime = import_optional('onnxruntime', 'onnx')
        self.session: Any = None

    def find_source(self) -> str:
        """The file.

        Raises:
            UserError: It is not there.
        """
        if not Path(self.name).is_file():
            raise UserError(f'model.teacher=OnnxTeacher: there is no {self.name}')
        return self.name

    def open(self) -> None:
        """Opens the file, for a GPU where onnxruntime can use one.

        Raises:
            UserError: It is no ONNX file, has another input, or takes crops of an impossible size.
        """
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        providers = [one for one in self.runtime.get_available_providers() if one.startswith(('CUDA', 'CPU'))]
        try:
            self.session = self.runtime.InferenceSession(self.name, options, providers=providers)
        except Exception as error:  # onnxruntime has a class of its own for each cause, of no common base
            raise UserError(f'{self.name} cannot be opened as an ONNX file: {error}') from error
        inputs = self.session.get_inputs()
        shapes = [one.shape for one in inputs if one.type == 'tensor(float)']
        if len(inputs) != 1 or [len(shape) for shape in shapes] != [4]:
            said = ', '.join(f'{one.type} {one.shape}' for one in inputs) or 'nothing'
            raise UserError(f'{self.name} takes {said}, and not one input N×3×H×W in fp32')
        self.input = inputs[0]
        metadata = read_metadata(self.session, self.name)
        if metadata is not None:
            self._take(metadata)
        sizes = self.input.shape[:1:-1]
        if self.input_size is None and all(isinstance(size, int) for size in sizes):
            self.input_size = tuple(sizes)
        if self.input_size is not None and not 0 < min(self.input_size) <= max(self.input_size) <= LARGEST_SIDE:
            raise UserError(f'{self.name} takes crops of {self.input_size} pixels: a side has 1 to {LARGEST_SIDE}')

    def _take(self, metadata: Dict[str, Any]) -> None:
        """What a file of this package says of itself."""
        if metadata['format'] == 'mmdeploy' and metadata['use_udp']:
            raise UserError(f'{self.name} answers as mmdeploy reads it, not in pixels: export it with --format coords')
        self.set_normalization(metadata['mean'], metadata['std'], metadata['rgb'])
        self.is_udp = metadata['use_udp']
        if self.skeleton is None:
            links = tuple((first, second) for first, second in metadata['skeleton'])
            names, sigmas, flip_indices = (tuple(metadata[key]) for key in ('keypoints', 'sigmas', 'flip_indices'))
            self.skeleton = Skeleton(names, links, sigmas, flip_indices, Path(self.name).name)

    def run(self, inputs: Tensor) -> Output:
        """What the file puts out, on the device of ``inputs``.

        Raises:
            UserError: It cannot be run on them, or puts out something else than numbers.
        """
        fixed = self.input.shape[0]
        try:
            parts = inputs.float().cpu().split(fixed if isinstance(fixed, int) else len(inputs))
            answers = [self.session.run(None, {self.input.name: part.contiguous().numpy()}) for part in parts]
            output = [torch.cat([torch.from_numpy(one) for one in same]).to(inputs.device) for same in zip(*answers)]
        except Exception as error:  # as above; of the outputs, torch's
            raise UserError(f'{self.name} cannot be run on crops of {tuple(inputs.shape)}: {error}') from error
        return output[0] if len(output) == 1 else output

    def digest(self) -> str:
        """The first 12 hexadecimal digits of the file's SHA-256."""
        return hashlib.sha256(Path(self.name).read_bytes()).hexdigest()[:12]

    @property
    def license(self) -> str:
        """What the file's metadata say."""
        return shorten(self.session.get_modelmeta().custom_metadata_map.get('license', super().license), 200)
