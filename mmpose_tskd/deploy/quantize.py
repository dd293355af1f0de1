"""Weights and activations of an exported file in 8 bits, by ONNX Runtime's static quantization."""

from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

import numpy as np

from .onnx_file import INPUT, require

BATCH = 8


class _Batches:
    """Gives ONNX Runtime the images in whole batches, by ``get_next`` for calibration and by iteration elsewhere."""

    def __init__(self, images: np.ndarray):
        whole = len(images) // BATCH * BATCH or len(images)
        self.batches = iter([{INPUT: images[i : i + BATCH]} for i in range(0, whole, BATCH)])

    def __iter__(self) -> Iterator[Dict[str, np.ndarray]]:
        return self.batches

    def get_next(self) -> Optional[Dict[str, np.ndarray]]:
        return next(self.batches, None)


class Quantizer:
    """Quantizes the convolutions of a file; all other operators, which are small beside them, stay in fp32.

    Args:
        model: ``onnx.ModelProto``, in fp32.
        images: To calibrate the activations on: the file's input, N×3×H×W.
        folder: To work in.
    """

    def __init__(self, model: Any, images: np.ndarray, folder: str):
        onnx, shapes = require('onnx', 'onnxruntime.quantization.shape_inference')
        self.folder = Path(folder)
        self.images = images
        raw, self.float_file = self.folder / 'raw.onnx', self.folder / 'float.onnx'
        onnx.save(model, raw)
        shapes.quant_pre_process(
            raw, self.float_file, skip_symbolic_shape=True
        )  # which cannot do without an extra package
        self.convolutions = [node.name for node in onnx.load(self.float_file).graph.node if node.op_type == 'Conv']

    def quantize(self, left_out: Sequence[str] = ()) -> Any:
        """The model in 8 bits (``onnx.ModelProto``), some convolutions left out."""
        onnx, quantization = require('onnx', 'onnxruntime.quantization')
        quantization.quantize_static(
            self.float_file,
            self.folder / 'int8.onnx',
            _Batches(self.images),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=['Conv'],
            nodes_to_exclude=list(left_out),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        return onnx.load(self.folder / 'int8.onnx')

    def by_loss(self) -> List[str]:
        """The names of the convolutions, the one whose output suffers most from 8 bits first (SNR on one batch)."""
        onnx, debug = require('onnx', 'onnxruntime.quantization.qdq_loss_debug')
        activations = []
        for name in ('float.onnx', 'int8.onnx'):
            tapped = str(self.folder / f'tapped_{name}')
            debug.modify_model_output_intermediate_tensors(str(self.folder / name), tapped)
            activations.append(debug.collect_activations(tapped, _Batches(self.images[:BATCH])))
        errors = debug.compute_activation_error(debug.create_activation_matching(activations[1], activations[0]))
        output = {node.name: node.output[0] for node in onnx.load(self.float_file).graph.node}
        loss = {name: errors[output[name]]['xmodel_err'] for name in self.convolutions if output[name] in errors}
        return sorted(loss, key=lambda name: float(loss[name]))
