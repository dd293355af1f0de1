"""Which runs an ablation consists of, and what each of them is, settled before any is started."""

import copy
import hashlib
import json
import math
import os
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

import yaml  # type: ignore[import-untyped]
from mmengine.config import Config
from mmpose.registry import DATASETS

from ...apis.budget import scale_epochs
from ...datasets import generate_synthetic_crowd
from ...errors import UserError
from ...paths import config_folder
from ...poses import load_skeleton
from ..labels import Labels, split_labels
from ..occlusion import occlude

TEACHER = 'teacher'
ROLES = (TEACHER, 'student', 'stage1', 'stage2')
START = 'start'
RECORD_OF = 'record'
BUILT_ON = ('student', START, RECORD_OF)
LARGEST_YAML = 100_000  # values
RECORD = '{family}_{scheme}_seed{seed}_{hash}'  # the name of a run and of its record
# The config's entries that go into a run's hash: what is learned depends on them.
TRAINING = (
    'model', 'train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'custom_hooks', 'randomness',
    'load_from',
)  # fmt: skip
# Of these, what stays out of the hash: where files lie, how fast they are read, when and how the run is tested, and the
# checkpoints of other runs, which have hashes of their own.
UNHASHED = (
    'work_dir', 'data_root', 'ann_file', 'data_prefix', 'num_workers', 'persistent_workers', 'pin_memory',
    'prefetch_factor', 'val_interval', 'val_begin', 'test_cfg', 'teacher', 'teacher_checkpoint', 'student_checkpoint',
)  # fmt: skip
# Hooks that stay out of it, too: they save, show or check, or change rounding errors alone (ChannelsLastHook, and
# SyncBuffersHook in one process).
UNHASHED_HOOKS = (
    'ReliableRunHook', 'DistillStateHook', 'BoxSourceHook', 'TeacherEvaluationHook', 'SyncBuffersHook',
    'ChannelsLastHook',
)  # fmt: skip


class Family(NamedTuple):
    """A teacher and a student on a data set.

    Args:
        name: Its name in the YAML.
        schemes: By scheme (or ``'teacher'``), its config, and the schemes that it builds on, by role.
        sets: The labeled images to train and to measure on, by name.
        digest: Of the labels to train on.
        left_out: By set, the ids of images that no result counts, since an earlier set has the same photograph.
        few: By number of images, a part of the training set with as many images, and the rest of it.
    """

    name: str
    schemes: Dict[str, Tuple[Config, Dict[str, str]]]
    sets: Dict[str, Labels]
    digest: str
    left_out: Dict[str, List[int]]
    few: Dict[int, Tuple[Labels, Labels]] = {}


class Recording(NamedTuple):
    """A network that is asked once for poses to train on; the run's ``needs`` name it.

    Args:
        cfg: The network's.
        labels: The images, and the instances by their boxes.
        flip_test: Average its answers with those for the mirrored image.
    """

    cfg: Config
    labels: Labels
    flip_test: bool


class Run(NamedTuple):
    """One training run.

    Args:
        name: Its folder's: ``'FAMILY_SCHEME_seedN_HASH'``.
        family, scheme, seed: What it is; the teacher is a scheme of its own.
        cfg: What the Runner gets, without the checkpoints of the runs it builds on.
        needs: The names of these runs, by role: ``'teacher'``, ``'student'``, ``'start'``, whose weights it starts
            from, and ``'record'``, whose poses it learns from.
        hash: Of all that bears on what is learned: the config, the labels, and the hashes of the runs in ``needs``.
        evaluation: A hash of all that bears on how it is measured, but for the labels.
        sets: The labeled images to measure it on, by name.
        teacher_epoch: The epoch of its teacher's checkpoint; None is the last one.
        images: How many of the training images it has labels for; None is all.
        recording: How the record of poses is made that it learns from; None where it learns from none.
    """

    name: str
    family: str
    scheme: str
    seed: int
    cfg: Config
    needs: Dict[str, str]
    hash: str
    evaluation: str
    sets: Dict[str, Labels]
    teacher_epoch: Optional[int] = None
    images: Optional[int] = None
    recording: Optional[Recording] = None


class Plan(NamedTuple):
    """What an ablation consists of, and where it goes.

    Args:
        runs: All runs by name, each after those that it needs: of the YAML's seeds, of the wanted seeds, and of seeds
            that have left a result.
        chosen: The names of those to be run.
        families: The chosen ones, by name.
        schemes: The YAML's, in its order.
        results: The folder for what is kept.
        work_dir: The folder for data and checkpoints.
        command: The command line that asks for this.
    """

    runs: Dict[str, Run]
    chosen: List[str]
    families: Dict[str, Family]
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
    keep_checkpoints: bool = False,
) -> Plan:
    """Reads an ablation's YAML, lays out its data, and resolves every run's config.

    The YAML may name another one as ``_base_``. It has ``seeds``, ``work_dir``, ``results`` and, where wanted,
    ``teacher_seed`` (else 0) and ``options`` for all schemes. Its other entries are:

    - ``families``: for each, the configs that the schemes use, below the configs folder (``teacher``, ``student``,
      ``stage1``, ``stage2``), and ``dev_images``, how many training images become dev. Optional: ``draw``, the
      options of :func:`generate_synthetic_crowd`, to draw the data, and ``occluded_views: true``, to train all schemes
      on the occluded copies of the images.
    - ``schemes``: for each, ``config``, which is one of these four. Optional: ``student``, the scheme that it refines;
      ``start``, the scheme whose weights it starts from; ``options``; ``budget``; ``dev_only``; ``teacher_epoch``, the
      epoch of the teacher's checkpoint, where it is not the last (which needs ``--keep-checkpoints``); ``images``, how
      many training images have labels; ``record``, the scheme (or ``teacher``) whose recorded poses replace the live
      teacher of a stage 2, or label the other images of a student with ``images``; ``record_flip_test``.
    - ``same_photographs`` (optional): groups of ids of images that show the same photograph. No result counts an image
      of dev whose photograph the training set has, or one of the test set whose photograph either has.

    Args:
        path: The YAML.
        work_dir, results: In place of the YAML's.
        families, schemes, seeds: Run only these and what they build on; ``'teacher'`` is the scheme of the teacher.
        budget: A factor on the epochs of every run, beside that of its scheme; each has at least one.
        test: Measure on the test set and its occluded copy, too.
        keep_checkpoints: Keep the checkpoints of every epoch, not only the last.

    Raises:
        UserError: The YAML or an argument names something that is not there.
    """
    spec = _load_spec(path, ['dev_images'], ['seeds', 'work_dir', 'results'])
    chosen_families = _choose('--families', families, list(spec.families))
    chosen_schemes = _choose('--schemes', schemes, [TEACHER, *spec.schemes])
    folder, results_folder = Path(work_dir or spec.work_dir), Path(results or spec.results)
    wanted_seeds = list(spec.seeds if seeds is None else seeds)
    wanted_schemes = _with_students(spec.schemes, [name for name in chosen_schemes if name != TEACHER])
    runs: Dict[str, Run] = {}
    chosen: List[str] = []
    prepared: Dict[str, Family] = {}
    for name in chosen_families:
        family = prepared[name] = _prepare(name, spec, budget, folder / 'data' / name, test)
        for cfg, _ in family.schemes.values():
            kept = -1 if keep_checkpoints else 1
            cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1, max_keep_ckpts=kept)
        teacher = _resolve(family, TEACHER, spec.get('teacher_seed', 0), {})
        runs[teacher.name] = teacher
        chosen_here: List[str] = []
        for seed in sorted({*wanted_seeds, *spec.seeds, *_finished_seeds(results_folder, name)}):
            made = _resolve_seed(family, spec, seed, teacher)
            for scheme, run in made.items():
                runs.setdefault(run.name, run)
                if seed in wanted_seeds and scheme in wanted_schemes and run.name not in chosen_here:
                    chosen_here.append(run.name)
            if budget == 1:  # with fewer epochs schemes that differ in these may well come to the same
                _check_different(made)
        if TEACHER in chosen_schemes or any(teacher.name in runs[name].needs.values() for name in chosen_here):
            chosen_here.insert(0, teacher.name)
        for run in (runs[name] for name in chosen_here):
            if not (results_folder / 'runs' / f'{run.name}.json').is_file():  # a finished one needs no teacher
                _check_teacher_epoch(run, teacher, folder / 'runs' / teacher.name, keep_checkpoints)
        chosen += chosen_here
    relative = os.path.relpath(path)
    command = f'python tools/lab/ablation.py {Path(path).name if relative.startswith("..") else relative}'
    for option, value in (('--seeds', seeds), ('--schemes', schemes), ('--families', families)):
        command += '' if value is None else f' {option} {" ".join(map(str, value))}'
    command += (f' --budget {budget}' if budget != 1 else '') + (' --test' if test else '')
    return Plan(runs, chosen, prepared, list(spec.schemes), results_folder, folder, command)


def _check_teacher_epoch(run: Run, teacher: Run, folder: Path, keep_checkpoints: bool) -> None:
    """Refuses a teacher's checkpoint that will not be there."""
    epoch, last = run.teacher_epoch, teacher.cfg.train_cfg.max_epochs
    if epoch is None or (folder / f'epoch_{epoch}.pth').is_file():
        return
    if epoch > last or (folder / f'epoch_{last}.pth').is_file() or not keep_checkpoints:
        raise UserError(
            f'schemes.{run.scheme}.teacher_epoch: {folder} has no epoch_{epoch}.pth. A teacher of {last} epochs leaves '
            'those of all its epochs where it is trained with --keep-checkpoints: one that is trained already has to '
            'be trained again in another --work-dir'
        )


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


def write_configs(
    path: Union[str, Path],
    folder: Union[str, Path],
    families: Optional[Sequence[str]] = None,
    schemes: Optional[Sequence[str]] = None,
    budget: float = 1.0,
) -> List[Path]:
    """Writes the config of every scheme of an ablation, and of the teacher, for ``tools/train.py``.

    A config is whole and inherits nothing. It trains and tests on its family's own data. It takes the checkpoints of
    other runs from where ``tools/train.py`` puts them by default: ``work_dirs/NAME`` for ``NAME.py``.

    Args:
        path: The YAML, see :func:`make_plan`, of which ``families`` (the four configs) and ``schemes`` are read.
        folder: ``FAMILY_SCHEME.py`` are written there.
        families, schemes, budget: As in :func:`make_plan`.

    Returns:
        The files, each after those whose outcome it needs.

    Raises:
        UserError: The YAML or an argument names something that is not there.
    """
    spec = _load_spec(path)
    chosen = _choose('--schemes', schemes, [TEACHER, *spec.schemes])
    wanted = _with_students(spec.schemes, [name for name in chosen if name != TEACHER])
    files = []
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in _choose('--families', families, list(spec.families)):
        if spec.families[name].get('occluded_views', False):
            raise UserError(
                f'families.{name} trains on occluded_views, which --write-configs does not make: run the ablation '
                'itself'
            )
        configured = _configure(spec, name, budget)
        special = [scheme for scheme in wanted if {'images', RECORD_OF} & set(spec.schemes[scheme])]
        if special:
            raise UserError(
                f'schemes.{special[0]} has "images" or "record", which --write-configs does not make: run the ablation '
                'itself, or see configs/recipes/records'
            )
        taught = any(TEACHER in configured[scheme][1] for scheme in wanted)
        for scheme in ([TEACHER] if taught or TEACHER in chosen else []) + wanted:
            cfg, needs = configured[scheme]
            for role, needed in needs.items():
                epoch = spec.schemes[scheme].get('teacher_epoch') if role == TEACHER else None
                file = '' if epoch is None else f'/epoch_{epoch}.pth'
                set_checkpoint(cfg, role, f'work_dirs/{name}_{needed}{file}')
            files.append(Path(folder) / f'{name}_{scheme}.py')
            cfg.dump(files[-1])
    return files


def set_checkpoint(cfg: Config, role: str, checkpoint: str) -> None:
    """Names the weights of a run that another one needs, see :attr:`Run.needs`."""
    if role == START:
        cfg.load_from = checkpoint
    else:
        cfg.model[f'{role}_checkpoint'] = checkpoint


def starts_from_others(run: Run) -> bool:
    """Whether its first weights are those of other runs, and not random."""
    return bool(set(run.needs) & {'student', START}) or bool(run.cfg.model.get('init_from_teacher'))


def _load_spec(path: Union[str, Path], of_family: Sequence[str] = (), others: Sequence[str] = ()) -> Config:
    """Reads the YAML; it must have schemes, families with their configs and ``of_family``, and ``others``."""
    spec = _read_yaml(Path(path))
    missing = [key for key in ('families', 'schemes', *others) if key not in spec]
    if missing:
        raise UserError(f'{path} has no {", ".join(missing)}')
    _check_kinds(path, spec)
    for name, scheme in spec.schemes.items():
        if scheme.get('config') not in ROLES:
            raise UserError(f'{path}: schemes.{name}.config is one of {", ".join(ROLES)}, not {scheme.get("config")!r}')
        budget = scheme.get('budget', 1)
        if not isinstance(budget, (int, float)) or not 0 < budget < math.inf:
            raise UserError(f'{path}: schemes.{name}.budget is a factor on the epochs and must be above 0: {budget!r}')
        epoch = scheme.get('teacher_epoch', 1)
        if not isinstance(epoch, int) or epoch < 1 or ('teacher_epoch' in scheme and scheme.config == 'student'):
            raise UserError(
                f'{path}: schemes.{name}.teacher_epoch is a whole number from 1 on, in a scheme with a teacher, not '
                f'{epoch!r}'
            )
        for role in BUILT_ON:
            known = [other for other in spec.schemes if other != name] + ([TEACHER] if role == RECORD_OF else [])
            if role in scheme and scheme[role] not in known:
                raise UserError(f'{path}: schemes.{name}.{role} is another scheme, not {scheme[role]!r}')
        images = scheme.get('images', 1)
        if not isinstance(images, int) or images < 1:
            raise UserError(f'{path}: schemes.{name}.images is a whole number from 1 on, not {images!r}')
        fits = scheme.config == 'stage2' or (scheme.config == 'student' and 'images' in scheme)
        if RECORD_OF in scheme and not fits:
            raise UserError(
                f'{path}: schemes.{name}.record is for stage 2, or for a student of which "images" have labels: the '
                'others get the poses of the record'
            )
        _check_chain(path, spec.schemes, name)
    roles = [role for role in ROLES if role in (TEACHER, *(scheme.config for scheme in spec.schemes.values()))]
    for name, family in spec.families.items():
        missing = [key for key in (*roles, *of_family) if key not in family]
        if missing:
            raise UserError(f'{path}: families.{name} has no {", ".join(missing)}')
    return spec


def _check_kinds(path: Union[str, Path], spec: Config) -> None:
    """Refuses entries of the wrong type, such as a list where names have entries."""
    for key in ('families', 'schemes'):
        entries = spec[key].items() if isinstance(spec[key], dict) else [('', None)]
        wrong = [name for name, entry in entries if not (isinstance(name, str) and isinstance(entry, dict))]
        if wrong:
            raise UserError(f'{path}: {key} holds entries by name, each with names in it; {wrong[0]!r} is none')
    seeds = spec.get('seeds', [])
    if not isinstance(seeds, list) or not all(isinstance(seed, int) and 0 <= seed < 1 << 32 for seed in seeds):
        raise UserError(f'{path}: seeds is a list of whole numbers from 0 on, not {seeds!r}')
    for key in ('work_dir', 'results'):
        if not isinstance(spec.get(key, ''), str):
            raise UserError(f'{path}: {key} is the name of a folder, not {spec[key]!r}')


def _check_chain(path: Union[str, Path], schemes: Dict[str, Any], name: str) -> None:
    """Refuses a scheme that builds on itself, by way of others."""
    seen: Set[str] = set()
    below = [name]
    while below:
        seen.update(below)
        below = [schemes[one][role] for one in below for role in BUILT_ON if role in schemes.get(one, {})]
        if name in below:
            raise UserError(f'{path}: schemes.{name} builds on itself, by way of {", ".join(sorted(seen))}')
        below = [one for one in below if one not in seen]


def _read_yaml(path: Path, above: Tuple[Path, ...] = ()) -> Config:
    """Reads a YAML of plain values, merged into the one that it names as ``_base_``, as in MMEngine's configs."""
    if not path.is_file():
        raise UserError(f'there is no {path}: name the YAML of an ablation, such as configs/ablation/lspet.yaml')
    if path.resolve() in above:
        raise UserError(f'{path} is its own _base_, by way of others: {", ".join(map(str, above))}')
    try:
        content = _load_yaml(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f'{path} is not a YAML of plain values: {error}') from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f'{path} holds no families and schemes by name')
    base = content.pop('_base_', None)
    if not isinstance(base, (str, type(None))):
        raise UserError(f'{path}: _base_ is the name of another YAML, not {base!r}')
    spec = Config() if base is None else _read_yaml(path.parent / base, (*above, path.resolve()))
    spec.merge_from_dict(content)
    return spec


def _load_yaml(text: str) -> Any:
    """Plain values. Refuses aliases that stand for more than :data:`LARGEST_YAML` values, or for themselves."""
    loader = yaml.SafeLoader(text)
    node: Any = loader.get_single_node()
    counted: Dict[int, int] = {}

    def count(node: Any) -> int:
        if id(node) not in counted:
            parts = node.value if isinstance(node, yaml.CollectionNode) else ()
            pairs = [part if isinstance(part, tuple) else (part,) for part in parts]
            counted[id(node)] = 1 + sum(count(one) for pair in pairs for one in pair)
        return counted[id(node)]

    if node is not None and count(node) > LARGEST_YAML:
        raise yaml.YAMLError(f'its aliases stand for more than {LARGEST_YAML:,} values')
    return None if node is None else loader.construct_document(node)


def _choose(option: str, wanted: Optional[Sequence[str]], known: List[str]) -> List[str]:
    unknown = sorted(set(wanted or ()) - set(known))
    if unknown:
        raise UserError(f'{option}: there is no {", ".join(unknown)} among {", ".join(known)}')
    return [name for name in known if wanted is None or name in wanted]


def _with_students(schemes: Dict[str, Any], chosen: List[str]) -> List[str]:
    """The chosen schemes and those that they build on, these first."""
    ordered: List[str] = []

    def add(name: str) -> None:
        for role in BUILT_ON:
            if schemes[name].get(role, TEACHER) != TEACHER:
                add(schemes[name][role])
        if name not in ordered:
            ordered.append(name)

    for name in chosen:
        add(name)
    return ordered


def _prepare(name: str, spec: Config, budget: float, folder: Path, test: bool) -> Family:
    """Sets dev apart from the training labels, and makes occluded copies of dev and test, in the ablation's folder."""
    entry, schemes = spec.families[name], _configure(spec, name, budget)
    for scheme, (cfg, _) in schemes.items():
        if isinstance(cfg.val_evaluator, dict):
            cfg.val_evaluator = [cfg.val_evaluator]
        if cfg.val_evaluator[0].type != 'CocoMetric':
            raise UserError(
                f'families.{name}: {scheme} is measured by {cfg.val_evaluator[0].type}; what is compared is the AP of '
                'CocoMetric, which val_evaluator must name first'
            )
    cfg = _load_config(entry.student)
    data_root = Path(cfg.train_dataloader.dataset.data_root)
    if 'draw' in entry:
        data_root = generate_synthetic_crowd(folder / 'drawn', **entry.draw)
    train, held_out = (
        Labels(data_root / loader.dataset.ann_file, data_root / loader.dataset.data_prefix.img)
        for loader in (cfg.train_dataloader, cfg.test_dataloader)
    )
    sets = dict(zip(('train', 'dev'), split_labels(train, folder, entry.dev_images)))
    if test:
        sets['test'] = held_out
    left_out = _known_photographs(sets, spec.get('same_photographs', []))
    links = load_skeleton(cfg.dataset_type).links
    for part in left_out:
        sets[f'{part}_occluded'] = occlude(sets[part], folder / f'{part}_occluded', links)
    if entry.get('occluded_views', False):
        sets['train'] = occlude(sets['train'], folder / 'train_occluded', links)
    few = {}
    for images in sorted({scheme.images for scheme in spec.schemes.values() if 'images' in scheme}):
        others, drawn = split_labels(sets['train'], folder / f'{images}_images', images)
        few[images] = drawn, others
    return Family(name, schemes, sets, sets['train'].digest(), left_out, few)


def _known_photographs(sets: Dict[str, Labels], groups: Sequence[Sequence[int]]) -> Dict[str, List[int]]:
    """Of each set but the first, the ids of images whose photograph is in one before it."""
    same: Dict[int, Set[int]] = {}
    for group in groups:
        for number in group:
            same.setdefault(number, set()).update(group)
    known: Set[int] = set()
    found = {}
    for part, labels in sets.items():
        ids = sorted(image['id'] for image in labels.read()['images'])
        found[part] = [number for number in ids if same.get(number, set()) & known]
        known.update(ids)
    del found['train']
    return found


def _load_config(file: str) -> Config:
    path = config_folder() / file
    if not path.is_file():
        raise UserError(f'there is no config {file} in {config_folder()}')
    return Config.fromfile(str(path))


def _configure(spec: Config, family: str, budget: float) -> Dict[str, Tuple[Config, Dict[str, str]]]:
    """By scheme (or ``'teacher'``), its config, and the schemes that it builds on, by role."""
    if budget <= 0:
        raise UserError(f'--budget is a factor on the epochs and must be above 0, not {budget}')
    configs = {role: _load_config(file) for role, file in spec.families[family].items() if role in ROLES}
    configured: Dict[str, Tuple[Config, Dict[str, str]]] = {}
    for scheme, entry in {TEACHER: Config(dict(config=TEACHER)), **spec.schemes}.items():
        cfg = copy.deepcopy(configs[entry.config])
        for options in (spec.get('options', {}), entry.get('options', {})):
            cfg.merge_from_dict(copy.deepcopy(dict(options)))
        scale_epochs(cfg, budget * entry.get('budget', 1.0))
        needs = {}
        if RECORD_OF in entry:
            needs[RECORD_OF] = entry.record
            _learn_from_record(cfg)
        elif scheme != TEACHER and cfg.model.get('teacher') is not None:
            needs['teacher'] = TEACHER
            cfg.model.teacher = configured[TEACHER][0].model
        if scheme != TEACHER and 'student_checkpoint' in cfg.model:
            if 'student' not in entry:
                raise UserError(
                    f'schemes.{scheme} starts from a student: name the scheme that trains it as its "student"'
                )
            needs['student'] = entry.student
        if START in entry:
            needs[START] = entry.start
        configured[scheme] = cfg, needs
    return configured


def _learn_from_record(cfg: Config) -> None:
    """Replaces a live teacher by a record, or, without one, adds a record to the labels; see :func:`place_record`."""
    if cfg.model.get('teacher') is not None:
        cfg.model.teacher = dict(type='RecordedTeacher', file='')
        cfg.model.teacher_checkpoint = None
        cfg.custom_hooks = [*cfg.custom_hooks, dict(type='RecordedTeacherHook')]
        return
    labeled = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='CombinedDataset',
        metainfo=DATASETS.get(labeled.type).METAINFO,
        datasets=[dict(labeled, pipeline=[]), dict(labeled, pipeline=[])],
        pipeline=labeled.pipeline,
    )


def place_record(cfg: Config, record: Labels) -> None:
    """Names the file of a record of poses, see :attr:`Run.recording`."""
    if cfg.train_dataloader.dataset.type == 'CombinedDataset':
        record.into(cfg.train_dataloader.dataset.datasets[1])
    else:
        cfg.model.teacher.file = str(record.file.absolute())


def _resolve_seed(family: Family, spec: Config, seed: int, teacher: Run) -> Dict[str, Run]:
    """The runs of one seed by scheme, after those that they need; a teacher has its own seed, and is one for all."""
    made = {TEACHER: teacher}
    for scheme in _with_students(spec.schemes, list(spec.schemes)):
        entry = spec.schemes[scheme]
        made[scheme] = _resolve(family, scheme, teacher.seed if entry.config == TEACHER else seed, made, entry)
    return made


def _resolve(family: Family, scheme: str, seed: int, made: Dict[str, Run], entry: Optional[dict] = None) -> Run:
    """One run; ``made`` are the runs of its seed that it may build on, ``entry`` the YAML's of its scheme."""
    entry = entry or {}
    cfg, roles = family.schemes[scheme]
    cfg = copy.deepcopy(cfg)
    cfg.randomness = dict(cfg.get('randomness', {}), seed=seed)
    images: Optional[int] = entry.get('images')
    train = family.sets['train']
    labeled, others = (train, train) if images is None else family.few.get(images, (train, train))
    for name, labels in (('train', labeled), ('val', family.sets['dev']), ('test', family.sets['dev'])):
        dataset = cfg[f'{name}_dataloader'].dataset
        labels.into(dataset.datasets[0] if dataset.type == 'CombinedDataset' else dataset)
    for evaluator in cfg.val_evaluator:
        if 'ann_file' in evaluator:
            evaluator.ann_file = str(family.sets['dev'].file)
    needs = {role: made[needed] for role, needed in roles.items()}
    hashed = TRAINING + (('auto_scale_lr',) if cfg.get('auto_scale_lr', {}).get('enable') else ())
    recording = None
    if RECORD_OF in needs:
        asked = others if cfg.train_dataloader.dataset.type == 'CombinedDataset' else labeled
        recording = Recording(needs[RECORD_OF].cfg, asked, entry.get('record_flip_test', False))
    digest = _hash(
        config=_described({key: cfg[key] for key in hashed if cfg.get(key) is not None}),
        needs={role: run.hash for role, run in needs.items()},
        labels=family.digest,
        **(dict(images=images) if images is not None else {}),
        **(dict(record_flip_test=recording.flip_test) if recording is not None else {}),
        **(dict(teacher_epoch=entry['teacher_epoch']) if 'teacher_epoch' in entry else {}),
    )
    tested = dict(dataset=cfg.test_dataloader.dataset, model=cfg.model.get('test_cfg'), metric=cfg.val_evaluator[0])
    name = RECORD.format(family=family.name, scheme=scheme, seed=seed, hash=digest)
    names = {role: run.name for role, run in needs.items()}
    measured = [part for part in family.sets if not (entry.get('dev_only', False) and part.startswith('test'))]
    sets = {part: family.sets[part] for part in measured}
    evaluation = _hash(**_described(tested))
    epoch = entry.get('teacher_epoch')
    return Run(name, family.name, scheme, seed, cfg, names, digest, evaluation, sets, epoch, images, recording)


def _hash(**content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _described(value: Any) -> Any:
    """The part of a config that is hashed: without :data:`UNHASHED` and :data:`UNHASHED_HOOKS`."""
    if isinstance(value, dict):
        return {str(k): _described(v) for k, v in value.items() if k not in UNHASHED}
    if isinstance(value, (list, tuple)):
        return [_described(v) for v in value if not (isinstance(v, dict) and v.get('type') in UNHASHED_HOOKS)]
    return value
