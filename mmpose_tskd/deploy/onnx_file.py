"""Writing a network as an ONNX file, and running one."""

import importlib
import io
import json
import warnings
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.utils import digit_version
from torch import Tensor, nn

from ..checkpoints.onnx_metadata import read_metadata
from ..errors import UserError
from .formats import FORMATS
from .network import Normalization, normalize

INPUT = 'input'


def require(*modules: str) -> List[Any]:
    """Imports what the package does not depend on.

    Raises:
        UserError: It is not installed.
    """
    try:
        return [importlib.import_module(module) for module in modules]
    except ImportError as error:
        raise UserError(f'{error}: ONNX files need an extra, pip install "mmpose_tskd[onnx]"') from error


def to_onnx(network: nn.Module, example: Tensor, outputs: Sequence[str], legacy: bool = False) -> Any:
    """A network as an ONNX model for any number of images.

    Args:
        network: Takes ``example``, answers with a tensor for each name.
        example: Two or more images, N×3×H×W.
        outputs: The names of what it answers with.
        legacy: Use torch's older exporter, which traces, as torch before 2.6 always does; else the current one.

    Returns:
        The model (``onnx.ModelProto``), at opset 18, or 17 from the tracing exporter.
    """
    onnx, _ = require('onnx', 'onnxscript')
    names: Dict[str, Any] = dict(input_names=[INPUT], output_names=list(outputs))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')  # of the exporters about one another, and of shapes that they take as fixed
        network(example)  # fills caches, so that what is computed once is not exported
        if legacy or digit_version(torch.__version__) < digit_version('2.6'):
            file: Any = io.BytesIO()
            old: Dict[str, Any] = {} if digit_version(torch.__version__) < digit_version('2.5') else dict(dynamo=False)
            axes = {name: {0: 'batch'} for name in (INPUT, *outputs)}
            torch.onnx.export(network, (example,), file, opset_version=17, dynamic_axes=axes, **names, **old)
            model = onnx.load_from_string(file.getvalue())
        else:
            shapes = ({0: torch.export.Dim('batch')},)
            options: Dict[str, Any] = dict(dynamo=True, dynamic_shapes=shapes, external_data=False, verbose=False)
            program: Any = torch.onnx.export(network, (example,), opset_version=18, **names, **options)
            model = program.model_proto
    for part in (model.graph, *model.graph.node):
        part.doc_string = ''
    for node in model.graph.node:  # paths of the exporting machine, stack traces
        del node.metadata_props[:]
    return model


def to_bytes(model: Any, metadata: Dict[str, Any]) -> bytes:
    """A model, checked by ONNX's checker, as the content of a file, with metadata as JSON."""
    (onnx,) = require('onnx')
    del model.metadata_props[:]
    for name, value in metadata.items():
        model.metadata_props.add(key=name, value=json.dumps(value))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


class OnnxSession:
    """An exported file in ONNX Runtime, on the CPU.

    Args:
        file: Its path, or its bytes.
        threads: Of one call; ONNX Runtime's choice with 0.

    Raises:
        UserError: There is no such file, ONNX Runtime cannot read it, or this package did not export it.
    """

    def __init__(self, file: Union[str, Path, bytes], threads: int = 0):
        (ort,) = require('onnxruntime')
        name = 'the exported model' if isinstance(file, bytes) else str(file)
        if not isinstance(file, bytes) and not Path(file).is_file():
            raise UserError(f'there is no file {file}')
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        source = file if isinstance(file, bytes) else str(file)
        try:
            self.session = ort.InferenceSession(source, options, providers=['CPUExecutionProvider'])
        except Exception as error:  # ONNX Runtime's errors have no base class of their own
            raise UserError(f'{name} cannot be run by ONNX Runtime: {error}') from error
        metadata = read_metadata(self.session, name)
        if metadata is None:
            raise UserError(f'{name} has no metadata of this package: export it with tools/export_onnx.py')
        self.name, self.metadata = name, metadata
        self.form = FORMATS[metadata['format']]
        mean, std = (tuple(self.metadata[key]) for key in ('mean', 'std'))
        self.given = Normalization(mean, std, self.metadata['rgb'])

    def prepare(self, crops: Tensor) -> np.ndarray:
        """BGR pixels N×3×H×W, uint8, to the file's input."""
        if self.metadata['dtype'] == 'uint8':
            return crops.numpy()
        return normalize(crops, self.given).numpy()

    def __call__(self, images: np.ndarray) -> Tuple[np.ndarray, ...]:
        """The file's outputs for its input, N×3×H×W.

        Raises:
            UserError: The file cannot be run on this input, or its outputs are not those of its format.
        """
        try:
            values = self.session.run(None, {self.session.get_inputs()[0].name: images})
        except Exception as error:  # ONNX Runtime's errors have no base class of their own
            raise UserError(f'{self.name} cannot be run on {images.shape}: {error}') from error
        people = len(images), len(self.metadata['keypoints'])
        shapes = [np.shape(value) for value in values if getattr(value, 'dtype', None) in (np.float32, np.float16)]
        if len(values) != 2 or [shape[:2] for shape in shapes] != [people] * 2 or not self.form.fits(*shapes):
            raise UserError(
                f'{self.name} puts out {shapes}, which is not what its metadata say: {people[1]} keypoints in the '
                f'format {self.metadata["format"]}'
            )
        return tuple(values)
