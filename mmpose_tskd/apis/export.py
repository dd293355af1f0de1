"""From a config and a checkpoint to an ONNX file."""

import copy
import functools
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

import mmpose
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from torch import Tensor

import mmpose_tskd

from ..checkpoints import find_checkpoint, load_strictly, load_weights, weights_digest
from ..deploy.check import Agreement, check, compare
from ..deploy.formats import FORMATS, Format
from ..deploy.mmdeploy_folder import write_folder
from ..deploy.network import PIXELS, Normalization, PoseNetwork, normalization
from ..deploy.onnx_file import OnnxSession, require, to_bytes, to_onnx
from ..deploy.people import Predict, crop_options, crops_of, evaluate, labels_of
from ..deploy.quantize import Quantizer
from ..engine.atomic_backend import AtomicLocalBackend
from ..errors import UserError
from ..paths import load_config
from ..poses import Skeleton, load_skeleton
from .complexity import plain_student

PRECISIONS = ('fp32', 'fp16', 'int8')
CHECKED, CALIBRATED = 64, 128  # instances
LEFT_OUT = (0.0, 0.1, 0.25, 0.5)  # shares of the convolutions that int8 leaves in fp32, tried in this order


class Exported(NamedTuple):
    """What was written, and how well it does.

    Args:
        file: The file, or mmdeploy's folder.
        size_mb: Of the ONNX file, in 10^6 bytes.
        random: How it agrees with PyTorch on random images.
        real: The same on instances of the config's test set; None without that.
        metrics: The test metrics of PyTorch and of the file, where they were asked for.
        latency_ms: Of one image in ONNX Runtime with one thread.
        left_in_fp32: Convolutions that int8 has left out.
    """

    file: str
    size_mb: float
    random: Optional[Agreement]
    real: Optional[Agreement]
    metrics: Dict[str, Dict[str, float]]
    latency_ms: float
    left_in_fp32: int


class Estimator(NamedTuple):
    """A trained pose estimator: its config, its plain model on the CPU, its keypoints, and its weights' digest."""

    cfg: Config
    model: Any
    skeleton: Skeleton
    digest: str


def load_estimator(config: Union[str, Config], checkpoint: str, cfg_options: Optional[dict] = None) -> Estimator:
    """Builds the plain estimator of a config (of a distiller's, the student) with a checkpoint's weights.

    Raises:
        UserError: One of the files is missing or damaged, they do not fit one another, or the config has no top-down
            model with a test set.
    """
    cfg = load_config(config) if isinstance(config, str) else copy.deepcopy(config)
    cfg.merge_from_dict(cfg_options or {})
    if 'model' not in cfg or 'head' not in cfg.model or 'test_dataloader' not in cfg:
        raise UserError(f'{config} has no top-down model with a head and a test_dataloader: it is a part of others')
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    source = find_checkpoint(checkpoint)
    weights = load_weights(source)
    model = MODELS.build(plain_student(cfg.model))
    load_strictly(model, weights, source, str(config) if isinstance(config, str) else 'the config')
    dataset = cfg.test_dataloader.dataset
    return Estimator(cfg, model.eval(), load_skeleton(dataset.get('metainfo') or dataset.type), weights_digest(weights))


def export_onnx(
    config: Union[str, Config],
    checkpoint: str,
    out: str,
    form: str = 'coords',
    flip_test: bool = False,
    pixels: bool = False,
    precision: str = 'fp32',
    max_drop: Optional[float] = None,
    metric: str = 'coco/AP',
    cfg_options: Optional[dict] = None,
) -> Exported:
    """Writes a trained estimator, with its decoding and refiner, as an ONNX file, and checks it against PyTorch.

    Args:
        config, checkpoint: The estimator; a checkpoint may be a run's work folder.
        out: The file to write, for mmdeploy the folder.
        form: ``'coords'``: keypoints N×K×2 in input pixels and confidences N×K. ``'rtmlib'``: what its class
            ``RTMPose`` reads. ``'mmdeploy'``: a folder for its SDK.
        flip_test: The file averages over the image and its mirror image, at twice the cost.
        pixels: With ``'coords'``, the file takes BGR pixels N×3×H×W, uint8, and normalizes them itself.
        precision: ``'fp32'``; ``'fp16'``: backbone and neck in half precision; ``'int8'``: the convolutions in 8 bits,
            calibrated on instances of the config's training set.
        max_drop: Evaluate on the config's test set, and refuse a file whose metric is lower than PyTorch's by more than
            this, in points of 100. With int8, more and more of the worst convolutions are left in fp32, up to half of
            them, before the file is refused. None does not evaluate.
        metric: The metric that counts.
        cfg_options: Changes to the config, as ``--cfg-options``.

    Raises:
        UserError: A file is missing or damaged, an option does not fit another, no reader knows the head, or the
            outcome differs from PyTorch by more than allowed.
    """
    require('onnx', 'onnxscript', 'onnxruntime')
    _check_options(form, pixels, precision)
    target = _writable(Path(out), folder=form == 'mmdeploy')
    estimator = load_estimator(config, checkpoint, cfg_options)
    model, cfg, kind = estimator.model, estimator.cfg, FORMATS[form]
    flip = estimator.skeleton.flip_indices if flip_test else None
    given = kind.given or (PIXELS if pixels else normalization(model.data_preprocessor))
    network = functools.partial(PoseNetwork, model, kind.answer, flip_indices=flip)
    reference = network(given=PIXELS)
    width, height = size = reference.input_size
    metadata = _metadata(estimator, form, given, size, precision, flip_test)

    example = torch.zeros(2, 3, height, width, dtype=torch.uint8 if metadata['dtype'] == 'uint8' else torch.float32)
    proto = to_onnx(network(given=given, half=precision == 'fp16'), example, kind.outputs)
    content = to_bytes(proto, metadata)
    left_out: List[str] = []
    before = evaluate(cfg, model, _torch_predict(reference)) if max_drop is not None else {}
    if before and metric not in before:
        raise UserError(f'--metric {metric} is none of the test metrics: {", ".join(sorted(before))}')
    if precision == 'int8':
        content, left_out = _quantize(proto, metadata, estimator, kind, before, max_drop, metric)
    session = OnnxSession(content, threads=1)

    random = real = None
    noise = torch.randint(0, 256, (4, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    if precision == 'fp32':
        random = compare(session, reference, kind, noise)
        check(random, kind.tolerance, 'random images')
    if labels_of(cfg, 'test') is not None:
        real = compare(session, reference, kind, crops_of(cfg, 'test', CHECKED))
        if precision == 'fp32':
            check(real, kind.tolerance, 'instances of the test set')
    metrics: Dict[str, Dict[str, float]] = {}
    if max_drop is not None:
        after = evaluate(cfg, model, _onnx_predict(session, reference))
        metrics = dict(pytorch=before, onnx=after)
        _check_drop(before, after, metric, max_drop)
    latency = _latency(session, noise[:1])
    if form == 'mmdeploy':
        write_folder(target, content, cfg, given, size, precision)
    else:
        AtomicLocalBackend().put(content, str(target))
    return Exported(str(target), len(content) / 1e6, random, real, metrics, latency, len(left_out))


def _check_options(form: str, pixels: bool, precision: str) -> None:
    if form not in FORMATS:
        raise UserError(f'--format is one of {", ".join(FORMATS)}, not {form!r}')
    if precision not in PRECISIONS:
        raise UserError(f'--precision is one of {", ".join(PRECISIONS)}, not {precision!r}')
    if pixels and form != 'coords':
        raise UserError(f'--input uint8 is for --format coords: {form} normalizes images itself')
    if precision == 'fp16':  # which the exporter runs on the CPU
        try:
            image = torch.zeros(1, 1, 1, 1, dtype=torch.half)
            torch.conv2d(image, image)
        except RuntimeError as error:
            raise UserError(
                f'--precision fp16: torch {torch.__version__} has no convolution in half precision on a CPU: export '
                'with a newer torch, such as 2.6'
            ) from error


def _writable(path: Path, folder: bool) -> Path:
    """The path, its folder made.

    Raises:
        UserError: It cannot be written to.
    """
    parent = path if folder else path.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise UserError(f'--out {path} cannot be written to: {error}') from error
    if not folder and path.is_dir():
        raise UserError(f'--out {path} is a folder: name a file')
    return path


def _metadata(
    estimator: Estimator, form: str, given: Normalization, size: Tuple[int, int], precision: str, flip_test: bool
) -> Dict[str, Any]:
    skeleton = estimator.skeleton
    onnx, ort = require('onnx', 'onnxruntime')
    return dict(
        format=form,
        input_size=size,
        dtype='uint8' if form == 'coords' and given == PIXELS else 'float32',
        rgb=given.rgb,
        mean=given.mean,
        std=given.std,
        precision=precision,
        flip_test=flip_test,
        keypoints=skeleton.names,
        skeleton=skeleton.links,
        flip_indices=skeleton.flip_indices,
        sigmas=skeleton.sigmas,
        **crop_options(estimator.cfg),
        checkpoint_sha256=estimator.digest,
        versions=dict(
            mmpose_tskd=mmpose_tskd.__version__,
            mmpose=mmpose.__version__,
            torch=torch.__version__,
            onnx=onnx.__version__,
            onnxruntime=ort.__version__,
        ),
    )


def _torch_predict(network: PoseNetwork) -> Predict:
    def predict(crops: Tensor) -> Tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            outputs = network.read(crops)
        return network.reader.decoded(outputs.peaks).numpy(), outputs.confidence.numpy()

    return predict


def _onnx_predict(session: OnnxSession, network: PoseNetwork) -> Predict:
    def predict(crops: Tensor) -> Tuple[np.ndarray, np.ndarray]:
        keypoints, scores = session.form.decode(session(session.prepare(crops)))
        keypoints = keypoints.astype(np.float32)
        if not session.form.decoded:
            keypoints = network.reader.decoded(torch.from_numpy(keypoints)).numpy()
        return keypoints, scores

    return predict


def _check_drop(before: Dict[str, float], after: Dict[str, float], metric: str, max_drop: float) -> None:
    drop = 100 * (before[metric] - after[metric])
    if drop > max_drop:
        raise UserError(
            f'the exported file is not kept: its {metric} is {100 * after[metric]:.2f}, that of PyTorch '
            f'{100 * before[metric]:.2f}; --max-drop allows {max_drop}'
        )


def _quantize(
    proto: Any,
    metadata: Dict[str, Any],
    estimator: Estimator,
    kind: Format,
    before: Dict[str, float],
    max_drop: Optional[float],
    metric: str,
) -> Tuple[bytes, List[str]]:
    """The content of the file in 8 bits, and the convolutions that were left out for it."""
    if labels_of(estimator.cfg, 'train') is None:
        raise UserError(
            '--precision int8 is calibrated on instances of the training set, whose labels are not there: '
            'name them with --cfg-options train_dataloader.dataset.data_root=... train_dataloader.dataset.ann_file=...'
        )
    session = OnnxSession(to_bytes(proto, metadata))
    images = session.prepare(crops_of(estimator.cfg, 'train', CALIBRATED))
    reference = PoseNetwork(estimator.model, kind.answer)
    with tempfile.TemporaryDirectory() as folder:
        quantizer = Quantizer(proto, images, folder)
        left_out: List[str] = []
        content = to_bytes(quantizer.quantize(), metadata)
        if max_drop is None:
            return content, left_out
        worst = quantizer.by_loss()
        for share in LEFT_OUT:
            if share:
                left_out = worst[: round(share * len(worst))]
                content = to_bytes(quantizer.quantize(left_out), metadata)
            after = evaluate(estimator.cfg, estimator.model, _onnx_predict(OnnxSession(content), reference))
            if 100 * (before[metric] - after[metric]) <= max_drop:
                break
    return content, left_out


def _latency(session: OnnxSession, crops: Tensor, repeats: int = 20) -> float:
    """Milliseconds of one call, the shortest of several: others on the machine make it longer, never shorter."""
    images = session.prepare(crops)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        session(images)
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def latency_ms(file: str) -> float:
    """Milliseconds of one image in ONNX Runtime with one thread, of a file that :func:`export_onnx` wrote."""
    session = OnnxSession(file, threads=1)
    width, height = session.metadata['input_size']
    return _latency(session, torch.zeros(1, 3, height, width, dtype=torch.uint8))


def print_exported(exported: Exported, metric: str = 'coco/AP') -> None:
    """Prints what was written and how it was checked."""
    print(f'{exported.file}: {exported.size_mb:.1f} MB, {exported.latency_ms:.1f} ms for one image on one thread')
    for what, agreement in (('random images', exported.random), ('instances of the test set', exported.real)):
        if agreement is not None:
            print(
                f'differs from PyTorch by up to {agreement.pixels:.2g} input pixels and {agreement.score:.1g} of '
                f'confidence on {agreement.people} {what}'
            )
    if exported.real is None:
        print('not checked on real images: the labels of the test set are not there')
    if exported.left_in_fp32:
        print(f'{exported.left_in_fp32} convolutions were left in fp32')
    for name, metrics in exported.metrics.items():
        print(f'{name}: {metric} {100 * metrics[metric]:.2f}')
