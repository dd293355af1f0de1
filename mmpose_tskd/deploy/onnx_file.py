"""Writing a network as an ONNX file, and running one."""

import importlib
import io
import json
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.utils import digit_version
from torch import Tensor, nn

from ..errors import UserError
from ..models.teachers.onnx_teacher import LARGEST_SIDE
from .formats import FORMATS
from .network import Normalization, normalize

INPUT = 'input'


def _are_numbers(values: Any, count: int, low: float = -1e6, high: float = 1e6) -> bool:
    return isinstance(values, list) and len(values) == count and all(_is_number(value, low, high) for value in values)


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _are_places(values: Any, joints: int) -> bool:
    return isinstance(values, list) and all(isinstance(one, int) and 0 <= one < joints for one in values)


# what each entry of a file's metadata has to be, beside the number of joints
METADATA: Dict[str, Callable[[Any, int], bool]] = dict(
    keypoints=lambda names, joints: joints > 0 and all(isinstance(name, str) for name in names),
    format=lambda name, _: isinstance(name, str) and name in FORMATS,
    input_size=lambda sides, _: _are_numbers(sides, 2, 1, LARGEST_SIDE) and all(isinstance(one, int) for one in sides),
    dtype=lambda name, _: name in ('uint8', 'float32'),
    rgb=lambda value, _: isinstance(value, bool),
    mean=lambda values, _: _are_numbers(values, 3),
    std=lambda values, _: _are_numbers(values, 3, 1e-6),
    padding=lambda value, _: _is_number(value, 1e-2, 1e2),
    use_udp=lambda value, _: isinstance(value, bool),
    skeleton=lambda links, joints: (
        isinstance(links, list) and all(_are_places(link, joints) and len(link) == 2 for link in links)
    ),
    flip_indices=lambda places, joints: _are_places(places, joints) and sorted(places) == list(range(joints)),
    sigmas=lambda values, joints: values == [] or _are_numbers(values, joints, 0),
    precision=lambda name, _: isinstance(name, str),
    flip_test=lambda value, _: isinstance(value, bool),
    checkpoint_sha256=lambda digest, _: isinstance(digest, str),
    versions=lambda values, _: isinstance(values, dict),
)


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
        legacy: By torch's exporter that traces, which is all that torch before 2.6 has. Else by the current one.

    Returns:
        The model (``onnx.ModelProto``), at opset 18, or 17 from the tracing exporter.
    """
    onnx, _ = require('onnx', 'onnxscript')
    names: Dict[str, Any] = dict(input_names=[INPUT], output_names=list(outputs))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')  # of the exporters about one another, and of shapes that they take as fixed
        network(example)  # whatever is worked out once is there before
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
        UserError: There is no such file, ONNX Runtime cannot read it, or it is none of this package's.
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
        stored = self.session.get_modelmeta().custom_metadata_map
        if 'input_size' not in stored:
            raise UserError(f'{name} has no metadata of this package: export it with tools/export_onnx.py')
        self.name, self.metadata = name, _read_metadata(stored, name)
        self.form = FORMATS[self.metadata['format']]
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
            UserError: It has none, or they are not those of its format.
        """
        try:
            values = self.session.run(None, {self.session.get_inputs()[0].name: images})
        except Exception as error:  # ONNX Runtime's errors have no base class of their own
            raise UserError(f'{self.name} cannot be run on {images.shape}: {error}') from error
        people = len(images), len(self.metadata['keypoints'])
        shapes = [np.shape(value) for value in values if getattr(value, 'dtype', None) in (np.float32, np.float16)]
        if len(values) != 2 or [shape[:2] for shape in shapes] != [people] * 2 or not self.form.fits(*shapes):
            raise UserError(
                f'{self.name} puts out {shapes}, which is not what its metadata say: {people[1]} joints in the format '
                f'{self.metadata["format"]}'
            )
        return tuple(values)


def _read_metadata(stored: Dict[str, str], name: str) -> Dict[str, Any]:
    """A file's metadata, looked through.

    Raises:
        UserError: They are not what :func:`to_bytes` writes.
    """
    found: Dict[str, Any] = {}
    for key, is_possible in METADATA.items():
        try:
            found[key] = json.loads(stored[key])
        except (KeyError, ValueError, RecursionError) as error:
            raise UserError(f'{name} has no {key} in its metadata, as tools/export_onnx.py writes it') from error
        joints = len(found['keypoints']) if isinstance(found['keypoints'], list) else 0
        if not is_possible(found[key], joints):
            raise UserError(f'{name}: {key} in its metadata is not what tools/export_onnx.py writes: export it again')
    return found
