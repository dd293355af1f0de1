"""Which teacher a student gets, and how good it is."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np
from mmengine.config import Config
from mmengine.hub import get_config
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS, METRICS

from ...datasets.label_checks import read_json
from ...errors import UserError
from ...paths import load_config
from ...poses import Skeleton, match_joints
from ..record_teacher import open_teacher


class Teacher(NamedTuple):
    """A teacher, as commands and configs name it.

    Args:
        source: Its config, ONNX file or ``hf:`` name.
        checkpoint: Of an MMPose network: a file, a URL or a work folder.
        model: The model's config of an MMPose network; None of others.
        metainfo: Its keypoints, where its config does not say them.
        skeleton: Its keypoints.
        is_given: Whether the user has given it; else it is trained first.
        unknown: The student's keypoints that it does not know.
    """

    source: str
    checkpoint: Optional[str]
    model: Optional[Any]
    metainfo: Optional[str]
    skeleton: Skeleton
    is_given: bool
    unknown: List[str]

    def arguments(self) -> List[str]:
        """Of ``tools/record_teacher.py``."""
        given = ['--teacher', self.source, *([self.checkpoint] if self.checkpoint else []), '--flip-test']
        return given + (['--metainfo', self.metainfo] if self.metainfo else [])


def given_teacher(
    source: str, checkpoint: Optional[str], metainfo: Optional[str], student: Skeleton
) -> Optional[Teacher]:
    """Opens a teacher, to see whether it can be used.

    Returns:
        None where it has no keypoint in common with the student.

    Raises:
        UserError: It cannot be opened, or its weights or keypoints are not known.
    """
    model = None
    if source.endswith('.onnx') or source.startswith('hf:'):
        if not source.startswith('hf:') and not Path(source).is_file():
            raise UserError(f'--teacher {source}: there is no such file')
        if checkpoint is not None:
            raise UserError(f'--teacher-checkpoint is for MMPose networks: {source} has its weights itself')
        source = source if source.startswith('hf:') else str(Path(source).absolute())
    else:
        if Path(source).is_dir():
            checkpoint, source = checkpoint or source, _config_in(Path(source))
        if checkpoint is None:
            checkpoint = _published_weights(source)
        config = load_config(source)
        model = config.get('model')
        source = source if '::' in source else str(Path(source).absolute())
    try:
        opened = open_teacher(source, checkpoint, metainfo)
    except UserError as error:
        raise UserError(f'--teacher {source}: {error}'.replace('--metainfo', '--teacher-metainfo')) from error
    assert opened.skeleton is not None
    joints = match_joints(student, opened.skeleton)
    unknown = [] if joints is None else [name for name, joint in zip(student.names, joints) if joint < 0]
    if len(unknown) == student.num_keypoints:
        return None
    return Teacher(source, checkpoint, model, metainfo, opened.skeleton, True, unknown)


def _config_in(folder: Path) -> str:
    configs = sorted(folder.glob('*.py'))
    if len(configs) != 1:
        raise UserError(
            f'--teacher {folder}: a work folder holds the config of its run, one .py; this one has {len(configs)}. '
            'Give the config, and the folder or file as --teacher-checkpoint'
        )
    return str(configs[0])


def _published_weights(source: str) -> str:
    if '::' not in source:
        raise UserError(f'--teacher {source} needs --teacher-checkpoint: a file, a URL or a work folder')
    try:
        return get_config(source, pretrained=True).model_path
    except Exception as error:  # of several kinds, where a config is not in a metafile
        raise UserError(
            f'--teacher {source}: no published weights are listed for it ({error}): give --teacher-checkpoint'
        ) from error


def measure_record(record: str, cfg: Config, metric: Dict[str, Any], skeleton: Skeleton) -> Dict[str, float]:
    """Tests a teacher by its record of the validation set, as a model's test does; keypoints that it lacks lie at 0.

    Args:
        record: What ``tools/record_teacher.py`` wrote.
        cfg: A config with the data.
        metric: What measures, such as ``PersonRecordMetric``.
        skeleton: The student's keypoints.
    """
    measured = METRICS.build(metric)
    dataset = cfg.test_dataloader.dataset
    measured.dataset_meta = parse_pose_metainfo(dict(dataset.get('metainfo') or DATASETS.get(dataset.type).METAINFO))
    content = read_json(record)
    given = content['categories'][0]['keypoints']
    places = [given.index(name) if name in given else -1 for name in skeleton.names]
    results: List[Any] = []
    for person in content['annotations']:
        points = np.array(person['keypoints'], np.float32).reshape(-1, 3)[:, :2]
        pose = np.column_stack([points, np.array(person['keypoint_scores'], np.float32)])
        pose = np.append(pose, np.zeros((1, 3), np.float32), axis=0)[places][None]
        prediction = dict(
            id=person['id'],
            img_id=person['image_id'],
            keypoints=pose[..., :2],
            keypoint_scores=pose[..., 2],
            category_id=1,
            bbox_scores=np.ones(1),
            areas=np.array([person['area']]),
        )
        results.append((prediction, {}))
    return measured.compute_metrics(results)
