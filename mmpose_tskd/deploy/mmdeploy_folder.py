"""The folder that mmdeploy's SDK reads: a model and three JSON files, as of mmdeploy 1.3.1."""

import json
from pathlib import Path
from typing import Any, Dict, Tuple

import mmpose
from mmengine.config import Config

from ..engine.atomic_backend import AtomicLocalBackend
from .network import Normalization
from .onnx_file import INPUT
from .people import crop_options

MODEL_FILE = 'end2end.onnx'
VERSION = '1.3.1'


def write_folder(
    folder: Path, content: bytes, cfg: Config, given: Normalization, input_size: Tuple[int, int], precision: str
) -> None:
    """Writes ``end2end.onnx``, ``deploy.json``, ``pipeline.json`` and ``detail.json``.

    ``SimCCLabelDecode`` with ``export_postprocess`` takes ``simcc_x`` as coordinates and ``simcc_y`` as scores, so that
    every estimator, also a refined one, keeps its sub-pixel coordinates.

    Args:
        folder: To write to.
        content: The model, of the format ``'mmdeploy'``.
        cfg: The estimator's config, whose test pipeline says how instances are cropped.
        given: How the model wants images normalized.
        input_size: (W, H).
        precision: The model's, for the record.
    """
    backend = AtomicLocalBackend()
    backend.put(content, str(folder / MODEL_FILE))
    for name, value in _descriptions(cfg, given, input_size, precision).items():
        backend.put_text(json.dumps(value, indent=4) + '\n', str(folder / f'{name}.json'))


def _descriptions(
    cfg: Config, given: Normalization, input_size: Tuple[int, int], precision: str
) -> Dict[str, Dict[str, Any]]:
    crop = crop_options(cfg)
    model = dict(
        name='topdownposeestimator',
        net=MODEL_FILE,
        weights='',
        backend='onnxruntime',
        precision=precision.upper(),
        batch_size=1,
        dynamic_shape=True,
    )
    kept = ['img_shape', 'pad_shape', 'ori_shape', 'img_norm_cfg', 'scale_factor', 'bbox_score', 'center', 'scale']
    preprocess = dict(
        type='Task',
        module='Transform',
        name='Preprocess',
        input=['img'],
        output=['prep_output'],
        transforms=[
            dict(type='LoadImageFromFile'),
            dict(type='TopDownGetBboxCenterScale', padding=crop['padding'], image_size=input_size),
            dict(type='TopDownAffine', image_size=input_size, use_udp=crop['use_udp']),
            dict(type='Normalize', mean=given.mean, std=given.std, to_rgb=given.rgb),
            dict(type='ImageToTensor', keys=['img']),
            dict(type='Collect', keys=['img'], meta_keys=kept),
        ],
    )
    network = dict(
        name=model['name'],
        type='Task',
        module='Net',
        is_batched=False,
        input=['prep_output'],
        output=['infer_output'],
        input_map=dict(img=INPUT),
    )
    decode = dict(
        type='Task',
        module='mmpose',
        name='postprocess',
        component='SimCCLabelDecode',
        params=dict(flip_test=False, export_postprocess=True, input_size=input_size),
        output=['post_output'],
        input=['prep_output', 'infer_output'],
    )
    names = dict(input_names=[INPUT], output_names=['simcc_x', 'simcc_y'])
    return dict(
        deploy=dict(version=VERSION, task='PoseDetector', models=[model], customs=[]),
        pipeline=dict(
            pipeline=dict(input=['img'], output=['post_output'], tasks=[preprocess, network, decode]),
        ),
        detail=dict(
            version=VERSION,
            codebase=dict(task='PoseDetection', codebase='mmpose', version=mmpose.__version__),
            codebase_config=dict(type='mmpose', task='PoseDetection', export_postprocess=True),
            onnx_config=dict(type='onnx', save_file=MODEL_FILE, **names),
            backend_config=dict(type='onnxruntime'),
            calib_config={},
        ),
    )
