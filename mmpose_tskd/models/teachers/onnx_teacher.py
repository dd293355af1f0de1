import hashlib
from pathlib import Path
from typing import Any

import torch
from mmpose.registry import MODELS
from torch import Tensor

from ...errors import UserError
from .foreign_teacher import ForeignTeacher, Output, import_optional


@MODELS.register_module()
class OnnxTeacher(ForeignTeacher):
    """An ONNX file (``pip install mmpose_tskd[onnx]``): RTMPose, DWPose, or what this package exports.

    Args:
        file: The file; its one input is N×3×H×W, fp32. A fixed N is kept to.
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
            UserError: It is none.
        """
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        providers = [one for one in self.runtime.get_available_providers() if one.startswith(('CUDA', 'CPU'))]
        try:
            self.session = self.runtime.InferenceSession(self.name, options, providers=providers)
        except Exception as error:  # onnxruntime has a class of its own for each cause, of no common base
            raise UserError(f'{self.name} cannot be opened as an ONNX file: {error}') from error
        self.input = self.session.get_inputs()[0]
        sizes = self.input.shape[:1:-1]
        if self.input_size is None and all(isinstance(size, int) for size in sizes):
            self.input_size = tuple(sizes)

    def run(self, inputs: Tensor) -> Output:
        """What the file puts out, on the device of ``inputs``."""
        fixed = self.input.shape[0]
        parts = inputs.float().cpu().split(fixed if isinstance(fixed, int) else len(inputs))
        answers = [self.session.run(None, {self.input.name: part.contiguous().numpy()}) for part in parts]
        output = [torch.cat([torch.from_numpy(one) for one in same]).to(inputs.device) for same in zip(*answers)]
        return output[0] if len(output) == 1 else output

    def digest(self) -> str:
        """The file's."""
        return hashlib.sha256(Path(self.name).read_bytes()).hexdigest()[:12]

    @property
    def license(self) -> str:
        """What the file's metadata say."""
        return self.session.get_modelmeta().custom_metadata_map.get('license', super().license)
