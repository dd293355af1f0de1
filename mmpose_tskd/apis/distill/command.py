"""From labels to a distilled model that ships, by one call."""

import copy
import shutil
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ...datasets.label_checks import read_json
from ...deploy.onnx_file import require
from ...engine.atomic_backend import AtomicLocalBackend
from ...errors import UserError
from ..complexity import model_complexity
from ..environment import prefers_bfloat16
from ..records import read_record, write_record
from . import configs
from .configs import DEPLOYED, Settings, write_config
from .labels import digest_of, metainfo_text, prepare_data
from .losses import LOSSES, stage1_losses
from .packing import pack_step
from .report import write_report
from .steps import Step, alone, run_steps
from .teacher import Teacher, given_teacher
from .timing import estimate

GIB = 1 << 30
TEACHER = 'teacher'
RUNS = (TEACHER, 'plain_student', 'stage1', 'stage2')


class Plan(NamedTuple):
    """What is to be done.

    Args:
        settings: What holds for every run.
        teacher: The teacher.
        configs: The written configs, by name.
        steps: The commands.
        notes: For the report.
    """

    settings: Settings
    teacher: Teacher
    configs: Dict[str, Config]
    steps: List[Step]
    notes: List[str]

    @property
    def epochs(self) -> Dict[str, int]:
        """Of each training."""
        return {step.name: step.epochs for step in self.steps if step.folder is not None}

    @property
    def final(self) -> str:
        """The training whose model ships."""
        return [name for name in RUNS if name in self.epochs][-1]


def distill(
    labels: Union[str, Sequence[str]],
    images: Union[str, Sequence[str]],
    out: str,
    teacher: str = 'none',
    teacher_checkpoint: Optional[str] = None,
    teacher_metainfo: Optional[str] = None,
    student: str = 'tiny',
    unlabelled: Optional[str] = None,
    boxes: Optional[str] = None,
    losses: str = 'none',
    refine: bool = True,
    compare: bool = False,
    epochs: Optional[Sequence[int]] = None,
    budget: float = 1.0,
    seed: int = 0,
    gpus: int = 1,
    metainfo: Optional[str] = None,
    dry_run: bool = False,
) -> Optional[Dict[str, Any]]:
    """Trains a small pose estimator with the help of a large one, refines its pose, and exports it.

    Into ``out``: ``report.html``, ``results.json``, ``refined_student/`` (weights, plain config, ONNX files; without
    refiner ``student/``), ``configs/``, which ``mim train`` and ``tools/train.py`` run as they are, ``runs/`` and
    ``logs/``. What is finished is not done again, and a run that was stopped goes on from its last epoch.

    Args:
        labels: The training set and the validation set, in COCO format. Of a training set alone, a tenth of the images
            is set apart for validation. Keypoints, limbs and mirror pairs are the labels' own.
        images: The folder of the images, or one for each label file.
        out: The folder to write to.
        teacher: A config or ``'mmpose::path'``, a work folder, an ONNX file, ``'hf:NAME'``; or ``'none'``,
            which trains a larger network of the student's family first. It teaches the keypoints of the same name.
        teacher_checkpoint: The weights of an MMPose network.
        teacher_metainfo: The teacher's keypoints, where it does not say them: a data set's class.
        student: A preset (:data:`PRESETS`) or a config.
        unlabelled: A folder of images without keypoints, which the teacher labels.
        boxes: The boxes of the instances in these images, as ``tools/detect_people.py`` writes them.
        losses: What stage 1 compares of student and teacher: ``'none'``, ``'features'``, ``'pose'``, ``'bins'`` or
            ``'paper'``.
        refine: Add a refiner that the teacher's pose teaches.
        compare: Train the student without a teacher, too.
        epochs: Of teacher, student and refiner. By default teacher and student train as long as their configs say, and
            the refiner a seventh of the student's epochs.
        budget: A factor on the epochs.
        seed: Of the runs.
        gpus: Processes, one a GPU.
        metainfo: A metainfo file or a data set's class, in place of the labels' keypoints.
        dry_run: Write the configs, print commands and an estimate of the time, and train nothing.

    Returns:
        What ``results.json`` holds; None of a dry run.

    Raises:
        UserError: An argument, a file or a label cannot be used, ``out`` holds another distillation, or a step failed.
    """
    options = {name: value for name, value in locals().items() if name not in ('out', 'dry_run')}
    init_default_scope('mmpose')
    files = [labels] if isinstance(labels, str) else list(labels)
    folders = [images] if isinstance(images, str) else list(images)
    _check_options(files, teacher, unlabelled, boxes, losses, epochs, budget, gpus)
    require('onnx', 'onnxscript', 'onnxruntime', 'safetensors.torch')
    folder = Path(out).absolute()
    wanted = dict(options, labels=files, images=folders, content=digest_of(*files, boxes, metainfo))
    _check_out(folder, wanted, dry_run)
    with alone(folder):
        data = prepare_data(files, folders, folder, metainfo)
        settings = Settings(data, seed, prefers_bfloat16(), gpus, folder)
        plan = _plan(settings, dict(options, dry_run=dry_run))
        for note in (*data.notes, *plan.notes):
            print(f'- {note}', flush=True)
        if dry_run:
            _show(plan)
            return None
        _check_disk(plan)
        outcomes = run_steps(plan.steps, settings.out, _jobs(options))
        return write_report(plan, outcomes, options)


def _check_options(
    labels: List[str],
    teacher: str,
    unlabelled: Optional[str],
    boxes: Optional[str],
    losses: str,
    epochs: Optional[Sequence[int]],
    budget: float,
    gpus: int,
) -> None:
    if not 1 <= len(labels) <= 2:
        raise UserError('--labels takes the training set, and the validation set')
    if budget <= 0:
        raise UserError(f'--budget is a factor on the epochs and must be above 0, not {budget}')
    if losses not in LOSSES:
        raise UserError(f'--losses is one of {", ".join(LOSSES)}, not {losses!r}')
    if epochs is not None and (len(epochs) != 3 or min(epochs) < 1):
        raise UserError('--epochs takes three numbers from 1 on: of teacher, student and refiner')
    if gpus < 1:
        raise UserError(f'--gpus is 1 or more, not {gpus}')
    if unlabelled is None and boxes is not None:
        raise UserError('--boxes are those of the instances in --unlabelled images: name their folder')
    if unlabelled is not None and boxes is None:
        raise UserError(
            f'--unlabelled {unlabelled} needs --boxes: where the instances are. To find them:\n'
            f'    python tools/detect_people.py {unlabelled} boxes.json\n'
            'or write those of any detector (rtmlib has some) as COCO labels with a bbox each and no keypoints'
        )


def _check_out(folder: Path, wanted: Dict[str, Any], dry_run: bool) -> None:
    """Refuses a folder that has a distillation with other settings. A dry run does not write its settings there."""
    wanted = {key: list(value) if isinstance(value, tuple) else value for key, value in wanted.items()}
    path = folder / 'settings.json'
    found = read_record(path)
    if found is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not dry_run:
                write_record(wanted, path)
        except OSError as error:
            raise UserError(f'--out {folder} cannot be written to: {error}') from error
        return
    changed = [f'{key}: {found.get(key)} → {wanted.get(key)}' for key in wanted if found.get(key) != wanted.get(key)]
    if changed:
        raise UserError(
            f'--out {folder} holds a distillation of other settings ({"; ".join(changed)}): name another folder, or '
            'delete it'
        )


def _plan(settings: Settings, options: Dict[str, Any]) -> Plan:
    """Writes the configs and lists the commands."""
    data, budget = settings.data, options['budget']
    teacher_epochs, student_epochs, refiner_epochs = options['epochs'] or (None, None, None)
    source = configs.config_source(options['student'])
    plain, notes = configs.plain_config(source, settings, student_epochs, budget)
    plain = write_config(settings.config('plain_student'), source, plain, 'The student, trained on the labels alone.')
    written = dict(plain_student=plain)
    teacher = None
    if options['teacher'] != 'none':
        teacher = given_teacher(
            options['teacher'], options['teacher_checkpoint'], options['teacher_metainfo'], data.skeleton
        )
        if teacher is None:
            notes.append(f'{options["teacher"]} has no keypoint of the labels: a teacher is trained first')
    if teacher is None:
        cfg, more = _teacher_config(source, options['student'], plain, settings, teacher_epochs, budget)
        notes += more
        written[TEACHER] = cfg
        teacher = Teacher(
            str(settings.config(TEACHER)), str(settings.run(TEACHER)), cfg.model, None, data.skeleton, False, []
        )
    if teacher.unknown:
        notes.append(f'The teacher does not know {", ".join(teacher.unknown)}, which the labels alone teach')

    starts = teacher.model is not None and configs.can_start_from(plain.model, teacher.model)
    has_stage1 = starts or options['unlabelled'] is not None or options['losses'] != 'none'
    if has_stage1:
        if options['losses'] != 'none' and not teacher.is_given and not options['dry_run']:
            first = [step for step in _steps(settings, teacher, written, options) if step.name == TEACHER]
            run_steps(first, settings.out, 1)  # the loss weights are measured with it
        stage1, more = _stage1_config(plain, teacher, starts, settings, options)
        notes += more
        written['stage1'] = write_config(
            settings.config('stage1'), str(settings.config('plain_student')), stage1, _stage1_comment(starts, options)
        )
    elif not options['refine']:
        raise UserError(
            'this teacher would teach nothing: it is not of the family of the student, there are no --unlabelled '
            'images, and --no-refine. Add --losses pose, or let it teach a refiner'
        )
    else:
        notes.append(
            'The student learns from the labels alone, and the teacher teaches its refiner: the two are not of one '
            'family, and there are no --unlabelled images. --losses adds terms'
        )
    base = 'stage1' if has_stage1 else 'plain_student'
    if options['refine']:
        refined = configs.refined_config(plain, data)
        written['refined_student'] = write_config(
            settings.config('refined_student'),
            str(settings.config('plain_student')),
            refined,
            'The student with its refiner, as it is deployed.',
        )
        epochs = _refiner_epochs(refiner_epochs, plain, budget)
        stage2 = _stage2_config(written['refined_student'], written[base], base, teacher, settings, epochs)
        written['stage2'] = write_config(
            settings.config('stage2'),
            str(settings.config('refined_student')),
            stage2,
            'Stage 2: the student is frozen, and the recorded pose of the teacher trains the refiner.',
        )
    steps = _steps(settings, teacher, written, options)
    return Plan(settings, teacher, written, steps, notes)


def _refiner_epochs(given: Optional[int], plain: Config, budget: float) -> int:
    return max(1, round(given * budget)) if given else max(2, round(plain.train_cfg.max_epochs / 7))


def _teacher_config(
    source: str, student: str, plain: Config, settings: Settings, epochs: Optional[int], budget: float
) -> Tuple[Config, List[str]]:
    """A larger network of the student's family, to be trained first."""
    preset = configs.PRESETS.get(student)
    if preset is not None and preset.teacher is not None:
        base = configs.config_source(preset.teacher)
        cfg, notes = configs.plain_config(base, settings, epochs, budget)
        notes = [f'Teacher: {note}' for note in notes]
    else:
        base, notes = str(settings.config('plain_student')), ['Teacher: starts from random weights']
        cfg = copy.deepcopy(plain)
        cfg.model = configs.enlarge(plain.model)
        if epochs is not None:
            steps = settings.data.people['train'] // cfg.train_dataloader.batch_size
            configs.set_epochs(cfg, max(1, round(epochs * budget)), steps)
    comment = 'The teacher: a larger network of the family of the student, trained on the labels.'
    return write_config(settings.config(TEACHER), base, cfg, comment), notes


def _stage1_comment(starts: bool, options: Dict[str, Any]) -> str:
    parts = ['the student starts from a selection of the weights of the teacher'] * starts
    parts += ['the teacher labels images without labels'] * (options['unlabelled'] is not None)
    parts += [f'it is compared with the teacher ({options["losses"]})'] * (options['losses'] != 'none')
    return f'Stage 1: {"; ".join(parts)}.'


def _stage1_config(
    plain: Config, teacher: Teacher, starts: bool, settings: Settings, options: Dict[str, Any]
) -> Tuple[Config, List[str]]:
    cfg = copy.deepcopy(plain)
    notes = [_stage1_comment(starts, options)]
    if options['unlabelled'] is not None:
        people = _read_boxes(options['boxes'], options['unlabelled'])
        labeled = settings.data.people['train']
        images, record = Path(options['unlabelled']).absolute(), settings.out / 'data' / 'record_unlabelled.json'
        configs.join_datasets(cfg, record, images, *_conversion(teacher, settings))
        epochs = max(1, round(plain.train_cfg.max_epochs * labeled / (labeled + people)))
        configs.set_epochs(cfg, epochs, (labeled + people) // cfg.train_dataloader.batch_size)
        notes.append(
            f'{people:,} instances without labels: stage 1 sees them and the labeled ones for {epochs} epochs, as many '
            f'steps as {plain.train_cfg.max_epochs} epochs of the labels alone'
        )
    if starts or options['losses'] != 'none':
        cfg.model.type = 'PoseDistiller'
        cfg.model.backbone.init_cfg = None if starts else cfg.model.backbone.get('init_cfg')
        if teacher.model is not None:
            cfg.model.update(teacher=teacher.source, teacher_checkpoint=teacher.checkpoint)
        elif teacher.source.endswith('.onnx'):
            cfg.model.teacher = dict(type='OnnxTeacher', file=str(Path(teacher.source).absolute()))
        else:
            cfg.model.teacher = dict(type='HFTeacher', model=teacher.source[3:])
        if teacher.metainfo:
            cfg.model.teacher_metainfo = teacher.metainfo
        if starts:
            cfg.model.init_from_teacher = True
        if options['losses'] != 'none':
            cfg.model.distill_losses, more = stage1_losses(
                cfg, options['losses'], teacher, settings, options['dry_run']
            )
            cfg.custom_hooks = [*cfg.custom_hooks, dict(type='DistillWeightDecayHook')]
            notes += more
    return cfg, notes


def _conversion(teacher: Teacher, settings: Settings) -> Tuple[Optional[dict], List[Tuple[int, int]]]:
    """The teacher's metainfo, and index pairs (teacher, student) of the same keypoint; none where all are the same."""
    own, given = settings.data.skeleton, teacher.skeleton
    if own.names == given.names:
        return None, []
    pairs = [(a, b) for a, b in enumerate(given.flip_indices) if a < b]
    file = settings.config('teacher_metainfo')
    AtomicLocalBackend().put_text(metainfo_text(given.dataset, given.names, given.links, pairs), file)
    mapping = [(given.names.index(name), place) for place, name in enumerate(own.names) if name in given.names]
    return dict(from_file=str(file)), mapping


def _read_boxes(boxes: str, unlabelled: str) -> int:
    """How many instances are to be labeled by the teacher.

    Raises:
        UserError: They are no boxes in COCO format, or an image is not there.
    """
    content = read_json(boxes)
    if not isinstance(content, dict) or not content.get('images') or not content.get('annotations'):
        raise UserError(
            f'--boxes {boxes} has no lists of images and annotations, as COCO labels and tools/detect_people.py have '
            'them: a list of detections alone does not name the images'
        )
    missing = [one['file_name'] for one in content['images'] if not Path(unlabelled, one['file_name']).is_file()]
    if missing:
        raise UserError(f'--unlabelled {unlabelled}: {len(missing):,} images are missing, such as {missing[0]}')
    lacking = [one.get('id') for one in content['annotations'] if 'bbox' not in one]
    if lacking:
        raise UserError(f'--boxes {boxes}: {len(lacking):,} annotations have no bbox (id {lacking[0]})')
    return len(content['annotations'])


def _stage2_config(
    refined: Config, trained: Config, base: str, teacher: Teacher, settings: Settings, epochs: int
) -> Config:
    cfg = copy.deepcopy(refined)
    records = [str(settings.out / 'data' / 'record_train.json')]
    cfg.train_dataloader.batch_size = trained.train_dataloader.batch_size
    configs.stage2_schedule(cfg, epochs, settings.data.people['train'] // cfg.train_dataloader.batch_size)
    cfg.model.update(
        type='PoseDistiller',
        teacher=dict(type='RecordedTeacher', file=records[0]),
        student_checkpoint=str(settings.run(base)),
        frozen=('backbone', *(['neck'] if cfg.model.get('neck') else []), 'head.base_head'),
        task_loss=bool(teacher.unknown),  # of keypoints that the teacher does not know, the labels teach the refiner
        distill_losses=dict(loss_teacher=dict(type='ProgressivePoseLoss', stage_weights=(0.3, 0.5, 1.0))),
    )
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type='RecordedTeacherHook')]
    return cfg


def _runs(written: Dict[str, Config], compare: bool) -> List[str]:
    """The names of the trainings. The plain student is left out if stage 1 replaces it, unless ``compare`` is set."""
    runs = [name for name in RUNS if name in written]
    if 'stage1' in runs and not compare:
        runs.remove('plain_student')
    return runs


def _steps(settings: Settings, teacher: Teacher, written: Dict[str, Config], options: Dict[str, Any]) -> List[Step]:
    out, data, runs = settings.out, settings.data, _runs(written, options['compare'])
    base = 'stage1' if 'stage1' in runs else 'plain_student'
    epochs = {name: written[name].train_cfg.max_epochs for name in runs}
    steps: List[Step] = []
    comes_first = [TEACHER] if TEACHER in runs else []

    def record(name: str, labels: Path, images: Path, *more: str) -> None:
        arguments = [str(out / 'data' / f'{name}.json'), *teacher.arguments(), '--labels', str(labels)]
        arguments += ['--images', str(images), *more]
        steps.append(Step(name, 'record_teacher', arguments, out / 'data' / f'{name}.json', comes_first))

    def train(name: str, needs: Sequence[str]) -> None:
        arguments = [str(settings.config(name)), '--work-dir', str(settings.run(name)), '--resume']
        output = settings.run(name) / f'epoch_{epochs[name]}.pth'
        steps.append(Step(name, 'train', arguments, output, needs, settings.run(name), epochs[name], settings.gpus))

    if TEACHER in runs:
        train(TEACHER, [])
    if options['unlabelled'] is not None:
        record('record_unlabelled', Path(options['boxes']).absolute(), Path(options['unlabelled']).absolute())
    if 'stage1' in runs:
        train('stage1', [*comes_first, *(['record_unlabelled'] if options['unlabelled'] is not None else [])])
    if options['refine']:
        record('record_train', data.folder / 'train.json', data.images)
    if 'plain_student' in runs:
        train('plain_student', comes_first)  # the teacher takes longest, and all threads
    if 'stage2' in runs:
        train('stage2', [base, 'record_train'])
    if teacher.is_given:
        record('record_val', data.folder / 'val.json', data.val_images)
    for name in runs:
        tested = out / 'tests' / f'{name}.json'
        checkpoint = settings.run(name) / f'epoch_{epochs[name]}.pth'
        config = written[DEPLOYED[name]]
        arguments = [str(settings.config(DEPLOYED[name])), str(checkpoint), '--out', str(tested)]
        arguments += ['--work-dir', str(out / 'tests' / name), '--cfg-options']
        arguments += [f'test_evaluator.{len(config.test_evaluator) - 1}.out_file={out / "tests" / name}_people.json']
        steps.append(Step(f'test_{name}', 'test', arguments, tested, [name]))
    steps.append(pack_step(settings, runs[-1]))
    return steps


def _jobs(options: Dict[str, Any]) -> int:
    """Steps at a time: on a CPU two, where a plain student is trained beside the others."""
    return 2 if options['compare'] and torch.get_num_threads() > 1 and not torch.cuda.is_available() else 1


def _check_disk(plan: Plan) -> None:
    """Refuses to begin where the checkpoints would not fit."""
    needed = 0.5
    for name in plan.epochs:
        cfg = plan.configs[name]
        size = configs.decoder(cfg.model.head)['input_size']
        needed += model_complexity(cfg.model, size).params_m * 1e6 * 4 * 3 * 2 / GIB
    free = shutil.disk_usage(plan.settings.out).free / GIB
    if free < needed:
        raise UserError(
            f'--out {plan.settings.out}: {free:.1f} GiB are free on its disk, and the checkpoints need {needed:.1f}'
        )


def _show(plan: Plan) -> None:
    for path in sorted(plan.settings.config('plain_student').parent.glob('*.py')):
        print(f'\n==> {path} <==\n{path.read_text()}')
    print('\nCommands:')
    for step in plan.steps:
        print(f'  {step.shown()}')
    print(f'\n{estimate(plan)}')
