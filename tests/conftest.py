"""Toy-sized versions of the real configs, and a made-up data set for them."""

import functools
import gc
import json
import signal
import socket
from pathlib import Path
from types import SimpleNamespace

import cv2
import mmengine.config.config
import mmengine.config.utils
import mmengine.dataset.base_dataset
import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpose.registry import MODELS
from rich.console import Console
from rich.table import Table
from scipy.io import savemat

from mmpose_tskd.apis.environment import machine, versions

# a shell's background job ignores Ctrl-C, nohup a closed terminal, and so would the runs of tests
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
torch.set_num_threads(1)  # toy networks are slower on several
# Most of a toy run's time goes into the layout of the config, which MMEngine writes into its log and each checkpoint,
# into MMPose's 74 metafiles and the installed packages, read for each config, and into collections of garbage.
mmengine.config.config.FormatCode = lambda text, **options: (text, True)
mmengine.config.utils.load = functools.lru_cache(None)(mmengine.config.utils.load)
mmengine.dataset.base_dataset.gc = SimpleNamespace(collect=lambda: 0)
mmengine.config.config.is_installed = functools.lru_cache(None)(mmengine.config.config.is_installed)

pytest_plugins = ['gpu_report']
REPO = Path(__file__).parents[1]
INPUT_SIZE = (64, 96)  # HRNet needs multiples of 32


@pytest.fixture(autouse=True)
def _mmpose_scope():
    init_default_scope('mmpose')
    torch.manual_seed(0)
    MessageHub.get_current_instance().pop_info('dataset_meta', None)  # of the run of another test


def write_toy_data(folder: Path, num_people: int = 6, num_keypoints: int = 17) -> Path:
    """COCO layout: each image shows one instance as colored dots, one a keypoint."""
    rng = np.random.default_rng(0)
    (folder / 'images').mkdir(parents=True)
    images, annotations = [], []
    for i in range(1, num_people + 1):
        points = rng.uniform([20, 20], [76, 108], size=(num_keypoints, 2))
        image = rng.integers(0, 60, size=(128, 96, 3), dtype=np.uint8)
        for k, (x, y) in enumerate(points):
            cv2.circle(image, (int(x), int(y)), 4, (255, 12 * k, 255 - 12 * k), -1)
        cv2.imwrite(str(folder / 'images' / f'{i}.png'), image)
        keypoints = np.concatenate([points, np.full((num_keypoints, 1), 2)], axis=1)
        keypoints[0] = 0  # one keypoint has no label
        images.append(dict(id=i, file_name=f'{i}.png', width=96, height=128, crowdIndex=0.0))
        annotations.append(
            dict(
                id=i,
                image_id=i,
                category_id=1,
                iscrowd=0,
                bbox=[12, 12, 72, 104],
                area=72 * 104 * 0.5,
                num_keypoints=num_keypoints - 1,
                keypoints=keypoints.flatten().tolist(),
            )
        )
    categories = [dict(id=1, name='person', keypoints=[str(k) for k in range(num_keypoints)], skeleton=[])]
    (folder / 'labels.json').write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return folder


def write_toy_mpii(folder: Path) -> Path:
    """The same in MPII's layout, with boxes of the heads."""
    write_toy_data(folder, num_keypoints=16)
    labels = json.loads((folder / 'labels.json').read_text())
    people = []
    for person in labels['annotations']:
        joints = np.array(person['keypoints']).reshape(-1, 3)
        people.append(
            dict(
                image=f'{person["image_id"]}.png',
                center=[48.0, 64.0],
                scale=0.5,  # 100 pixels
                joints=joints[:, :2].tolist(),
                joints_vis=(joints[:, 2] > 0).astype(int).tolist(),
            )
        )
    (folder / 'labels.json').write_text(json.dumps(people))
    heads = np.tile(np.array([[0.0, 0.0], [20.0, 20.0]])[..., None], len(people))
    savemat(folder / 'heads.mat', dict(headboxes_src=heads))
    return folder


@pytest.fixture(scope='session')
def toy_data(tmp_path_factory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp('data') / 'toy')


def shrink_model(cfg, width: int) -> None:
    """Makes every HRNet, ResNet, head and codec inside a config toy-sized, in place."""
    if isinstance(cfg, dict):
        kind = cfg.get('type')
        widths = [width * 2**i for i in range(4)]
        if kind in ('HRNet', 'MultiBranchHRNet'):
            extra = {}
            for stage in range(1, 5):
                channels = [8] if stage == 1 else widths[:stage]
                block = 'BOTTLENECK' if stage == 1 else 'BASIC'
                extra[f'stage{stage}'] = dict(
                    num_modules=1,
                    num_branches=len(channels),
                    block=block,
                    num_blocks=[1] * len(channels),
                    num_channels=channels,
                )
            cfg['extra'] = ConfigDict(extra)
            cfg['init_cfg'] = None
        elif kind == 'ResNet':
            cfg.update(base_channels=width, stem_channels=width, init_cfg=None)
        elif kind == 'HeatmapHead':
            cfg['in_channels'] = _shrink_channels(cfg['in_channels'], width)
            if cfg.get('deconv_out_channels', True):
                cfg['deconv_out_channels'] = (8,) * len(cfg.get('deconv_out_channels', range(3)))
        elif kind in ('OfficialSimCCHead', 'RTMCCHead'):
            cfg.update(in_channels=width, input_size=INPUT_SIZE, in_featuremap_size=(16, 24))
        elif kind == 'IGPGCNHead':
            cfg.update(in_channels=(4 * width, 2 * width, width), feat_channels=(16, 8, 8), hidden_channels=16)
        elif kind in ('SimCCLabel', 'TopdownAffine'):
            cfg['input_size'] = INPUT_SIZE
        elif kind in ('MSRAHeatmap', 'UDPHeatmap'):
            stride = cfg['input_size'][0] // cfg['heatmap_size'][0]
            cfg.update(input_size=INPUT_SIZE, heatmap_size=tuple(side // stride for side in INPUT_SIZE))
        elif 'student_channels' in cfg:
            cfg.update(
                student_channels=_shrink_channels(cfg['student_channels'], 8),
                teacher_channels=_shrink_channels(cfg['teacher_channels'], 12),
            )
        for value in cfg.values():
            shrink_model(value, width)
    elif isinstance(cfg, (list, tuple)):
        for value in cfg:
            shrink_model(value, width)


def _shrink_channels(channels: int, width: int) -> int:
    """Of a ResNet's map, which has a multiple of its 64 base channels, or of an HRNet's, which has its branch 0's."""
    return width * max(channels // 64, 1)


def toy_config(name: str, data: Path, work_dir: Path, width: int = 8, **options) -> Config:
    """A config of the project at toy size, on toy data, two epochs of three steps."""
    cfg = Config.fromfile(REPO / 'configs' / name)
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg[key]
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        loader.dataset.update(data_root=str(data), ann_file='labels.json', data_prefix=dict(img='images/'))
        loader.dataset.pop('bbox_file', None)
        if 'headbox_file' in loader.dataset:
            loader.dataset.headbox_file = str(data / 'heads.mat')
    if 'headbox_file' not in cfg.val_dataloader.dataset:
        cfg.val_evaluator = cfg.test_evaluator = dict(
            type='CocoMetric', ann_file=str(data / 'labels.json'), keypoint_score_thr=0.01
        )
        cfg.default_hooks.checkpoint.update(save_best='coco/AP', rule='greater')
    cfg.train_cfg.update(max_epochs=2, val_interval=1)
    cfg.param_scheduler = [
        dict(type='LinearLR', begin=0, end=2, start_factor=0.5, by_epoch=False),
        dict(type='MultiStepLR', milestones=[1], gamma=0.5, by_epoch=True),
    ]
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=-1)
    cfg.default_hooks.logger.interval = 1
    cfg.work_dir = str(work_dir)
    cfg.randomness = dict(seed=0)
    cfg.env_cfg.mp_cfg = dict(mp_start_method='fork', opencv_num_threads=1)
    cfg.experiment_name = f'toy_{work_dir.name}_{np.random.default_rng().integers(1 << 40)}'
    shrink_model(cfg._cfg_dict, width)
    cfg.merge_from_dict(options)
    return cfg


def toy_teacher() -> dict:
    """The teacher's model config at toy size, wider than the student."""
    cfg = Config.fromfile(REPO / 'configs/simcc/coco/simcc_hrnet-w48_4xb32-210e_coco-256x192.py')
    shrink_model(cfg._cfg_dict, 12)
    return cfg.model


@pytest.fixture(scope='session')
def teacher_checkpoint(tmp_path_factory) -> str:
    init_default_scope('mmpose')
    torch.manual_seed(1)
    model = MODELS.build(toy_teacher())
    model.init_weights()
    path = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


@pytest.fixture
def make_config(toy_data, tmp_path, teacher_checkpoint):
    """``make_config('stage1_structure.py', **options)``: a toy config with its teacher at hand."""

    def make(name: str, work_dir: str = 'work', **options) -> Config:
        cfg = toy_config(name, toy_data, tmp_path / work_dir)
        if 'teacher' in cfg.model:
            cfg.model.update(teacher=toy_teacher(), teacher_checkpoint=teacher_checkpoint)
        cfg.merge_from_dict(options)
        return cfg

    return make


@pytest.fixture
def batch(make_config):
    """A training batch of two instances, and the function that preprocesses it for a model."""
    cfg = make_config('stage1_structure.py')
    data = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))
    return lambda model: model.data_preprocessor(data, True)


@pytest.fixture
def tracing(monkeypatch):
    """Exports by the tracing exporter, which takes a tenth of the time."""
    from mmpose_tskd.apis import export

    monkeypatch.setattr(export, 'to_onnx', functools.partial(export.to_onnx, legacy=True))


SURVIVED = pytest.StashKey()
# Files that take long come first, so that no process is left alone with one at the end
LONGEST_FIRST = ['test_ablation', 'test_notebook', 'test_distill', 'test_export', 'test_quickstart', 'test_packaging']


def pytest_addoption(parser):
    parser.addoption(
        '--reliability',
        metavar='FILE.json',
        help='also run the tests marked slow, and write what was tried and survived into this file',
    )


def pytest_configure(config):
    config.addinivalue_line('markers', 'slow: too long for every run; only with --reliability')
    config.stash[SURVIVED] = {}


def pytest_collection_modifyitems(config, items):
    if not config.getoption('--reliability'):
        kept = [item for item in items if item.get_closest_marker('slow') is None]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        first = {name: place for place, name in enumerate(LONGEST_FIRST)}
        items[:] = sorted(kept, key=lambda item: first.get(item.path.stem, len(first)))


def pytest_collection_finish(session):
    gc.collect()
    gc.freeze()  # what is imported and collected is not searched again


@pytest.fixture
def survived(request):
    """``survived('kills', 'stage 1', 20)`` counts what was tried and went well, for the table of the whole run."""
    counts = request.config.stash[SURVIVED]

    def count(group: str, name: str, number: int = 1) -> None:
        counts.setdefault(group, {}).setdefault(name, 0)
        counts[group][name] += number

    return count


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    file = config.getoption('--reliability')
    if not file:
        return
    counts = config.stash[SURVIVED]
    table = Table('group', 'what', 'survived', title='Tried and survived')
    for group, entries in counts.items():
        if len(entries) > 10:
            entries = {f'{len(entries)} cases, listed in {file}': sum(entries.values())}
        for name, number in entries.items():
            table.add_row(group, name, str(number))
    Console(width=120).print(table)
    outcome = dict(passed=exitstatus == 0, survived=counts, versions=versions(), machine=machine())
    Path(file).write_text(json.dumps(outcome, indent=1) + '\n')


def free_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


def train(cfg: Config) -> Runner:
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner
