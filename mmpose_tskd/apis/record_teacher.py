"""Asks teachers once for the poses of a whole data set, and writes them down as labels."""

import hashlib
import json
import os
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmpose.datasets.transforms import GetBBoxCenterScale, TopdownAffine
from rich.progress import Progress
from torch.utils.data import DataLoader, Dataset, Subset

from ..checkpoints import locked
from ..datasets.label_checks import check_people, read_boxes, read_json
from ..datasets.safe_samples import read_image
from ..datasets.transforms import image_to_input
from ..engine.atomic_backend import AtomicLocalBackend
from ..errors import UserError
from ..models.teachers import LiveTeacher, build_teacher
from ..paths import load_config
from ..poses import Skeleton, join_keypoints, match_joints
from ..poses.record import clip_boxes
from .environment import versions

PART = 2048  # instances to a file of a recording that is not finished
REACH = 0.1  # of the box's longer side: two teachers' keypoints are averaged if they are not farther apart


class People(NamedTuple):
    """N instances to record, in the order of their images.

    Args:
        images: The images, by id: ``id``, ``file_name``, ``width``, ``height`` and what else is kept of them.
        ids: N, of the annotations.
        image_ids: N.
        boxes: N×4, fp64: x, y, width and height, as they are written down.
        scores: N, of the detector; 1 for boxes of labels.
        areas: N, pixels.
        digest: Of the files that they were read from.
    """

    images: Dict[Any, Dict[str, Any]]
    ids: List[Any]
    image_ids: List[Any]
    boxes: np.ndarray
    scores: np.ndarray
    areas: np.ndarray
    digest: str


def open_teacher(
    source: str,
    checkpoint: Optional[str] = None,
    metainfo: Union[str, dict, None] = None,
    flip_test: bool = False,
    device: Union[str, torch.device] = 'cpu',
) -> LiveTeacher:
    """Opens a teacher that predicts its own keypoints at its own input size, whatever a student has.

    Args:
        source: The config of an MMPose network, or ``'mmpose::path'``; an ONNX file; ``'hf:NAME_OR_FOLDER'``; or a
            config that has ``teacher=dict(type=...)``, and ``metainfo`` where none is given here.
        checkpoint: The weights of an MMPose network.
        metainfo: Its keypoints, a dataset class's name or a metainfo dict; those of the config's data set if None.
        flip_test: Average its answers with those for the mirrored image.
        device: Where it is to run.

    Raises:
        UserError: A file is missing or does not fit, or nothing says which keypoints it has.
    """
    init_default_scope('mmpose')
    teacher: Union[str, dict] = source
    if source.endswith('.onnx'):
        teacher = dict(type='OnnxTeacher', file=source)
    elif source.startswith('hf:'):
        teacher = dict(type='HFTeacher', model=source[3:])
    else:
        config = load_config(source)
        metainfo = metainfo or config.get('metainfo')
        teacher = config.get('teacher') or source
    built = build_teacher(teacher, checkpoint, 1.0, metainfo=metainfo, flip_test=flip_test)
    if not isinstance(built, LiveTeacher):
        raise UserError(f'{source} is a record already; what is recorded is a network')
    found = built.find_source()
    built.make(found)
    own = built.skeleton
    if own is None:
        raise UserError(f'nothing says which keypoints {source} has: give --metainfo, such as CocoDataset')
    if own.num_keypoints != built.num_keypoints:
        raise UserError(
            f'{source} has {built.num_keypoints} keypoints, and its metainfo {own.num_keypoints}: give --metainfo'
        )
    built.match(own, built.num_keypoints)
    built.load(found)
    built.place(torch.device(device))
    return built


def record_teacher(
    teachers: Sequence[LiveTeacher],
    labels: str,
    images: str,
    out: str,
    boxes: Optional[str] = None,
    box_score: float = 0.3,
    min_confidence: float = 0.3,
    batch_size: int = 64,
    num_workers: int = 0,
) -> Dict[str, Any]:
    """Writes down what teachers say of every instance of a label file.

    Each teacher sees the instance's box without augmentation, enlarged by MMPose's factor of 1.25, at its own input
    size. A stopped recording goes on where it was, by the same call.

    Args:
        teachers: As :func:`open_teacher` gives them. Of several, the answers are joined (:func:`join_keypoints`) in the
            keypoints of the first.
        labels: The images, in COCO format, and, without ``boxes``, the boxes of its annotations. Crowds and annotations
            whose ``num_keypoints`` is 0 are left out.
        images: The folder of the images.
        out: The file to write, in COCO format. A keypoint's visibility is its confidence, but at least 0.5, since
            MMPose ignores labels below; ``keypoint_scores`` is the confidence itself.
        boxes: A detector's results for the images, in COCO's format, in place of the annotations; the instances are
            numbered anew.
        box_score: The score that a detector's box must have.
        min_confidence: The confidence in [0, 1] below which a keypoint is no label (visibility 0).
        batch_size: Instances at a time.
        num_workers: Processes that read images.

    Returns:
        The record's ``info``.

    Raises:
        UserError: A file is missing or cannot be read, or no instance is left to record.
    """
    people = read_people(labels, boxes, box_score)
    info = dict(
        description='Poses that a teacher was asked for. visibility: confidence, at least 0.5; 0: below min_confidence',
        teachers=[
            dict(
                name=teacher.name,
                sha256=teacher.digest(),
                input_size=list(teacher.reader.input_size),
                flip_test=teacher.flip_test,
            )
            for teacher in teachers
        ],
        dataset=_skeleton(teachers[0]).dataset,  # whose keypoints' names these are
        labels=Path(labels).name,
        boxes=None if boxes is None else Path(boxes).name,
        labels_sha256=people.digest,
        min_confidence=min_confidence,
        versions=versions(),
    )
    job = json.dumps([info['teachers'], people.digest, box_score if boxes else None])
    parts = Path(f'{out}.parts') / hashlib.sha256(job.encode()).hexdigest()[:12]
    crops = _Crops(people, images, teachers)
    with _alone(parts.parent, out):
        files = _record(teachers, crops, parts, batch_size, num_workers)
        poses = (pose for file in files for pose in np.load(file))
        _write(out, info, people, _skeleton(teachers[0]).names, poses, min_confidence)
        for file in files:
            file.unlink()
        if not any(parts.iterdir()):
            parts.rmdir()
    return info


@contextmanager
def _alone(folder: Path, out: str) -> Iterator[None]:
    """Locks the folder of a record's parts; removes it at the end, unless it has parts of another recording."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / '.lock'
    try:
        with locked(lock, wait=False):
            yield
            lock.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()
    except BlockingIOError as error:
        raise UserError(f'another command records {out}: wait for it, or name another file') from error


def _record(teachers: Sequence[LiveTeacher], crops: '_Crops', parts: Path, batch_size: int, workers: int) -> List[Path]:
    """Asks the teachers for the parts that are missing, and returns the files of all parts."""
    device, files = _device(teachers), []
    with Progress() as progress:
        task = progress.add_task('recording', total=len(crops))
        for start in range(0, len(crops), PART):
            files.append(parts / f'{start:09d}.npy')
            stop = min(start + PART, len(crops))
            shape = (stop - start, _skeleton(teachers[0]).num_keypoints, 3)
            if _read_part(files[-1], shape) is None:
                loader: Any = DataLoader(Subset(crops, range(start, stop)), batch_size, num_workers=workers)
                answers = []
                for batch in loader:
                    answers.append(_answer(teachers, batch, device))
                    progress.advance(task, len(answers[-1]))
                _save(files[-1], np.concatenate(answers))
            else:
                progress.advance(task, stop - start)
    return files


def read_people(labels: str, boxes: Optional[str] = None, box_score: float = 0.3) -> People:
    """What to record; see :func:`record_teacher`.

    Raises:
        UserError: A file is missing, is not what it should be, or leaves no instance.
    """
    digest = hashlib.sha256()
    content = read_json(labels)
    digest.update(Path(labels).read_bytes())
    check_people(labels, content)
    images = {image['id']: image for image in content['images']}
    if boxes is None:
        found = [
            annotation
            for annotation in content.get('annotations', ())
            if not annotation.get('iscrowd') and annotation.get('num_keypoints', 1) > 0 and 'bbox' in annotation
        ]
    else:
        detections = read_boxes(boxes, content)
        digest.update(Path(boxes).read_bytes())
        found = [one for one in detections if one['category_id'] == 1 and one['score'] >= box_score]
        found = [dict(one, id=number) for number, one in enumerate(found, 1)]
    unknown = next((one['image_id'] for one in found if one['image_id'] not in images), None)
    if unknown is not None:
        raise UserError(f'{boxes or labels} names the image {unknown}, which {labels} does not list')
    order = {image: place for place, image in enumerate(images)}
    found.sort(key=lambda one: order[one['image_id']])  # an image's instances follow one another
    numbers = np.array([one['bbox'][:4] for one in found], np.float64).reshape(-1, 4)
    their_images = [images[one['image_id']] for one in found]
    corners = clip_boxes(numbers, [(image['width'], image['height']) for image in their_images])
    kept = np.flatnonzero((corners[:, 2:] > corners[:, :2]).all(1))
    if not len(kept):
        raise UserError(f'{boxes or labels} has no box of an instance to record')
    used = {found[place]['image_id'] for place in kept}
    return People(
        {name: image for name, image in images.items() if name in used},
        [found[place]['id'] for place in kept],
        [found[place]['image_id'] for place in kept],
        numbers[kept],
        np.array([found[place].get('score', 1.0) for place in kept]),
        np.array(
            [found[place].get('area', found[place]['bbox'][2] * found[place]['bbox'][3] * 0.53) for place in kept]
        ),
        digest.hexdigest(),
    )


class _Crops(Dataset):
    """For each instance, and each teacher, its crop (3×H×W, BGR, uint8) and the way back to the image (2×3)."""

    def __init__(self, people: People, folder: str, teachers: Sequence[LiveTeacher]):
        self.people = people
        self.folder = folder
        self.center = GetBBoxCenterScale()
        self.crops = [TopdownAffine(teacher.reader.input_size, use_udp=teacher.reader.is_udp) for teacher in teachers]
        self.last: Tuple[str, Any] = ('', None)

    def __len__(self) -> int:
        return len(self.people.ids)

    def __getitem__(self, index: int) -> List[Any]:
        image = self.people.images[self.people.image_ids[index]]
        path = os.path.join(self.folder, image['file_name'])
        if self.last[0] != path:
            pixels = read_image(path)
            self.last = path, dict(img=pixels, img_shape=pixels.shape[:2], ori_shape=pixels.shape[:2])
        box = clip_boxes(self.people.boxes[index], (image['width'], image['height']))
        whole = self.center(dict(self.last[1], bbox=box))
        answers = []
        for crop in self.crops:
            results = crop(dict(whole))
            back = cv2.invertAffineTransform(image_to_input(results, crop.use_udp)[:2])
            answers.append((torch.from_numpy(np.ascontiguousarray(results['img'].transpose(2, 0, 1))), back))
        return answers


def _answer(teachers: Sequence[LiveTeacher], batch: List[Any], device: torch.device) -> np.ndarray:
    """N×K×3, fp32, of a batch: x and y in the image, and the confidence."""
    answers = []
    for teacher, (crops, back) in zip(teachers, batch):
        inputs = teacher.preprocessor(dict(inputs=crops.to(device), data_samples=[]), False)['inputs']
        with torch.no_grad():
            outputs = teacher.answer(inputs)
        xy = outputs.peaks.cpu().double() @ back[:, :, :2].mT + back[:, None, :, 2]
        answer = torch.cat([xy, outputs.confidence.cpu().double()[..., None]], dim=-1)
        joints = match_joints(_skeleton(teachers[0]), _skeleton(teacher))
        if joints is not None:
            answer = answer[:, joints]
            answer[:, joints < 0, 2] = -1
        answers.append(answer)
    if len(answers) == 1:
        return answers[0].float().numpy()
    corners = (batch[0][1][:, :, :2] @ torch.tensor(teachers[0].reader.input_size).double()).abs()  # of the crop
    return join_keypoints(torch.stack(answers), REACH / 1.25 * corners.amax(-1)).float().numpy()


def _skeleton(teacher: LiveTeacher) -> Skeleton:
    assert teacher.skeleton is not None  # of every teacher that open_teacher gives
    return teacher.skeleton


def _device(teachers: Sequence[LiveTeacher]) -> torch.device:
    models = [teacher.model for teacher in teachers if teacher.model is not None]
    return next((parameter.device for model in models for parameter in model.parameters()), torch.device('cpu'))


def _save(file: Path, answers: np.ndarray) -> None:
    stream = BytesIO()
    np.save(stream, answers)
    AtomicLocalBackend().put(stream.getvalue(), file)


def _read_part(file: Path, shape: Tuple[int, ...]) -> Optional[np.ndarray]:
    """The answers of a part; None where its file is missing or unusable, so that it has to be recorded."""
    try:
        answers = np.load(file) if file.is_file() else None
    except (ValueError, OSError, EOFError):  # damaged, or with objects
        return None
    is_whole = isinstance(answers, np.ndarray) and answers.shape == shape and answers.dtype == np.float32
    return answers if is_whole else None


def _write(
    out: str,
    info: Dict[str, Any],
    people: People,
    names: Sequence[str],
    poses: Iterator[np.ndarray],
    min_confidence: float,
) -> None:
    """Writes the record, an instance at a time; it is whole or not there."""
    category = dict(id=1, name='person', keypoints=list(names), skeleton=[])
    with AtomicLocalBackend().opened(out) as file:
        head = f'{{"info": {json.dumps(info)},\n"categories": {json.dumps([category])},\n"images": [\n'
        images = ',\n'.join(map(json.dumps, people.images.values()))
        file.write(f'{head}{images}\n],\n"annotations": ['.encode())
        for place, pose in enumerate(poses):
            confidence = pose[:, 2].clip(0, 1)
            visible = np.where(confidence >= min_confidence, confidence.clip(0.5), 0)
            annotation = dict(
                id=people.ids[place],
                image_id=people.image_ids[place],
                category_id=1,
                iscrowd=0,
                bbox=people.boxes[place].tolist(),
                area=float(people.areas[place]),
                score=float(people.scores[place]),
                num_keypoints=int((visible > 0).sum()),
                keypoints=np.column_stack([pose[:, :2], visible]).astype(np.float64).round(4).ravel().tolist(),
                keypoint_scores=confidence.astype(np.float64).round(4).tolist(),
            )
            file.write(f'{"," if place else ""}\n{json.dumps(annotation)}'.encode())
        file.write(b'\n]}\n')
