"""Writes the configs of a distillation: each inherits another one and says what it changes."""

import copy
import logging
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from mmpose.registry import DATASETS, MODELS
from yapf.yapflib.yapf_api import FormatCode

from ...checkpoints import replace_loaders
from ...engine.atomic_backend import AtomicLocalBackend
from ...errors import UserError
from ...paths import config_folder, load_config
from ..budget import scale_epochs
from .labels import Data


class Preset(NamedTuple):
    """A student that is known by name.

    Args:
        config: Its config.
        teacher: The config of a larger network of its family, which is trained where no teacher is given. None makes
            one from the student's own network, see :func:`enlarge`.
        what: For the help.
    """

    config: str
    teacher: Optional[str]
    what: str


SIMCC = 'mmpose::body_2d_keypoint/simcc/coco/'
RTMPOSE = 'mmpose::body_2d_keypoint/rtmpose/coco/'
CROWD = 'simcc/synthetic_crowd/simcc_hrnet-'
LSPET = 'simcc/lspet/simcc_hrnet-'
PRESETS = {
    'tiny': Preset(
        f'{CROWD}w16-tiny_10e_synthetic-crowd-96x64.py',
        f'{CROWD}w32-tiny_14e_synthetic-crowd-96x64.py',
        '1.0 M parameters, for a CPU',
    ),
    'small': Preset(
        f'{LSPET}w16-small_8e_lspet-128x96.py', f'{LSPET}w32-small_12e_lspet-128x96.py', '1.6 M parameters, for a CPU'
    ),
    'mobilenetv2': Preset(f'{SIMCC}simcc_mobilenetv2_wo-deconv-8xb64-210e_coco-256x192.py', None, 'phones'),
    'rtmpose-t': Preset(
        f'{RTMPOSE}rtmpose-t_8xb256-420e_coco-256x192.py', f'{RTMPOSE}rtmpose-m_8xb256-420e_coco-256x192.py', 'phones'
    ),
    'rtmpose-s': Preset(
        f'{RTMPOSE}rtmpose-s_8xb256-420e_coco-256x192.py', f'{RTMPOSE}rtmpose-l_8xb256-420e_coco-256x192.py', 'laptops'
    ),
    'resnet-18': Preset('ikd/coco/td-hm_res18-small_8xb64-210e_coco-256x192.py', None, 'laptops'),
    'hrnet-w32': Preset(
        'simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py',
        'simcc/coco/simcc_hrnet-w48_4xb32-210e_coco-256x192.py',
        'servers',
    ),
}
# the config of the plain model that each training gives
DEPLOYED = dict(teacher='teacher', plain_student='plain_student', stage1='plain_student', stage2='refined_student')
HOOKS = ('ReliableRunHook', 'SafeSamplesHook', 'BoxSourceHook')
DEEPER = {18: 34, 50: 101, 101: 152}  # by depth of a ResNet, a deeper one that has all of its layers


class Settings(NamedTuple):
    """What holds for every run.

    Args:
        data: The data.
        seed: Of the runs.
        bfloat16: Train in bfloat16, on a CPU that has it.
        gpus: Processes of a run.
        out: The folder that is written to.
    """

    data: Data
    seed: int
    bfloat16: bool
    gpus: int
    out: Path

    def config(self, name: str) -> Path:
        return self.out / 'configs' / f'{name}.py'

    def run(self, name: str) -> Path:
        return self.out / 'runs' / name

    def deploy(self, name: str) -> Path:
        """Where the model of a training is packed."""
        return self.out / ('refined_student' if name == 'stage2' else 'student')


def config_source(name: str) -> str:
    """The config that ``name`` means, a preset's or itself, written so that ``_base_`` finds it from any folder.

    Raises:
        UserError: ``name`` is neither a preset nor a config.
    """
    if '::' not in name and not Path(name).suffix and name not in PRESETS:
        raise UserError(f'there is no student {name}: give a config, or one of {", ".join(PRESETS)}')
    name = PRESETS[name].config if name in PRESETS else name
    if '::' in name:
        return name
    ours = config_folder() / name
    return str(ours if ours.is_file() and not Path(name).is_file() else Path(name).absolute())


def load_base(source: str) -> Config:
    """Loads a config as one that inherits it sees it: MMEngine adds scopes to the parts of another package's config."""
    cfg = load_config(source)
    return Config.fromstring(f'_base_ = [{source!r}]', '.py') if '::' in source else cfg


def write_config(path: Path, base: str, cfg: Config, comment: str) -> Config:
    """Writes what ``cfg`` changes in the config ``base`` as a config file that inherits it, and reads it back."""
    inherited = load_base(base)._cfg_dict
    changes = _difference(inherited, cfg._cfg_dict)
    names: List[Tuple[str, Any]] = []
    text = f'# {comment}\n_base_ = [{base!r}]\n'
    for key in sorted(changes, key=lambda key: isinstance(changes[key], dict)):  # variables first
        known = [
            *names,
            *((f'_base_.{name}', inherited[name]) for name in inherited if name not in changes or name == key),
        ]
        if key == 'model':
            known.append(('_base_.model.head', inherited['model']['head']))
        text += f'\n{key} = {_text(changes[key], known)}\n'
        names.append((key, changes[key]))
    style = dict(
        based_on_style='pep8',
        column_limit=110,
        split_before_first_argument=True,
        indent_width=4,
        coalesce_brackets=True,
    )
    text, _ = FormatCode(text, style_config=style)
    if not path.is_file() or path.read_text() != text:
        AtomicLocalBackend().put_text(text, path)
    written = load_config(str(path))
    wrong = _difference(written._cfg_dict, cfg._cfg_dict)
    assert not wrong, f'{path} does not say {wrong}'
    return written


def _difference(base: Any, wanted: Any) -> Dict[str, Any]:
    changes: Dict[str, Any] = {}
    for key, value in wanted.items():
        if key not in base:
            changes[key] = value
        elif not isinstance(value, dict) or not isinstance(base[key], dict):
            if value != base[key]:
                changes[key] = value
        elif set(base[key]) - set(value):
            changes[key] = dict(value, _delete_=True)
        elif _difference(base[key], value):
            changes[key] = _difference(base[key], value)
    return changes


def _text(value: Any, names: Sequence[Tuple[str, Any]]) -> str:
    """Python code for a value, in which a list or dict that has one of the ``names`` is written as that name."""
    for name, known in names if isinstance(value, (dict, list)) and value else ():
        if type(value) is type(known) and value == known:
            return name
        if isinstance(value, list) and isinstance(known, list) and known and value[: len(known)] == known:
            return f'[*{name}, {", ".join(_text(part, names) for part in value[len(known) :])}]'
    if isinstance(value, dict):
        if all(isinstance(key, str) and key.isidentifier() for key in value):
            return f'dict({", ".join(f"{key}={_text(part, names)}" for key, part in value.items())})'
        return f'{{{", ".join(f"{key!r}: {_text(part, names)}" for key, part in value.items())}}}'
    if isinstance(value, list):
        return f'[{", ".join(_text(part, names) for part in value)}]'
    if isinstance(value, tuple):
        return f'({", ".join(_text(part, names) for part in value)}{"," * (len(value) == 1)})'
    return repr(value)


def plain_config(source: str, settings: Settings, epochs: Optional[int], budget: float) -> Tuple[Config, List[str]]:
    """A network's config with the data, keypoints, input size and schedule of a distillation.

    Args:
        source: The config to start from.
        settings: Of the distillation.
        epochs: To train; the config's own where None.
        budget: A factor on them.

    Returns:
        The config, and notes for the report.

    Raises:
        UserError: ``source`` is not the config of a top-down estimator.
    """
    cfg = load_base(source)
    if 'model' not in cfg or 'head' not in cfg.model or 'train_dataloader' not in cfg:
        raise UserError(f'--student {source} is no config of a top-down estimator with a head and a train_dataloader')
    data = settings.data
    set_joints(cfg.model.head, data.skeleton.num_keypoints)
    size = input_size(cfg.model.head, data.shape)
    _resize(cfg._cfg_dict, decoder(cfg.model.head)['input_size'], size)
    _set_data(cfg, data)
    notes = _drop_missing_weights(cfg.model)
    if settings.bfloat16 and _allows_bfloat16(cfg.model):
        cfg.optim_wrapper.type = 'BF16OptimWrapper'
    cfg.train_dataloader.batch_size = batch = _batch_size(cfg.train_dataloader.batch_size, data.people['train'])
    if batch * settings.gpus != cfg.get('auto_scale_lr', {}).get('base_batch_size', batch * settings.gpus):
        cfg.auto_scale_lr.enable = True
    cfg.train_dataloader.drop_last = True  # batch norm over the few instances that may be left over does harm
    set_epochs(cfg, max(1, round((epochs or cfg.train_cfg.max_epochs) * budget)), data.people['train'] // batch)
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=settings.seed)
    hooks = list(cfg.get('custom_hooks') or ())
    cfg.custom_hooks = hooks + [dict(type=kind) for kind in HOOKS if kind not in [hook['type'] for hook in hooks]]
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1, max_keep_ckpts=1)
    cfg.custom_imports = dict(imports=['mmpose_tskd'])
    return cfg, notes


def _allows_bfloat16(model: ConfigDict) -> bool:
    """Whether training needs no NumPy, which has no bfloat16; turns off a heatmap head's accuracy, which needs it."""
    kind = model.head.get('base_head', model.head).type.rpartition('.')[2]
    if kind == 'HeatmapHead':
        model.train_cfg = dict(model.get('train_cfg') or {}, compute_acc=False)
    return kind in ('OfficialSimCCHead', 'HeatmapHead')


def set_joints(cfg: Any, num_keypoints: int) -> None:
    """Gives every head its number of keypoints, in place."""
    if isinstance(cfg, dict):
        if 'out_channels' in cfg:
            cfg['out_channels'] = num_keypoints
        for value in cfg.values():
            set_joints(value, num_keypoints)


def decoder(head: dict) -> dict:
    return head['decoder'] if 'decoder' in head else decoder(head['base_head'])


def input_size(head: dict, shape: float) -> Tuple[int, int]:
    """The input size (w, h) that fits the boxes best: the head's own, the same swapped, or a square of its area."""
    width, height = decoder(head)['input_size']
    side = -(-round((width * height) ** 0.5) // 32) * 32
    sizes = [(width, height), (side, side), (height, width)]
    return min(sizes, key=lambda size: max(size[0] / size[1] / shape, shape * size[1] / size[0]))


def _resize(cfg: Any, old: Sequence[int], new: Sequence[int]) -> None:
    """Gives codecs, heads and pipelines another input size, in place."""
    if tuple(old) == tuple(new):
        return
    if isinstance(cfg, dict):
        if tuple(cfg.get('input_size') or ()) == tuple(old):
            cfg['input_size'] = tuple(new)
            if isinstance(cfg.get('sigma'), tuple):  # RTMPose's, by the size
                cfg['sigma'] = tuple(s * (b / a) ** 0.5 for s, a, b in zip(cfg['sigma'], old, new))
        for key in ('heatmap_size', 'in_featuremap_size'):
            if cfg.get(key):
                cfg[key] = tuple(value * b // a for value, a, b in zip(cfg[key], old, new))
        for value in cfg.values():
            _resize(value, old, new)
    elif isinstance(cfg, (list, tuple)):
        for value in cfg:
            _resize(value, old, new)


def _set_data(cfg: Config, data: Data) -> None:
    dataset: Dict[str, Any] = dict(type=data.dataset_type, data_root=str(data.folder), data_mode='topdown')
    if data.metainfo:
        dataset['metainfo'] = data.metainfo
    for split in ('train', 'val', 'test'):
        loader, name = cfg[f'{split}_dataloader'], 'train' if split == 'train' else 'val'
        images = data.images if split == 'train' else data.val_images
        own = dict(dataset, ann_file=f'{name}.json', data_prefix=dict(img=str(images)))
        own.update({} if split == 'train' else dict(test_mode=True))
        loader.dataset = dict(own, pipeline=loader.dataset.pipeline)
    evaluators = cfg.val_evaluator if isinstance(cfg.val_evaluator, (list, tuple)) else [cfg.val_evaluator]
    coco = dict(next((dict(one) for one in evaluators if one['type'] == 'CocoMetric'), dict(type='CocoMetric')))
    coco['ann_file'] = str(data.folder / 'val.json')
    coco.pop('prefix', None)
    if not data.has_areas:
        coco['use_area'] = False
    cfg.val_evaluator = [coco]
    threshold = {key: coco[key] for key in ('keypoint_score_thr',) if key in coco}
    if data.has_crowd:
        cfg.val_evaluator.append(dict(type='CrowdPoseMetric', ann_file=coco['ann_file'], prefix='crowd', **threshold))
    if data.has_hidden:
        cfg.val_evaluator.append(dict(coco, type='HiddenJointCocoMetric'))
    if data.skeleton.links:
        cfg.val_evaluator.append(dict(type='EdgeLengthError'))
    # how each instance was found, for intervals; where a test names its out_file
    cfg.test_evaluator = [*cfg.val_evaluator, dict(coco, type='PersonRecordMetric', prefix='people')]
    for key, value in (('dataset_type', data.dataset_type), ('data_root', str(data.folder))):
        if key in cfg:
            cfg[key] = value


def _drop_missing_weights(model: ConfigDict) -> List[str]:
    """Lets a backbone whose published weights cannot be had start from random ones."""
    initial = model.backbone.get('init_cfg')
    if not isinstance(initial, dict) or initial.get('type') != 'Pretrained':
        return [f'{model.backbone.type} starts from random weights']
    replace_loaders()
    try:
        CheckpointLoader.load_checkpoint(initial['checkpoint'], map_location='cpu', logger=None)
    except Exception as error:  # of the many ways in which a download can fail
        model.backbone.init_cfg = None
        note = f'{model.backbone.type} starts from random weights: {initial["checkpoint"]} cannot be had ({error})'
        print_log(note, logger='current', level=logging.WARNING)
        return [note]
    return [f'{model.backbone.type} starts from {initial["checkpoint"]}']


def _batch_size(own: int, people: int) -> int:
    """The config's own batch size, or the largest of 8, 16, 32 ... with twenty steps an epoch; 8 if none has them."""
    batch = 8
    while batch < own and 40 * batch <= people:
        batch *= 2
    return min(batch, own)


def set_epochs(cfg: Config, epochs: int, steps: int) -> None:
    """Lets a config train for so many epochs of so many steps; a warm-up takes a tenth of all steps at most."""
    if steps < 1:
        raise UserError(f'there are fewer instances to train on than a batch has ({cfg.train_dataloader.batch_size})')
    before = cfg.train_cfg.max_epochs
    scale_epochs(cfg, epochs / before)
    cfg.train_cfg.val_interval = max(1, -(-epochs // (2 if epochs < 20 else 10)))
    if 'max_epochs' in cfg:
        cfg.max_epochs = epochs
    for hook in cfg.get('custom_hooks') or ():
        if 'switch_epoch' in hook:  # of RTMPose's last epochs, with weaker augmentation
            hook['switch_epoch'] = round(hook['switch_epoch'] * epochs / before)
    for scheduler in cfg.param_scheduler:
        if not scheduler.get('by_epoch', True):
            scheduler['end'] = max(1, min(scheduler['end'], epochs * steps // 10))


def enlarge(model: ConfigDict) -> ConfigDict:
    """A larger network of a student's family, from whose weights the student's can be selected.

    Raises:
        UserError: No larger network of the family is known.
    """
    model = copy.deepcopy(model)
    backbone, kind = model.backbone, model.backbone.type
    backbone.init_cfg = None
    if kind == 'HRNet':
        for stage in ('stage2', 'stage3', 'stage4'):
            backbone.extra[stage].num_channels = tuple(2 * width for width in backbone.extra[stage].num_channels)
        model.head.in_channels *= 2
    elif kind == 'ResNet' and backbone.depth in DEEPER:
        backbone.depth = DEEPER[backbone.depth]
    elif kind == 'MobileNetV2':
        backbone.widen_factor = 2 * backbone.get('widen_factor', 1.0)
        model.head.in_channels *= 2
    elif kind == 'CSPNeXt':
        backbone.widen_factor *= 2
        model.head.in_channels *= 2
    else:
        raise UserError(f'--teacher none: no larger network of the family of {kind} is known: give --teacher')
    return model


def can_start_from(student: dict, teacher: dict) -> bool:
    """Whether a student can start from a teacher's weights.

    That is, every entry of its backbone has one of the same name in the teacher's, at least as large, and the two see
    images of one shape.
    """
    (width, height), (other_width, other_height) = (
        decoder(model['head'])['input_size'] for model in (student, teacher)
    )
    if abs(width * other_height - other_width * height) > 0.01 * width * other_height:
        return False
    own, given = (MODELS.build(dict(model['backbone'], init_cfg=None)).state_dict() for model in (student, teacher))
    return all(
        name in given and given[name].ndim == value.ndim and all(a <= b for a, b in zip(value.shape, given[name].shape))
        for name, value in own.items()
    )


def join_datasets(
    cfg: Config, record: Path, images: Path, metainfo: Optional[dict], mapping: Sequence[Tuple[int, int]]
) -> None:
    """Lets a config train on its labels and on a record of a teacher, in place.

    Args:
        cfg: The config.
        record: The record.
        images: The folder of its images.
        metainfo: The teacher's keypoints, where they are not the labels'.
        mapping: Index pairs of the same keypoint, the teacher's and the labels'; only with ``metainfo``.
    """
    labeled = dict(cfg.train_dataloader.dataset)
    pipeline = labeled.pop('pipeline')
    other = dict(labeled, ann_file=str(record), data_prefix=dict(img=str(images)), pipeline=[])
    if metainfo is not None:
        count = cfg.model.head.out_channels
        convert = dict(type='KeypointConverter', num_keypoints=count, mapping=[tuple(pair) for pair in mapping])
        other.update(type='CocoDataset', metainfo=metainfo, pipeline=[convert])
    cfg.train_dataloader.dataset = ConfigDict(
        type='CombinedDataset',
        metainfo=dict(labeled.get('metainfo') or DATASETS.get(labeled['type']).METAINFO),
        datasets=[dict(labeled, pipeline=[]), other],
        pipeline=pipeline,
    )


def refined_config(cfg: Config, data: Data) -> Config:
    """A plain student's config with a refiner on its head.

    Raises:
        UserError: There are no limbs to make a graph of.
    """
    if not data.skeleton.links:
        raise UserError(
            'the refiner needs limbs, and the category of the labels has no "skeleton": add it, give --metainfo, or '
            'leave the refiner out by --no-refine'
        )
    cfg = copy.deepcopy(cfg)
    backbone = cfg.model.backbone
    backbone.init_cfg = None
    head = dict(type='IGPGCNHead', base_head=cfg.model.head)
    if backbone.type == 'HRNet':
        width = backbone.extra.stage4.num_channels[0]
        backbone.update(type='MultiBranchHRNet', branches=(2, 1, 0))
        head.update(in_channels=(4 * width, 2 * width, width), in_indices=(0, 1, 2))
    else:
        channels = cfg.model.head.in_channels
        head.update(in_channels=(channels,) * 3, in_indices=(-1, -1, -1))
    head.update(feat_channels=(128, 64, 64))
    cfg.model.head = head
    pipeline = list(cfg.train_dataloader.dataset.pipeline)
    pipeline[-1] = dict(pipeline[-1], pack_transformed=True)  # the labels in input pixels, for the refiner
    cfg.train_dataloader.dataset.pipeline = pipeline
    if 'train_pipeline' in cfg:
        cfg.train_pipeline = pipeline
    return cfg


def stage2_schedule(cfg: Config, epochs: int, steps: int) -> None:
    """The refiner's optimizer and learning rate, in place."""
    kind = cfg.optim_wrapper.type if 'BF16' in cfg.optim_wrapper.get('type', '') else 'OptimWrapper'
    cfg.optim_wrapper = dict(type=kind, optimizer=dict(type='Adam', lr=1e-3), clip_grad=dict(max_norm=1.0))
    cfg.auto_scale_lr = dict(base_batch_size=cfg.train_dataloader.batch_size)
    cfg.param_scheduler = [
        dict(type='LinearLR', begin=0, end=50, start_factor=0.01, by_epoch=False),
        dict(type='CosineAnnealingLR', T_max=epochs, eta_min=1e-5, by_epoch=True, convert_to_iter_based=True),
    ]
    cfg.train_cfg.max_epochs = epochs
    set_epochs(cfg, epochs, steps)
