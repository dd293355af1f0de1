from typing import Any, Dict, Iterator, List, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmpose.models import TopdownPoseEstimator
from mmpose.registry import MODELS
from torch import Tensor

from ...errors import UserError
from ...poses import KeypointReader, PoseOutputs, Skeleton, match_joints
from ...poses.record import Key, PoseRecord, instance_key, load_record
from .teacher import Teacher

MISSING = ('error', 'untaught')


@MODELS.register_module()
class RecordedTeacher(Teacher):
    """A teacher whose poses were recorded in a file beforehand, so that no network runs.

    The poses follow the geometry of each sample (crop, flip, rotation, half body), as the labels do. The losses get
    coordinates and scores alone. :class:`RecordedTeacherHook` prepares the training data for it. Keypoints are matched
    by name with the student's.

    Args:
        file: What ``tools/record_teacher.py`` wrote; or several such files, one for each label file.
        missing: What to do with an instance of the training data that has no recorded pose, or one for another box or
            image: ``'error'`` stops the run before its first step, ``'untaught'`` trains it on the labels alone.
        metainfo, flip_test: Options of the recording, which are refused here.
        confidence_power: The losses weigh each keypoint by its recorded confidence to this power; 0 weighs all alike.

    Raises:
        UserError: An option is wrong.
    """

    def __init__(
        self,
        file: Union[str, Sequence[str]],
        missing: str = 'error',
        metainfo: Union[str, dict, None] = None,
        flip_test: bool = False,
        confidence_power: float = 0.0,
    ):
        if missing not in MISSING:
            raise UserError(f'missing is "error" or "untaught", not {missing!r}')
        if metainfo is not None or flip_test:
            raise UserError(
                'teacher_metainfo and teacher_flip_test belong to the recording: take them out here, and give '
                '--metainfo or --flip-test to tools/record_teacher.py'
            )
        self.files = [file] if isinstance(file, str) else list(file)
        self.name = ', '.join(self.files)
        self.missing = missing
        self.confidence_power = confidence_power
        self.records: List[PoseRecord] = []
        self.rows: Dict[Key, int] = {}

    def build(self, student: TopdownPoseEstimator, source: str) -> None:
        """Reads the record.

        Raises:
            UserError: There is no such file, it is no record, or an instance is recorded twice.
        """
        try:
            self.records = [load_record(file) for file in self.files]
        except UserError as error:
            raise UserError(f'model.teacher=RecordedTeacher: {error}') from error
        for key in (key for record in self.records for key in record.keys):
            if self.rows.setdefault(key, len(self.rows)) != len(self.rows) - 1:
                raise UserError(f'{self.name}: the annotation {key[1]} of {key[0]} is recorded twice')
        self.num_keypoints = student.reader.num_keypoints
        self.reader = KeypointReader(student.reader.input_size)
        self.is_built = True

    def match(self, student: Optional[Skeleton], num_keypoints: int) -> None:
        """See :meth:`Teacher.match`.

        Raises:
            UserError: The student's keypoints are not known, or none of them is in the record.
        """
        if student is None:
            raise UserError("a recorded teacher's keypoints are matched by name: set model.metainfo")
        self.keypoints = np.concatenate([_select(record, student) for record in self.records])
        if (self.keypoints[..., 2] < 0).all():
            own = self.records[0].skeleton
            raise UserError(
                f"{self.name} has no keypoint of the student's: its keypoints are {', '.join(own.names)} "
                f'({own.dataset}), those of {student.dataset} are {", ".join(student.names)} (a number says no place)'
            )
        self.flip_indices = list(student.flip_indices)

    def digest(self) -> str:
        """The first 12 hexadecimal digits of each file's SHA-256, with spaces between."""
        return ' '.join(record.digest[:12] for record in self.records)

    def prepare(self, dataset: BaseDataset) -> None:
        """Compares the record with the data set that it is to teach.

        Args:
            dataset: A data set of MMPose, or a wrapper of others.

        Raises:
            UserError: Instances have no recorded pose, or one for another image or box, and ``missing`` is ``'error'``
                or this is so for all instances.
        """
        files = [file for record in self.records for file in record.files]
        boxes = np.concatenate([record.boxes for record in self.records])
        faults: Dict[str, List[Key]] = {}
        count = 0
        for info in _instances(dataset):
            count += 1
            key = instance_key(info['img_path'], info['id'])
            row = self.rows.get(key, -1)
            if row < 0:
                faults.setdefault('not in it', []).append(key)
            elif not f'/{info["img_path"]}'.endswith(f'/{files[row]}'):
                faults.setdefault('of an image of the same name in another folder', []).append(key)
            elif np.abs(boxes[row] - info['bbox'][0]).max() > 1:
                faults.setdefault('recorded for another box', []).append(key)
        if not faults:
            return
        told = '; '.join(f'{len(keys):,} {what} (id {keys[0][1]} of {keys[0][0]})' for what, keys in faults.items())
        told = f'{self.name}: of {count:,} instances to train on, {told}'
        left = sum(len(keys) for keys in faults.values())
        if self.missing == 'error' or left == count:
            raise UserError(
                f'{told}. Record the teacher on these labels by tools/record_teacher.py'
                + ('' if left == count else ", or leave them untaught by model.teacher.missing='untaught'")
            )
        for key in (key for keys in faults.values() for key in keys):
            self.rows.pop(key, None)
        print_log(f'{told}: these are left untaught', logger='current')

    def __call__(self, inputs: Tensor, data_samples: Sequence) -> PoseOutputs:
        """See :meth:`Teacher.__call__`.

        Raises:
            UserError: The hook has not prepared the samples, or one has no recorded pose with ``missing='error'``.
        """
        frames: List[Any] = [getattr(sample, 'input_frame', None) for sample in data_samples]
        if None in frames:
            raise UserError(
                'a recorded teacher must know where in the image a sample is: write dict(type="RecordedTeacherHook") '
                'into custom_hooks'
            )
        rows = np.array([self.rows.get(frame['key'], -1) for frame in frames])
        if self.missing == 'error' and (rows < 0).any():
            name, annotation = frames[int((rows < 0).argmax())]['key']
            raise UserError(f'{self.name} has no pose for the annotation {annotation} of {name}')
        poses = self.keypoints[rows]
        swaps = np.array([frame['swaps'] for frame in frames])
        if swaps.any():
            poses[swaps] = poses[swaps][:, self.flip_indices]
        matrices = np.stack([frame['matrix'] for frame in frames])
        poses[..., :2] = poses[..., :2] @ matrices[:, :, :2].transpose(0, 2, 1) + matrices[:, None, :, 2]
        known = (poses[..., 2] >= 0) & (rows >= 0)[:, None]
        poses[..., 2] = np.maximum(poses[..., 2], 0)
        weights = known * poses[..., 2] ** self.confidence_power
        both = torch.from_numpy(np.concatenate([poses, weights[..., None]], axis=-1).astype(np.float32))
        both = both.to(inputs.device, non_blocking=True)
        outputs = self.reader((), both[..., :3])
        outputs.weights = both[..., 3]
        return outputs

    def example(self, inputs: Tensor) -> PoseOutputs:
        """See :meth:`Teacher.example`."""
        return self.reader((), inputs.new_zeros(len(inputs), self.num_keypoints, 3))


def _select(record: PoseRecord, student: Skeleton) -> np.ndarray:
    """N×K×3 of the student's keypoints; one that the record does not have has score -1."""
    joints = match_joints(student, record.skeleton)
    if joints is None:
        return record.keypoints
    keypoints = record.keypoints[:, joints.numpy()]
    keypoints[:, joints.numpy() < 0, 2] = -1
    return keypoints


def _instances(dataset: BaseDataset) -> Iterator[Dict[str, Any]]:
    """The labeled instances of a data set, and of those that a wrapper holds; no image is opened."""
    parts = getattr(dataset, 'datasets', [getattr(dataset, 'dataset', None)])
    if parts != [None]:
        for part in parts:
            yield from _instances(part)
        return
    for index in range(len(dataset)):
        yield BaseDataset.get_data_info(dataset, index)  # MMPose's own copies the metainfo each time
