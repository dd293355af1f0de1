"""Which runs an ablation consists of, and what each of them is, settled before any is started."""

import copy
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Union

from mmengine.config import Config

from ...apis.budget import scale_epochs
from ...datasets import generate_synthetic_crowd
from ...errors import UserError
from ...paths import config_folder
from ...poses import load_skeleton
from ..labels import Labels, split_labels
from ..occlusion import occlude

TEACHER = 'teacher'
ROLES = (TEACHER, 'student', 'stage1', 'stage2')
# What does not change what is learnt: where things lie, how fast they are read, what is shown, when it is measured.
UNHASHED = (
    'work_dir', 'data_root', 'ann_file', 'data_prefix', 'num_workers', 'persistent_workers', 'val_interval',
    'teacher', 'teacher_checkpoint', 'student_checkpoint',
)  # fmt: skip
HASHED = (
    'model', 'train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'custom_hooks', 'randomness',
    'load_from',
)  # fmt: skip


class Family(NamedTuple):
    """A teacher and a student on a data set."""

    name: str
    configs: Dict[str, Config]
    sets: Dict[str, Labels]
    digest: str  # of the labels to train on


class Run(NamedTuple):
    """One training run.

    Args:
        name: Its folder's: ``'FAMILY_SCHEME_seedN_HASH'``.
        family, scheme, seed: What it is; the teacher is a scheme of its own.
        cfg: What the Runner gets, without the checkpoints of the runs it builds on.
        needs: The names of these, by ``'teacher'`` and ``'student'``.
        hash: Of all that bears on its outcome: the config, the labels, and the hashes of the runs in ``needs``.
        sets: The labelled pictures to measure it on, by name.
    """

    name: str
    family: str
    scheme: str
    seed: int
    cfg: Config
    needs: Dict[str, str]
    hash: str
    sets: Dict[str, Labels]


class Plan(NamedTuple):
    """What an ablation consists of, and where it goes.

    Args:
        runs: All runs by name, each after those that it needs; of the YAML's seeds, the wanted ones, and those that
            have left a result.
        chosen: The names of those to be run.
        schemes: The YAML's, in its order.
        results: The folder for what is kept.
        work_dir: The folder for data and checkpoints.
        command: The command line that asks for this.
    """

    runs: Dict[str, Run]
    chosen: List[str]
    schemes: List[str]
    results: Path
    work_dir: Path
    command: str

    def folder(self, name: str) -> Path:
        """A run's work folder."""
        return self.work_dir / 'runs' / name

    def record(self, name: str) -> Path:
        """The JSON that a finished run leaves."""
        return self.results / 'runs' / f'{name}.json'


def make_plan(
    path: Union[str, Path],
    work_dir: Optional[str] = None,
    results: Optional[str] = None,
    families: Optional[Sequence[str]] = None,
    schemes: Optional[Sequence[str]] = None,
    seeds: Optional[Sequence[int]] = None,
    budget: float = 1.0,
    test: bool = False,
) -> Plan:
    """Reads an ablation's YAML, lays out its data, and resolves every run's config.

    Args:
        path: The YAML: ``families`` (for each the configs ``teacher``, ``student``, ``stage1`` and ``stage2`` below
            the configs folder, and ``dev_pictures``), ``schemes`` (for each ``config``, and, where it has them,
            ``student``, ``options``, ``budget`` and ``dev_only``), ``seeds``, ``teacher_seed`` (0 without it),
            ``work_dir``, ``results``, and ``options`` for all.
        work_dir, results: In place of the YAML's.
        families, schemes, seeds: Run those alone and what they build on; ``'teacher'`` is the scheme of the teacher.
        budget: A factor on the epochs of every run, beside that of its scheme; each has at least one.
        test: Measure on the test set and its occluded twin, too.

    Raises:
        UserError: The YAML or an argument names something that is not there.
    """
    spec = _load_spec(path)
    if budget <= 0:
        raise UserError(f'--budget is a factor on the epochs and must be above 0, not {budget}')
    chosen_families = _choose('--families', families, list(spec.families))
    chosen_schemes = _choose('--schemes', schemes, [TEACHER, *spec.schemes])
    folder, results_folder = Path(work_dir or spec.work_dir), Path(results or spec.results)
    wanted_seeds = list(spec.seeds if seeds is None else seeds)
    wanted_schemes = _with_students(spec.schemes, [name for name in chosen_schemes if name != TEACHER])
    all_schemes = _with_students(spec.schemes, list(spec.schemes))
    runs: Dict[str, Run] = {}
    chosen: List[str] = []
    for name in chosen_families:
        family = _prepare(name, spec.families[name], folder / 'data' / name, test)
        teacher = _resolve(spec, family, TEACHER, spec.get('teacher_seed', 0), budget, None)
        runs[teacher.name] = teacher
        chosen_here: List[str] = []
        for seed in sorted({*wanted_seeds, *spec.seeds, *_finished_seeds(results_folder, name)}):
            made: Dict[str, Run] = {TEACHER: teacher}
            for scheme in all_schemes:
                run = made[scheme] = _resolve(spec, family, scheme, seed, budget, made)
                runs[run.name] = run
                if seed in wanted_seeds and scheme in wanted_schemes:
                    chosen_here.append(run.name)
            if budget == 1:  # with fewer epochs schemes that differ in these may well come to the same
                _check_different(made)
        if TEACHER in chosen_schemes or any(TEACHER in runs[name].needs for name in chosen_here):
            chosen_here.insert(0, teacher.name)
        chosen += chosen_here
    relative = os.path.relpath(path)
    command = f'python tools/lab/ablation.py {Path(path).name if relative.startswith("..") else relative}'
    for option, value in (('--seeds', seeds), ('--schemes', schemes), ('--families', families)):
        command += '' if value is None else f' {option} {" ".join(map(str, value))}'
    command += (f' --budget {budget}' if budget != 1 else '') + (' --test' if test else '')
    return Plan(runs, chosen, list(spec.schemes), results_folder, folder, command)


def _finished_seeds(results: Path, family: str) -> List[int]:
    names = [path.name for path in (results / 'runs').glob(f'{family}_*.json')]
    return [int(match[1]) for match in map(re.compile(r'.*_seed(\d+)_\w+\.json').fullmatch, names) if match]


def _check_different(made: Dict[str, Run]) -> None:
    first: Dict[str, str] = {}
    for scheme, run in made.items():
        if first.setdefault(run.hash, scheme) != scheme:
            raise UserError(
                f'schemes.{scheme} of {run.family} trains exactly what {first[run.hash]} trains: give it another value '
                'or take it out'
            )


def _load_spec(path: Union[str, Path]) -> Config:
    if not Path(path).is_file():
        raise UserError(f'there is no {path}: name the YAML of an ablation, such as configs/ablation/lspet.yaml')
    spec = Config.fromfile(str(path))
    missing = [key for key in ('families', 'schemes', 'seeds', 'work_dir', 'results') if key not in spec]
    if missing:
        raise UserError(f'{path} has no {", ".join(missing)}')
    for name, scheme in spec.schemes.items():
        if scheme.get('config') not in ROLES:
            raise UserError(f'{path}: schemes.{name}.config is one of {", ".join(ROLES)}, not {scheme.get("config")!r}')
        budget = scheme.get('budget', 1)
        if not isinstance(budget, (int, float)) or budget <= 0:
            raise UserError(f'{path}: schemes.{name}.budget is a factor on the epochs and must be above 0: {budget!r}')
        if scheme.get('student', name) not in spec.schemes or scheme.get('student') == name:
            raise UserError(f'{path}: schemes.{name}.student is another scheme, not {scheme.student!r}')
    for name, family in spec.families.items():
        missing = [key for key in (*ROLES, 'dev_pictures') if key not in family]
        if missing:
            raise UserError(f'{path}: families.{name} has no {", ".join(missing)}')
    return spec


def _choose(option: str, wanted: Optional[Sequence[str]], known: List[str]) -> List[str]:
    unknown = sorted(set(wanted or ()) - set(known))
    if unknown:
        raise UserError(f'{option}: there is no {", ".join(unknown)} among {", ".join(known)}')
    return [name for name in known if wanted is None or name in wanted]


def _with_students(schemes: Dict[str, Any], chosen: List[str]) -> List[str]:
    """The chosen schemes and those whose students they refine, these first."""
    ordered: List[str] = []

    def add(name: str) -> None:
        if 'student' in schemes[name]:
            add(schemes[name].student)
        if name not in ordered:
            ordered.append(name)

    for name in chosen:
        add(name)
    return ordered


def _prepare(name: str, spec: Config, folder: Path, test: bool) -> Family:
    """Splits the training labels and occludes what is measured on, into the ablation's own folder."""
    configs = {role: _load_config(spec[role]) for role in ROLES}
    for role, cfg in configs.items():
        if isinstance(cfg.val_evaluator, dict):
            cfg.val_evaluator = [cfg.val_evaluator]
        if cfg.val_evaluator[0].type != 'CocoMetric':
            raise UserError(
                f'families.{name}.{role}: {spec[role]} is measured by {cfg.val_evaluator[0].type}; what is compared is '
                'the AP of CocoMetric, which val_evaluator must name first'
            )
    cfg = configs['student']
    data_root = Path(cfg.train_dataloader.dataset.data_root)
    if 'draw' in spec:
        data_root = generate_synthetic_crowd(folder / 'drawn', **spec.draw)
    train, held_out = (
        Labels(data_root / loader.dataset.ann_file, data_root / loader.dataset.data_prefix.img)
        for loader in (cfg.train_dataloader, cfg.test_dataloader)
    )
    sets = dict(zip(('train', 'dev'), split_labels(train, folder, spec.dev_pictures)))
    links = load_skeleton(cfg.dataset_type).links
    if test:
        sets['test'] = held_out
    for part in [part for part in sets if part != 'train']:
        twin = folder / f'{part}_occluded'
        sets[f'{part}_occluded'] = occlude(sets[part], twin, links)
    return Family(name, configs, sets, sets['train'].digest())


def _load_config(file: str) -> Config:
    path = config_folder() / file
    if not path.is_file():
        raise UserError(f'there is no config {file} in {config_folder()}')
    return Config.fromfile(str(path))


def _resolve(
    spec: Config, family: Family, scheme: str, seed: int, budget: float, made: Optional[Dict[str, Run]]
) -> Run:
    """One run's config; ``made`` are the runs of its seed that it may build on."""
    entry = Config(dict(config=TEACHER)) if scheme == TEACHER else spec.schemes[scheme]
    cfg = copy.deepcopy(family.configs[entry.config])
    cfg.merge_from_dict(copy.deepcopy(dict(spec.get('options', {}))))
    cfg.merge_from_dict(copy.deepcopy(dict(entry.get('options', {}))))
    scale_epochs(cfg, budget * entry.get('budget', 1.0))
    cfg.randomness = dict(seed=seed)
    for name, part in (('train', 'train'), ('val', 'dev'), ('test', 'dev')):
        family.sets[part].into(cfg[f'{name}_dataloader'].dataset)
    for evaluator in cfg.val_evaluator:
        if 'ann_file' in evaluator:
            evaluator.ann_file = str(family.sets['dev'].file)
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)  # all, for tools/lab/analyze.py

    needs = {}
    teacher = cfg.model.get('teacher')
    is_recorded = isinstance(teacher, dict) and teacher.get('type') == 'RecordedTeacher'
    if made is not None and teacher is not None and not is_recorded:
        needs['teacher'] = made[TEACHER]
        cfg.model.teacher = made[TEACHER].cfg.model
    if made is not None and 'student_checkpoint' in cfg.model:
        if 'student' not in entry:
            raise UserError(f'schemes.{scheme} starts from a student: name the scheme that trains it as its "student"')
        needs['student'] = made[entry.student]
    hashed = HASHED + (('auto_scale_lr',) if cfg.get('auto_scale_lr', {}).get('enable') else ())
    described = dict(
        config=_described({key: cfg[key] for key in hashed if cfg.get(key) is not None}),
        needs={role: run.hash for role, run in needs.items()},
        labels=family.digest,
        **(dict(record=_described(teacher)) if is_recorded else {}),
    )
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]
    name = f'{family.name}_{scheme}_seed{seed}_{digest}'
    names = {role: run.name for role, run in needs.items()}
    dev_only = entry.get('dev_only', False)
    sets = {part: labels for part, labels in family.sets.items() if not (dev_only and part.startswith('test'))}
    return Run(name, family.name, scheme, seed, cfg, names, digest, sets)


def _described(value: Any) -> Any:
    """What of a config is hashed: plain values, without what has no part in the outcome."""
    if isinstance(value, dict):
        return {str(k): _described(v) for k, v in value.items() if k not in UNHASHED}
    if isinstance(value, (list, tuple)):
        return [_described(v) for v in value]
    return value
