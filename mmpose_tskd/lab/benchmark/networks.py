"""The networks that are timed, with random weights, and batches of noise to feed them."""

import copy
import json
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Sequence

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS, MODELS, TRANSFORMS
from torch import nn

from ...apis.complexity import plain_student
from ...datasets.transforms import pack_input_frames
from ...errors import UserError
from ...models.teachers import FrozenTeacher, load_model_config
from ...paths import config_folder, load_config
from ..dwpose import DWPosePeer
from .measuring import Call, Setting, tensor_bytes

STAGE1 = str(config_folder() / 'stage1_structure.py')
STAGE2 = str(config_folder() / 'stage2_igpgcn.py')
WRAPPERS = dict(fp32='OptimWrapper', bf16='BF16OptimWrapper')
NAMES = (
    'student_step', 'teacher_forward', 'student_forward', 'stage1_step', 'dwpose_step', 'stage2_step', 'record_step',
    'record_light_step',
)  # fmt: skip
# What the pipelines take from a data set's metainfo
METAINFO_KEYS = ('upper_body_ids', 'lower_body_ids', 'flip_pairs', 'flip_indices', 'dataset_keypoint_weights')


class Subject(NamedTuple):
    """A call to time, and the bytes that its networks and its optimizer hold all the time."""

    call: Call
    tensors: Sequence[Any]

    @property
    def held(self) -> int:
        return tensor_bytes(*self.tensors)


def load_plain(source: str) -> Config:
    """The config of an estimator, without the weights that would be downloaded.

    Raises:
        UserError: There is no such config, or it has no model and training pipeline.
    """
    init_default_scope('mmpose')
    cfg = load_config(source)
    if 'model' not in cfg or 'train_pipeline' not in cfg:
        raise UserError(f'{source} has no model and train_pipeline: it is a part of other configs')
    cfg.model.backbone.init_cfg = None
    return cfg


def load_stage(source: str) -> Config:
    """A stage's config, its teacher as a model dict, both without the weights that would be downloaded.

    Raises:
        UserError: There is no such config, or it is not that of a distiller between SimCC heads.
    """
    cfg = load_plain(source)
    if 'teacher' not in cfg.model:
        raise UserError(f'{source} is not the config of a distiller: it has no model.teacher')
    cfg.model.teacher = copy.deepcopy(load_model_config(cfg.model.teacher))
    cfg.model.teacher.backbone.init_cfg = None
    for model in (cfg.model, cfg.model.teacher):
        head = model.head.get('base_head', model.head)
        if 'simcc_split_ratio' not in head:
            raise UserError(f'{source}: the benchmark compares SimCC heads, and {head.type} is none')
    cfg.model.update(student_checkpoint=None)
    return cfg


def sizes(cfg: Config) -> Dict[str, Any]:
    """Input size (w, h), keypoints, and millions of parameters of student and teacher."""
    head = cfg.model.head
    params = {}
    for name, model in dict(student=plain_student(cfg.model), teacher=cfg.model.teacher).items():
        params[f'{name}_params_m'] = round(sum(p.numel() for p in MODELS.build(model).parameters()) / 1e6, 3)
    return dict(input_size=list(head.input_size), num_keypoints=head.out_channels, **params)


def noise_batch(cfg: Config, batch_size: int, seed: int) -> Dict[str, Any]:
    """A training batch as the data loader hands it out: images of noise, keypoints at random, the config's pipeline."""
    rng = np.random.default_rng(seed)
    np.random.seed(seed)  # which the pipelines draw from
    dataset = cfg.train_dataloader.dataset
    metainfo = parse_pose_metainfo(dict(DATASETS.get(dataset.type).METAINFO))
    pipeline = Compose([TRANSFORMS.build(step) for step in cfg.train_pipeline if step.type != 'LoadImage'])
    pack_input_frames(pipeline.transforms)
    samples = []
    for i in range(batch_size):
        count = metainfo['num_keypoints']
        sample = dict(
            id=i,
            img_id=i,
            img_path=f'{i}.jpg',
            img=rng.integers(0, 256, (480, 640, 3), dtype=np.uint8),
            img_shape=(480, 640),
            bbox=np.array([[120, 40, 440, 440]], dtype=np.float32),
            bbox_score=np.ones(1, dtype=np.float32),
            keypoints=rng.uniform([160, 80], [400, 400], (1, count, 2)).astype(np.float32),
            keypoints_visible=np.ones((1, count), dtype=np.float32),
        )
        samples.append(pipeline({**sample, **{key: metainfo[key] for key in METAINFO_KEYS}}))
    return pseudo_collate(samples)


def build_subjects(
    stage1: Config,
    stage2: Config,
    setting: Setting,
    names: Sequence[str] = NAMES,
    wrap: Callable[[Any], Any] = lambda model: model,
) -> Dict[str, Subject]:
    """Steps and forward passes to time, all on one batch, with the same student and the same teacher.

    A step is MMEngine's ``train_step``: preprocessing, losses, gradient and optimizer. The forward passes take the
    preprocessed batch, without gradient.

    Args:
        stage1, stage2: As :func:`load_stage` gives them.
        setting: See there.
        names: Which to build, of :data:`NAMES`.
        wrap: What is done to a network that trains, such as wrapping it for distributed training.
    """
    torch.manual_seed(setting.seed)
    batch = noise_batch(stage1, setting.batch_size, setting.seed)
    student, teacher = (MODELS.build(model) for model in (plain_student(stage1.model), stage1.model.teacher))
    for network in (student, teacher):
        network.init_weights()
    forwards = dict(teacher_forward=teacher, student_forward=copy.deepcopy(student))
    light = copy.deepcopy(stage2)
    light.model.head.feature_adaption = False
    subjects = {}
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder, 'teacher.pth'))
        torch.save(dict(state_dict=teacher.state_dict()), weights)
        steps: Dict[str, Call] = dict(
            student_step=lambda: student,
            stage1_step=lambda: _distiller(stage1, weights, setting.teacher_pass),
            dwpose_step=lambda: _dwpose_distiller(stage1, weights),
            stage2_step=lambda: _distiller(stage2, weights, setting.teacher_pass),
            record_step=lambda: _recorded_distiller(stage2, setting, folder),
            record_light_step=lambda: _recorded_distiller(light, setting, folder),
        )
        for name in names:
            if name in forwards:
                model = setting.prepare(forwards[name]).eval().requires_grad_(False)
                if name == 'teacher_forward' and setting.device.type == 'cpu':
                    model.to(memory_format=torch.channels_last)  # as the distillers here run it
                inputs = model.data_preprocessor(batch, True)['inputs']
                subjects[name] = Subject(_forward(model, inputs, setting), [model])
            else:
                cfg = stage1 if name in ('student_step', 'stage1_step', 'dwpose_step') else stage2
                subjects[name] = _train_step(setting.prepare(steps[name]()), cfg.optim_wrapper, batch, setting, wrap)
    return subjects


def _train_step(
    model: Any, optim_wrapper: ConfigDict, batch: Dict[str, Any], setting: Setting, wrap: Callable[[Any], Any]
) -> Subject:
    wrapped = wrap(model)
    wrapper = build_optim_wrapper(wrapped, {**optim_wrapper, 'type': WRAPPERS[setting.precision]})
    wrapped.train()  # as the Runner does; the teacher of DWPoseDistiller goes into training mode with it
    model.has_state_hook = True  # of a distiller: nothing is saved here
    teacher = getattr(model, 'teacher', None)
    teachers = [teacher.model] if isinstance(teacher, FrozenTeacher) else []  # which is no submodule
    return Subject(lambda: wrapped.train_step(batch, wrapper), [model, wrapper.optimizer, *teachers])


def _forward(model: Any, inputs: torch.Tensor, setting: Setting) -> Call:
    def call() -> None:
        with torch.no_grad(), setting.autocast():
            model(inputs, None)

    return call


def _distiller(cfg: Config, weights: str, teacher_pass: str) -> nn.Module:
    joints = cfg.train_dataloader.dataset.type
    options = dict(teacher_checkpoint=weights, teacher_pass=teacher_pass, metainfo=joints)
    model = MODELS.build({**cfg.model, **options})
    model.init_weights()
    return model


def _recorded_distiller(cfg: Config, setting: Setting, folder: str) -> nn.Module:
    """Stage 2 that learns from a record, with a pose for each sample of :func:`noise_batch`."""
    dataset = cfg.train_dataloader.dataset
    metainfo = parse_pose_metainfo(dict(DATASETS.get(dataset.type).METAINFO))
    names = list(metainfo['keypoint_id2name'].values())
    rng = np.random.default_rng(setting.seed)
    people = [
        dict(
            id=i,
            image_id=i,
            category_id=1,
            bbox=[120, 40, 320, 400],
            keypoints=np.append(rng.uniform(160, 400, (len(names), 2)), [[1]] * len(names), 1).ravel().tolist(),
            keypoint_scores=[1.0] * len(names),
        )
        for i in range(setting.batch_size)
    ]
    images = [dict(id=i, file_name=f'{i}.jpg', width=640, height=480) for i in range(setting.batch_size)]
    file = Path(folder, 'record.json')
    file.write_text(
        json.dumps(dict(images=images, annotations=people, categories=[dict(id=1, name='person', keypoints=names)]))
    )
    teacher = dict(type='RecordedTeacher', file=str(file))
    model = MODELS.build({**cfg.model, 'teacher': teacher, 'teacher_checkpoint': None, 'metainfo': dataset.type})
    model.init_weights()
    model.teacher.prepare(DATASETS.build(dict(type=dataset.type, ann_file=str(file), data_prefix=dict(img=''))))
    return model


def _dwpose_distiller(cfg: Config, weights: str) -> nn.Module:
    """MMPose's distiller between the same networks, with its own losses."""
    student = plain_student(cfg.model)
    distiller = DWPosePeer(**{**student, 'teacher': cfg.model.teacher, 'teacher_checkpoint': weights})
    distiller.init_weights()
    hub = MessageHub.get_current_instance()  # where it reads how far the run is
    hub.update_info('epoch', 0)
    hub.update_info('max_epochs', cfg.train_cfg.max_epochs)
    return distiller
