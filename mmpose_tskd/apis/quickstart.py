"""The whole method in minutes: data, teacher, plain student, both stages, and what came of it."""

import gc
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Union

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import mmpose_tskd

from ..checkpoints import find_resumable, load_weights, weights_digest
from ..datasets import generate_synthetic_crowd
from ..errors import UserError
from ..paths import config_folder
from ..poses import load_skeleton
from .budget import scale_epochs
from .compare import compare_models
from .complexity import model_complexity
from .environment import machine, prefers_bfloat16, versions, write_json
from .records import read_record, write_record
from .report import TITLES, draw_curves, print_table
from .train_time import TrainTimeHook, train_seconds

CONFIGS = dict(
    teacher='simcc/synthetic_crowd/simcc_hrnet-w32-tiny_14e_synthetic-crowd-96x64.py',
    baseline='simcc/synthetic_crowd/simcc_hrnet-w16-tiny_10e_synthetic-crowd-96x64.py',
    stage1='tskd/synthetic_crowd/tskd-stage1_simcc_hrnet-w32-tiny-to-w16-tiny_10e_synthetic-crowd-96x64.py',
    stage2='tskd/synthetic_crowd/tskd-stage2_simcc_hrnet-w32-tiny-to-w16-tiny-igpgcn_4e_synthetic-crowd-96x64.py',
)
REFINED = 'tskd/synthetic_crowd/simcc_hrnet-w16-tiny-igpgcn_synthetic-crowd-96x64.py'
PLAIN = dict(teacher=CONFIGS['teacher'], baseline=CONFIGS['baseline'], stage1=CONFIGS['baseline'], stage2=REFINED)
METRICS = dict(
    AP='coco/AP',
    AP50='coco/AP .5',
    AR='coco/AR',
    AP_hidden='coco_hidden/AP',
    AP_easy='crowd/AP(E)',
    AP_medium='crowd/AP(M)',
    AP_hard='crowd/AP(H)',
    edge_error='pose/edge_error',
)


class DataSet(NamedTuple):
    """Where a data set's labels lie and how MMPose calls it."""

    type: str
    ann_files: str


DATA = dict(
    synthetic=DataSet('CocoDataset', 'annotations/synthetic_crowd_{}.json'),
    lspet=DataSet('CrowdPoseDataset', 'annotations/lspet_{}.json'),
)


def run_quickstart(
    data: str = 'synthetic',
    data_root: Optional[str] = None,
    work_dir: Union[str, Path] = 'work_dirs/quickstart',
    seed: int = 0,
    budget: float = 1.0,
) -> dict:
    """Trains a teacher, a plain student, and the same student by both stages; evaluates, compares and writes it down.

    Into ``work_dir``: ``results.json``, ``table.md``, ``curves.png``, ``comparison/`` (a page that shows what the
    models say), ``deploy/`` (the refined model's checkpoint and plain config) and a folder a run. What is finished is
    not done again, and a run that was stopped goes on from its last epoch.

    Args:
        data: ``'synthetic'``, or ``'lspet'``: Leeds Sports Pose Extended in COCO format.
        data_root: The data set's folder; by default the synthetic crowd is drawn into ``work_dir``.
        work_dir: The folder to write to.
        seed: Of the training runs. The data are the same for every seed.
        budget: A factor on the epochs of every run; each has at least one.

    Returns:
        What ``results.json`` holds: ``rows`` by run (AP, AP50, AR, AP_hidden of joints that are hidden, AP_easy,
        AP_medium, AP_hard by crowd index: 0-100, None where the data have no such joints or pictures; edge_error in
        percent of the box; params_m; gmacs; train_s), ``weights`` (by run the digest of what was measured), ``seed``,
        ``versions``, and the settings.

    Raises:
        UserError: An argument is out of range, the data are not there, or ``work_dir`` holds a run with other settings.
    """
    if budget <= 0:
        raise UserError(f'--budget is a factor on the epochs and must be above 0, not {budget}')
    if data not in DATA:
        raise UserError(f'--data is one of {", ".join(DATA)}, not {data!r}')
    work_dir = Path(work_dir)
    if data != 'synthetic':
        _check_data(data, data_root)
    _check_settings(work_dir, dict(data=data, data_root=data_root, seed=seed, budget=budget))
    if data == 'synthetic':
        data_root = str(generate_synthetic_crowd(data_root or work_dir / 'data' / 'synthetic_crowd'))
    assert data_root is not None

    configs = {name: _load_config(file, data, data_root) for name, file in CONFIGS.items()}
    for name, cfg in configs.items():
        scale_epochs(cfg, budget)
        cfg.merge_from_dict(dict(work_dir=str(work_dir / name), randomness=dict(seed=seed)))
        if prefers_bfloat16():
            cfg.optim_wrapper.type = 'BF16OptimWrapper'
        if 'teacher' in cfg.model:
            cfg.model.teacher = configs['teacher'].model
            cfg.model.teacher_checkpoint = str(work_dir / 'teacher')
        if 'student_checkpoint' in cfg.model:
            cfg.model.student_checkpoint = str(work_dir / 'stage1')

    with _quiet(work_dir / 'console.log') as console:
        columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        rows: Dict[str, Dict[str, Any]] = {}
        outcomes: Dict[str, Dict[str, Any]] = {}
        with Progress(*columns, *times, console=console) as progress:
            for number, (name, cfg) in enumerate(configs.items(), start=1):
                outcome = outcomes[name] = _run(f'{number}/{len(configs)} {name}', cfg, progress)
                plain = _load_config(PLAIN[name], data, data_root)
                complexity = model_complexity(plain.model, plain.codec.input_size)._asdict()
                rows[name] = {**_rounded(outcome['metrics']), **complexity, 'train_s': round(outcome['train_s'], 1)}

        settings = dict(seed=seed, budget=budget, data=data)
        weights = {name: outcome['weights'] for name, outcome in outcomes.items()}
        results = dict(rows=rows, **settings, weights=weights, versions=versions(), machine=machine())
        write_json(results, work_dir / 'results.json')
        draw_curves({name: work_dir / name for name in CONFIGS}, work_dir / 'curves.png')
        files = {name: _measured(work_dir / name, outcomes[name]) for name in ('teacher', 'baseline', 'stage2')}
        deployed = _deploy(_load_config(REFINED, data, data_root), files['stage2'], work_dir / 'deploy')
        shown: Dict[str, Sequence[str]] = {}
        for name in ('baseline', 'teacher'):
            plain_config = work_dir / name / 'plain_config.py'
            _load_config(PLAIN[name], data, data_root).dump(plain_config)
            shown[TITLES[name]] = (str(plain_config), str(files[name]))
        shown[TITLES['stage2']] = [str(path) for path in deployed]
        labels = str(Path(data_root, DATA[data].ann_files.format('val')))
        page = compare_models(shown, labels, str(Path(data_root, 'images')), str(work_dir / 'comparison'))
    print_table(results, work_dir / 'table.md')
    print(f'\nSeed {seed}, {data}. In {work_dir}: results.json, table.md, curves.png.')
    print(f'What the models say, picture by picture: open {page} in a browser')
    print(f'The refined model to ship:\n  config      {deployed[0]}\n  checkpoint  {deployed[1]}')
    return results


def _check_data(data: str, data_root: Optional[str]) -> None:
    if data_root is None:
        raise UserError(
            f'--data {data} needs --data-root: the folder that holds {DATA[data].ann_files.format("train")}'
        )
    for split in ('train', 'val'):
        if not Path(data_root, DATA[data].ann_files.format(split)).is_file():
            raise UserError(f'--data-root {data_root}: there is no {DATA[data].ann_files.format(split)} in it')


def _check_settings(work_dir: Path, settings: dict) -> None:
    """Refuses to mix runs of different settings in one folder."""
    path = work_dir / 'settings.json'
    found = read_record(path)
    if found is not None:
        if found != settings:
            raise UserError(
                f'{work_dir} holds a run with {found}, not {settings}: name another --work-dir, or delete it'
            )
        return
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        write_record(settings, path)
    except OSError as error:
        raise UserError(f'--work-dir {work_dir} cannot be written to: {error}') from error


def _load_config(file: str, data: str, data_root: str) -> Config:
    """A quickstart config with its data set in place of the synthetic crowd in data/."""
    cfg = Config.fromfile(str(config_folder() / file))
    kind = DATA[data]
    for split in ('train', 'val', 'test'):
        labels = kind.ann_files.format('train' if split == 'train' else 'val')
        cfg[f'{split}_dataloader'].dataset.update(type=kind.type, data_root=data_root, ann_file=labels)
        for evaluator in cfg.get(f'{split}_evaluator', []):
            if 'ann_file' in evaluator:
                evaluator.ann_file = str(Path(data_root, labels))
    cfg.dataset_type = kind.type
    set_joints(cfg.model, load_skeleton(kind.type).num_keypoints)
    return cfg


def set_joints(cfg: Any, num_keypoints: int) -> None:
    """Gives every head its number of joints, in place."""
    if isinstance(cfg, dict):
        if 'out_channels' in cfg:
            cfg['out_channels'] = num_keypoints
        for value in cfg.values():
            set_joints(value, num_keypoints)


class _FollowHook(Hook):
    """Shows where a run is, and keeps its last metrics."""

    priority = TrainTimeHook.priority  # and registered after it, whose time it shows

    def __init__(self, title: str, progress: Progress) -> None:
        self.title, self.progress = title, progress
        self.metrics: Optional[dict] = None

    def before_train(self, runner) -> None:
        iterations = len(runner.train_dataloader)
        self.bar = self.progress.add_task(self.title, total=runner.max_epochs * iterations, completed=runner.iter)

    def before_train_epoch(self, runner) -> None:
        self.metrics = None

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        self.progress.update(self.bar, completed=runner.iter + 1)

    def after_train_epoch(self, runner) -> None:
        loss = runner.message_hub.get_scalar('train/loss').mean(len(runner.train_dataloader))
        said = f'epoch {runner.epoch + 1}/{runner.max_epochs}, loss {loss:.3f}, {train_seconds(runner):.0f} s'
        self.progress.console.print(f'{self.title}: {said}', highlight=False)

    def after_val_epoch(self, runner, metrics: Optional[Dict[str, float]] = None) -> None:
        self.metrics = dict(metrics or {})
        self.progress.console.print(f'{self.title}: AP {100 * self.metrics["coco/AP"]:.1f}', highlight=False)


def _run(title: str, cfg: Config, progress: Progress) -> dict:
    """Trains and evaluates one model, unless that is done, from its last checkpoint, if there is one."""
    folder = Path(cfg.work_dir)
    outcome = read_record(folder / 'outcome.json')
    if outcome is not None:
        progress.console.print(f'{title}: finished before', highlight=False)
        return outcome
    folder.mkdir(parents=True, exist_ok=True)
    # MMEngine hands out the same logger and visualizer again for the same name
    cfg.experiment_name = cfg.visualizer.name = f'{folder.name}_{time.time_ns()}'
    last = find_resumable(str(folder))
    if last is not None:
        cfg.resume = True
        progress.console.print(f'{title}: goes on from {Path(last).name}', highlight=False)
    follow = _FollowHook(title, progress)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(TrainTimeHook())
    runner.register_hook(follow)
    runner.train()
    metrics = runner.val() if follow.metrics is None else follow.metrics
    file = find_resumable(str(folder))
    assert file is not None
    outcome = dict(
        metrics={name: metrics.get(key) for name, key in METRICS.items()},
        train_s=train_seconds(runner),
        checkpoint=Path(file).name,
        weights=weights_digest(runner.model.state_dict()),
    )
    write_record(outcome, folder / 'outcome.json')
    del runner
    gc.collect()
    return outcome


@contextmanager
def _quiet(log: Path):
    """Sends what MMEngine and the COCO tools print to a file, and gives a console for what is to be seen."""
    console = Console(file=sys.stdout)
    with log.open('a') as file, redirect_stdout(file), redirect_stderr(file):
        try:
            yield console
        finally:
            for handler in MMLogger.get_current_instance().handlers:
                if getattr(handler, 'stream', None) is file:
                    handler.setStream(console.file)


def _rounded(metrics: Dict[str, Optional[float]]) -> Dict[str, Optional[float]]:
    """AP and AR in 0-100; None where there was nothing to measure, which the COCO tools give as -1."""
    rounded: Dict[str, Optional[float]] = {}
    for name, value in metrics.items():
        if value is None or not value >= 0:
            rounded[name] = None
        else:
            rounded[name] = round(value if name == 'edge_error' else 100 * value, 3)
    return rounded


def _measured(folder: Path, outcome: Dict[str, Any]) -> Path:
    """The checkpoint of a run that its outcome was measured on.

    Raises:
        UserError: It holds other weights by now, or is gone.
    """
    file = folder / outcome['checkpoint']
    if weights_digest(load_weights(str(file))) != outcome['weights']:
        raise UserError(
            f'{file} does not hold the weights that were measured: put the file back, or delete {folder} to train anew'
        )
    return file


def _deploy(cfg: Config, file: Path, folder: Path) -> List[Path]:
    """Writes the refined model's plain config and a checkpoint with the weights and joints of ``file`` alone."""
    folder.mkdir(exist_ok=True)
    paths = [folder / 'refined_student.py', folder / 'refined_student.pth']
    cfg.dump(paths[0])
    checkpoint = torch.load(file, map_location='cpu', weights_only=True)
    meta = dict(dataset_meta=checkpoint['meta']['dataset_meta'], mmpose_tskd_version=mmpose_tskd.__version__)
    torch.save(dict(meta=meta, state_dict=checkpoint['state_dict']), paths[1])
    return paths
