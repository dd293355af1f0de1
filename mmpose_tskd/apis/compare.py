"""What several models say of the same instances, as one page to look at and as an image."""

import base64
import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import matplotlib
import numpy as np
import torch
from mmcv.transforms import Compose
from mmpose.registry import TRANSFORMS
from torch import Tensor
from xtcocotools.coco import COCO

from ..datasets.label_checks import read_json, read_labels
from ..datasets.safe_samples import read_image
from ..deploy.onnx_file import OnnxSession
from ..deploy.people import crop_options
from ..engine.atomic_backend import AtomicLocalBackend
from ..errors import UserError
from ..models.layers import SemGraphConv
from ..poses import Skeleton, build_reader
from .export import load_estimator
from .report import write_figure

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402

PAGE = Path(__file__).with_name('compare_page.html')
DATA = '/*data*/null'  # where the page takes them
IMAGE_SIDE = 480  # pixels that an image is shown with at most
COLORS = dict(left='#1f77ff', right='#ff7f0e', middle='#2ca02c')


class Said(NamedTuple):
    """What a model says of one image's N instances, in the image's pixels.

    Args:
        poses: Its progressive poses, N×K×2 each; a plain model has one, a refined one starts with P_init.
        scores: N×K, in [0, 1]; None where it gives none.
        bins: Distributions along x and y, N×K×Wx and N×K×Wy; None without SimCC.
        crops: Where the bins lie: center and scale of each instance's crop, N×2 each.
    """

    poses: Tuple[np.ndarray, ...]
    scores: Optional[np.ndarray] = None
    bins: Optional[Tuple[np.ndarray, np.ndarray]] = None
    crops: Optional[Tuple[np.ndarray, np.ndarray]] = None


class _Cropper:
    """Cuts instances out as a config's test pipeline does, and brings keypoints back."""

    def __init__(self, input_size: Sequence[int], padding: float, use_udp: bool):
        self.size = np.array(input_size)
        self.per_crop = self.size - 1 if use_udp else self.size
        steps = [
            dict(type='GetBBoxCenterScale', padding=padding),
            dict(type='TopdownAffine', input_size=tuple(input_size), use_udp=use_udp),
        ]
        self.pipeline = Compose([TRANSFORMS.build(step) for step in steps])

    def cut(self, image: np.ndarray, boxes: np.ndarray) -> Tuple[Tensor, np.ndarray, np.ndarray]:
        """BGR pixels N×3×H×W, and center and scale of each instance's crop."""
        cut = [self.pipeline(dict(img=image, bbox=box[None], bbox_score=np.ones(1))) for box in boxes]
        crops = torch.stack([torch.from_numpy(np.ascontiguousarray(c['img'].transpose(2, 0, 1))) for c in cut])
        return crops, np.stack([c['input_center'] for c in cut]), np.stack([c['input_scale'] for c in cut])

    def back(self, coords: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """N×K×2, input pixels, to the image's."""
        return coords / self.per_crop * scale[:, None] + center[:, None] - 0.5 * scale[:, None]


class TorchColumn:
    """A config and its checkpoint."""

    def __init__(self, config: str, checkpoint: str):
        estimator = load_estimator(config, checkpoint)
        self.model, self.skeleton = estimator.model, estimator.skeleton
        self.reader: Any = build_reader(self.model.head)
        self.cropper = _Cropper(self.reader.input_size, **crop_options(estimator.cfg))

    def graph(self) -> List[Dict[str, Any]]:
        """The weights of the edges, K×K, of each graph convolution."""
        layers = [(name, part) for name, part in self.model.named_modules() if isinstance(part, SemGraphConv)]
        return [
            dict(name=name.replace('head.', ''), weights=_rounded(layer.attention().detach().numpy(), 3))
            for name, layer in layers
        ]

    def __call__(self, image: np.ndarray, boxes: np.ndarray, **_: Any) -> Said:
        crops, center, scale = self.cropper.cut(image, boxes)
        with torch.no_grad():
            inputs = self.model.data_preprocessor(dict(inputs=list(crops), data_samples=[]), False)['inputs']
            feats = self.model.extract_feat(inputs)
            outputs = self.reader(feats, self.model.head(feats))
            poses = [outputs.peaks]
            if outputs.refined:
                poses = [self.reader.base.peaks(outputs), *outputs.refined]
            bins = None
            if outputs.simcc is not None:
                x, y = (vector.float().softmax(-1).numpy() for vector in outputs.simcc)
                bins = (x, y)
        return Said(
            tuple(self.cropper.back(pose.numpy(), center, scale) for pose in poses),
            outputs.confidence.numpy(),
            bins,
            (center, scale),
        )


class OnnxColumn:
    """A file that ``tools/export_onnx.py`` wrote."""

    def __init__(self, file: str):
        self.session = OnnxSession(file)
        stored = self.session.metadata
        if self.session.form.decoded:
            raise UserError(f"{file} is for mmdeploy's SDK: export with --format coords or rtmlib to compare")
        self.cropper = _Cropper(stored['input_size'], stored['padding'], stored['use_udp'])
        names, links, sigmas, flip_indices = (
            tuple(stored[key]) for key in ('keypoints', 'skeleton', 'sigmas', 'flip_indices')
        )
        self.skeleton = Skeleton(names, links, sigmas, flip_indices, dataset=file)

    def __call__(self, image: np.ndarray, boxes: np.ndarray, **_: Any) -> Said:
        crops, center, scale = self.cropper.cut(image, boxes)
        keypoints, scores = self.session.form.decode(self.session(self.session.prepare(crops)))
        return Said((self.cropper.back(keypoints, center, scale),), scores)


class ResultsColumn:
    """A file of results in COCO format: ``image_id``, ``keypoints`` and ``score`` of each instance found."""

    skeleton = None

    def __init__(self, file: str):
        self.file = file
        self.by_image: Dict[int, List[np.ndarray]] = {}
        content = read_json(file)
        try:
            for person in content:
                points = np.array(person['keypoints'], dtype=np.float32).reshape(-1, 3)
                self.by_image.setdefault(person['image_id'], []).append(points)
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f'{file} holds no results in COCO format, a list of {{"image_id", "keypoints", "score"}}: {error!r}'
            ) from error

    def __call__(self, image: np.ndarray, boxes: np.ndarray, image_id: int, truth: np.ndarray) -> Said:
        """For each labeled instance, the nearest one that was found."""
        found = np.array(self.by_image.get(image_id, []))
        if not len(found):
            nothing = np.full((*truth.shape[:2], 2), np.nan)
            return Said((nothing,))
        if found.shape[1] != truth.shape[1]:
            raise UserError(f'{self.file} has {found.shape[1]} keypoints an instance, the labels {truth.shape[1]}')
        labeled = truth[:, None, :, 2] > 0
        apart = np.linalg.norm(found[None, ..., :2] - truth[:, None, :, :2], axis=-1)
        nearest = (apart * labeled).sum(-1).argmin(1)
        return Said((found[nearest, :, :2],), found[nearest, :, 2].clip(0, 1))


def open_column(source: Union[str, Sequence[str]]) -> Any:
    """A column from a config and its checkpoint, or as it is written on the command line.

    Raises:
        UserError: It is none of ``CONFIG,CHECKPOINT``, ``FILE.onnx`` and ``RESULTS.json``, or cannot be read.
    """
    if not isinstance(source, str):
        return TorchColumn(*source)
    if source.endswith('.onnx'):
        return OnnxColumn(source)
    if source.endswith('.json'):
        return ResultsColumn(source)
    parts = source.split(',')
    if len(parts) != 2:
        raise UserError(f'a model is CONFIG,CHECKPOINT or FILE.onnx or RESULTS.json, not {source!r}')
    return TorchColumn(*parts)


def compare_models(
    models: Mapping[str, Union[str, Sequence[str]]],
    labels: str,
    images: str,
    out: str,
    count: int = 24,
    image_ids: Optional[List[int]] = None,
) -> Path:
    """Draws what models say of labeled instances, from the labels' boxes, without a flip test.

    Args:
        models: By the name to show: a config and its checkpoint, or what :func:`open_column` takes.
        labels: In COCO format.
        images: The folder of the images.
        out: The folder to write to: ``index.html``, which holds all it needs, and ``comparison.png``.
        count: How many images, evenly from the least crowded to the most (from all over the file where that is not
            known).
        image_ids: These instead.

    Returns:
        The page.

    Raises:
        UserError: A model or the labels cannot be read, or they differ in their keypoints.
    """
    columns = {name: open_column(source) for name, source in models.items()}
    skeleton = next((c.skeleton for c in columns.values() if c.skeleton is not None), None)
    if skeleton is None:
        raise UserError('at least one model must be a config or an ONNX file, which knows the names of the keypoints')
    coco = _read_labels(labels, skeleton.num_keypoints)
    chosen = image_ids or _choose_images(coco, count)
    rows = [_row(coco, Path(images), image_id, columns, skeleton) for image_id in chosen]
    graphs = {name: c.graph() for name, c in columns.items() if isinstance(c, TorchColumn)}
    data = dict(
        models=list(columns),
        keypoints=skeleton.names,
        links=skeleton.links,
        sides=sides(skeleton),
        colors=COLORS,
        rows=rows,
        graphs={name: layers for name, layers in graphs.items() if layers},
    )
    folder = Path(out)
    page = PAGE.read_text().replace(DATA, json.dumps(data, separators=(',', ':')).replace('<', '\\u003c'))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        AtomicLocalBackend().put_text(page, str(folder / 'index.html'))
        draw_sheet(data, folder / 'comparison.png')
    except OSError as error:
        raise UserError(f'--out {out} cannot be written to: {error}') from error
    return folder / 'index.html'


def _read_labels(labels: str, num_keypoints: int) -> COCO:
    coco = COCO()
    coco.dataset, _ = read_labels(labels, num_keypoints)
    coco.createIndex()
    return coco


def people_of(coco: COCO, image_id: int) -> List[dict]:
    """The instances of an image with keypoints."""
    return [a for a in coco.loadAnns(coco.getAnnIds(image_id)) if any(v > 0 for v in a.get('keypoints', [])[2::3])]


def _choose_images(coco: COCO, count: int) -> List[int]:
    """Chooses images by how crowded they are, never by how well the models do."""
    labeled = [i for i in coco.getImgIds() if people_of(coco, i)]
    if not labeled:
        raise UserError('the labels hold no instance with keypoints')
    labeled.sort(key=lambda i: (coco.imgs[i].get('crowdIndex', 0), i))
    return [labeled[int(i)] for i in np.linspace(0, len(labeled) - 1, min(count, len(labeled)))]


def sides(skeleton: Skeleton) -> List[str]:
    """``'left'``, ``'right'`` or ``'middle'`` for each keypoint."""
    found = []
    for joint, other in enumerate(skeleton.flip_indices):
        name = skeleton.names[joint].lower()
        if joint == other:
            found.append('middle')
        elif 'left' in name or 'right' in name:
            found.append('left' if 'left' in name else 'right')
        else:
            found.append('left' if joint < other else 'right')
    return found


def _row(coco: COCO, images: Path, image_id: int, columns: Dict[str, Any], skeleton: Skeleton) -> Dict[str, Any]:
    """One image: its instances' labels, what each model says of them, and how far off it is."""
    name = coco.imgs[image_id]['file_name']
    image = read_image(str(images / name))
    people = people_of(coco, image_id)
    truth = np.array([a['keypoints'] for a in people], dtype=np.float32).reshape(len(people), -1, 3)
    if truth.shape[1] != skeleton.num_keypoints:
        raise UserError(f'the labels have {truth.shape[1]} keypoints, the models {skeleton.num_keypoints}')
    xywh = np.array([a['bbox'] for a in people], dtype=np.float32)
    boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    zoom = min(1.0, IMAGE_SIDE / max(image.shape[:2]))
    shown = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode('.jpg', shown, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    labeled = truth[..., 2] > 0
    said = {}
    for title, column in columns.items():
        answer = column(image, boxes, image_id=image_id, truth=truth)
        apart = np.linalg.norm(answer.poses[-1] - truth[..., :2], axis=-1)
        error = 100 * (apart * labeled).sum(1) / labeled.sum(1).clip(min=1) / np.sqrt(xywh[:, 2] * xywh[:, 3])
        said[title] = dict(
            poses=[_rounded(pose * zoom, 1) for pose in answer.poses],
            scores=None if answer.scores is None else _rounded(answer.scores, 2),
            errors=_rounded(error, 1),
            bins=_pack_bins(answer, zoom),
        )
    return dict(
        id=image_id,
        name=name,
        width=shown.shape[1],
        height=shown.shape[0],
        image='data:image/jpeg;base64,' + base64.b64encode(jpeg).decode(),
        boxes=_rounded(boxes * zoom, 1),
        truth=_rounded(truth * [zoom, zoom, 1], 1),
        hidden=round(float((truth[..., 2] == 1).sum() / labeled.sum()), 3),
        said=said,
    )


def _pack_bins(answer: Said, zoom: float) -> Optional[List[Dict[str, Any]]]:
    """For x and for y: the bins as bytes (255 is the highest), that one's height, and where they lie in the image."""
    if answer.bins is None or answer.crops is None:
        return None
    packed = []
    for axis, vectors in enumerate(answer.bins):
        center, scale = (values[:, axis] * zoom for values in answer.crops)
        highest = vectors.max(-1)
        content = np.round(255 * vectors / highest[..., None]).astype(np.uint8)
        packed.append(
            dict(
                shape=content.shape,
                bytes=base64.b64encode(content.tobytes()).decode(),
                highest=_rounded(highest, 4),
                start=_rounded(center - scale / 2, 1),
                length=_rounded(scale, 1),
            )
        )
    return packed


def _rounded(values: Any, digits: int) -> List[Any]:
    """For JSON, which knows no NaN and no infinity."""
    numbers = np.round(np.asarray(values, dtype=np.float64), digits)
    return np.where(np.isfinite(numbers), numbers, None).tolist()  # type: ignore[call-overload]


def draw_sheet(data: Dict[str, Any], path: Path, rows: int = 6) -> None:
    """The labels and each model's poses of the first images, side by side, in a PNG."""
    shown = data['rows'][:rows]
    titles = ['labels', *data['models']]
    heights = [2.6 * row['height'] / row['width'] + 0.25 for row in shown]
    figure, axes = plt.subplots(
        len(shown),
        len(titles),
        figsize=(2.6 * len(titles), sum(heights) + 0.4),
        height_ratios=heights,
        layout='constrained',
        squeeze=False,
    )
    for i, row in enumerate(shown):
        content = np.frombuffer(base64.b64decode(row['image'].split(',')[1]), dtype=np.uint8)
        decoded: Any = cv2.imdecode(content, cv2.IMREAD_COLOR)
        image = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
        for j, title in enumerate(titles):
            ax = axes[i, j]
            ax.imshow(image)
            ax.set(xticks=[], yticks=[], xlim=(0, row['width']), ylim=(row['height'], 0))
            if i == 0:
                ax.set_title(title, fontsize=10)
            answer = None if j == 0 else row['said'][title]
            if answer is not None:
                errors = ', '.join('–' if e is None else f'{e:.1f}' for e in answer['errors'])
                ax.set_xlabel(f'error {errors} %', fontsize=6)
            for number, truth in enumerate(row['truth']):
                poses = [truth] if answer is None else [pose[number] for pose in answer['poses']]
                _draw_person(ax, data, np.array(poses[-1], dtype=float)[:, :2], np.array(truth, dtype=float), j == 0)
                if len(poses) > 1:
                    _draw_path(ax, np.array(poses, dtype=float))
    write_figure(figure, path, dpi=110)


def _draw_person(ax: Any, data: Dict[str, Any], points: np.ndarray, truth: np.ndarray, is_truth: bool) -> None:
    """Draws keypoints and limbs, colored by side, hidden keypoints hollow; of the labels, only what is labeled."""
    seen = truth[:, 2] > 0 if is_truth else np.isfinite(points[:, 0])
    colors = [data['colors'][side] for side in data['sides']]
    for first, second in data['links']:
        if seen[first] and seen[second]:
            same = data['sides'][first] == data['sides'][second]
            ax.plot(*points[[first, second]].T, color=colors[first] if same else data['colors']['middle'], lw=1)
    for k in np.flatnonzero(seen):
        hollow = truth[k, 2] == 1
        ax.plot(*points[k], 'o', ms=3, mew=0.8, mec=colors[k], mfc='white' if hollow else colors[k])


def _draw_path(ax: Any, poses: np.ndarray) -> None:
    """From P_init through the steps to the refined keypoints that moved by more than two pixels."""
    for path in poses.transpose(1, 0, 2):
        if np.linalg.norm(path[-1] - path[0]) > 2:
            ax.plot(*path.T, color='#e00', lw=0.8)
            ax.annotate('', path[-1], path[-2], arrowprops=dict(arrowstyle='->', color='#e00', lw=0.8))
