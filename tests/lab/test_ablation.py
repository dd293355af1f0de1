import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import REPO
from mmengine.config import Config
from mmpose.registry import DATASETS

from mmpose_tskd.apis import records as recording
from mmpose_tskd.apis.budget import scale_epochs
from mmpose_tskd.apis.records import read_record, write_record
from mmpose_tskd.checkpoints import load_weights
from mmpose_tskd.errors import UserError
from mmpose_tskd.evaluation.comparison import Comparison, _seed_shares
from mmpose_tskd.lab.ablation import make_plan, plan, report, run_ablation, worker, write_configs, write_report
from mmpose_tskd.lab.ablation.worker import is_trained, read_run
from mmpose_tskd.lab.labels import Labels, write_labels

SMOKE = REPO / 'configs' / 'ablation' / 'synthetic_crowd_smoke.yaml'
SCHEMES = ['baseline', 'scheme4', 'scheme6']
FAMILY = 'synthetic-crowd-96x64'
# Of the YAMLs with committed results: the digest of the labels that they were trained on, and the runs that are there
COMMITTED = dict(
    lspet=('827f8d7398e8', 23),
    lspet_ikd=('827f8d7398e8', 11),
    recipe_lspet=('827f8d7398e8', 43),
    synthetic_crowd_finished=('57a09e8aebb8', 38),
    synthetic_crowd_occluded=('b349ef70596c', 8),
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A place for plans, whose images are drawn once."""
    return tmp_path_factory.mktemp('ablation')


@pytest.fixture
def spec(folder):
    """``spec(scheme4=..., options=...)``: the smoke's YAML with few images, changed in places."""

    def write(draw=None, occluded_views=False, **changes):
        content = dict(_base_=str(SMOKE), results=str(folder / 'results'), work_dir=str(folder / 'work'))
        family = dict(dev_images=2, draw=draw or dict(num_train=6, num_val=2), occluded_views=occluded_views)
        content['families'] = {'synthetic-crowd-96x64': family}
        for key in ('options', 'seeds', 'teacher_seed', 'same_photographs'):
            if key in changes:
                content[key] = changes.pop(key)
        content['schemes'] = changes
        path = folder / 'spec.yaml'
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def runs_of(path, **options):
    plan = make_plan(path, **options)
    return {(run.scheme, run.seed): run for run in (plan.runs[name] for name in plan.chosen)}


def test_a_plan_has_every_run_after_what_it_needs(spec):
    plan = make_plan(spec(), seeds=[0, 5], schemes=['scheme1', 'scheme6'])
    runs = {(plan.runs[name].scheme, plan.runs[name].seed): plan.runs[name] for name in plan.chosen}
    names = list(plan.runs)
    assert len(runs) == 1 + 2 * 4  # the teacher; baseline, scheme 1, scheme 4 and scheme 6 a seed
    assert len(names) == 1 + 3 * 7  # to be reported on where they are finished: seeds 0 and 1 are the YAML's
    for run in runs.values():
        assert all(names.index(needed) < names.index(run.name) for needed in run.needs.values())
    assert runs['scheme6', 5].needs == dict(teacher=runs['teacher', 0].name, student=runs['scheme4', 5].name)
    assert runs['scheme1', 5].needs == dict(student=runs['baseline', 5].name)
    assert runs['baseline', 5].needs == {} and runs['scheme4', 5].needs == dict(teacher=runs['teacher', 0].name)
    assert list(runs_of(spec(), schemes=['teacher'])) == [('teacher', 0)]
    assert ('teacher', 0) not in runs_of(spec(), schemes=['scheme1'])  # which the labels alone teach


def test_schemes_are_those_of_table_4(spec):
    runs = runs_of(spec(), seeds=[0])
    losses = {
        scheme: sorted(name for name, loss in (run.cfg.model.get('distill_losses') or {}).items() if loss is not None)
        for (scheme, _), run in runs.items()
    }
    assert losses == dict(
        teacher=[], baseline=[], scheme1=[], scheme2=['loss_feat'], scheme3=['loss_feat', 'loss_pose'],
        scheme4=['loss_feat', 'loss_pose', 'loss_structure'], scheme5=['loss_refine'], scheme6=['loss_refine'],
    )  # fmt: skip
    assert runs['scheme1', 0].cfg.model.task_loss and not runs['scheme6', 0].cfg.model.task_loss
    budgets = {runs[scheme, 0].cfg.train_cfg.max_epochs for scheme in ('baseline', 'scheme2', 'scheme3', 'scheme4')}
    assert budgets == {10}
    for scheme in ('baseline', 'scheme2', 'scheme4'):
        assert runs[scheme, 0].cfg.optim_wrapper == runs['baseline', 0].cfg.optim_wrapper
        assert runs[scheme, 0].cfg.train_dataloader == runs['baseline', 0].cfg.train_dataloader


def test_a_hash_follows_what_bears_on_the_outcome_and_nothing_else(spec, tmp_path):
    base = {key: run.hash for key, run in runs_of(spec()).items()}
    assert len(set(base.values())) == len(base)

    def changed(path, **options):
        return {scheme for (scheme, seed), run in runs_of(path, **options).items() if run.hash != base[scheme, seed]}

    assert changed(spec()) == set()
    quiet = {'train_cfg.val_interval': 1, 'train_dataloader.num_workers': 3, 'default_hooks.logger.interval': 7}
    assert changed(spec(options=quiet), work_dir=str(tmp_path)) == set()
    everything = {scheme for scheme, _ in base}
    assert changed(spec(options={'optim_wrapper.optimizer.lr': 1e-3})) == everything
    assert changed(spec(options={'load_from': 'weights.pth'})) == everything
    assert changed(spec(options={'auto_scale_lr.enable': True})) == everything
    assert changed(spec(draw=dict(num_train=7, num_val=2)), work_dir=str(tmp_path / 'other')) == everything
    assert changed(spec(scheme4=dict(options={'model.temperature': 2.0}))) == {'scheme4', 'scheme6'}
    taught = everything - {'baseline', 'scheme1', 'teacher'}
    new_teacher = {run.hash for run in runs_of(spec(teacher_seed=7)).values()}
    assert base['baseline', 0] in new_teacher and base['scheme1', 0] in new_teacher
    assert not {base[scheme, 0] for scheme in taught} & new_teacher


def test_how_a_run_is_measured_has_a_hash_of_its_own(spec):
    base = runs_of(spec())
    measuring = {
        'model.test_cfg.flip_test': False,
        'val_evaluator.0.keypoint_score_thr': 0.5,
        'test_dataloader.dataset.pipeline.1.padding': 1.5,
    }
    for key, value in measuring.items():
        changed = runs_of(spec(options={key: value}))
        for name, run in base.items():
            assert changed[name].hash == run.hash and changed[name].evaluation != run.evaluation, key
    for options in ({'optim_wrapper.optimizer.lr': 1e-3}, {'test_dataloader.batch_size': 7}):
        changed = runs_of(spec(options=options))
        assert all(changed[name].evaluation == run.evaluation for name, run in base.items())


def test_hooks_count_where_they_change_what_is_learned(spec):
    hooks = plan._load_config('simcc/synthetic_crowd/simcc_hrnet-w16-tiny_10e_synthetic-crowd-96x64.py').custom_hooks

    def hash_with(changed):
        return runs_of(spec(options=dict(custom_hooks=[dict(hook) for hook in changed])))['baseline', 0].hash

    base = hash_with(hooks)
    learning = [hook for hook in hooks if hook.type not in plan.UNHASHED_HOOKS]
    assert 0 < len(learning) < len(hooks) and hash_with(learning) == base
    assert hash_with([*hooks, dict(type='EMAHook')]) != base and hash_with(learning[1:]) != base


def test_options_of_randomness_are_kept(spec):
    run = runs_of(spec(options={'randomness.deterministic': True}))['baseline', 1]
    assert run.cfg.randomness == dict(deterministic=True, seed=1)
    assert run.hash != runs_of(spec())['baseline', 1].hash


def test_the_last_checkpoint_is_kept_or_all_that_an_analysis_needs(spec):
    kept = [
        {run.cfg.default_hooks.checkpoint.max_keep_ckpts for run in runs_of(spec(), **options).values()}
        for options in ({}, dict(keep_checkpoints=True))
    ]
    assert kept == [{1}, {-1}]


@pytest.mark.parametrize('yaml_file', COMMITTED)
def test_the_committed_results_are_found_finished(yaml_file):
    """They took days: a change of the configs that trains nothing else must not make them stale."""
    digest, count = COMMITTED[yaml_file]
    spec = plan._load_spec(REPO / 'configs' / 'ablation' / f'{yaml_file}.yaml')
    labels = Labels(Path('labels.json'), Path('images'))
    (name,) = spec.families
    family = plan.Family(name, plan._configure(spec, name, 1.0), dict.fromkeys(['train', 'dev'], labels), digest, {})
    teacher = plan._resolve(family, 'teacher', 0, {})
    found = {teacher.name: teacher}
    for seed in spec.seeds:
        found.update({run.name: run for run in plan._resolve_seed(family, spec, seed, teacher).values()})
    files = list((REPO / spec.results / 'runs').glob('*.json'))
    assert len(files) >= count
    for file in files:
        record = read_run(found[file.stem], file)
        assert {entry['evaluation'] for entry in record['sets'].values()} == {found[file.stem].evaluation}


def test_what_a_set_before_has_a_photograph_of_is_left_out(spec, tmp_path):
    plain = make_plan(spec(), test=True).families[FAMILY]
    train, dev = (sorted(i['id'] for i in plain.sets[name].read()['images']) for name in ('train', 'dev'))
    assert plain.left_out == dict(dev=[], test=[])
    groups = [[dev[0], train[0]], [train[1], train[2]], [dev[1], dev[0], 10**6]]
    known = make_plan(spec(same_photographs=groups), test=True).families[FAMILY]
    assert known.left_out['dev'] == dev[:1] and set(known.sets) == set(plain.sets)
    sets = {name: Labels(tmp_path / f'{name}.json', tmp_path) for name in ('train', 'dev', 'test')}
    for labels, ids in zip(sets.values(), ([1, 2], [3, 4], [5, 6, 7])):
        labels.file.write_text(json.dumps(dict(images=[dict(id=i) for i in ids])))
    assert plan._known_photographs(sets, [[5, 4], [1, 6], [2, 3]]) == dict(dev=[3], test=[5, 6])


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(schemes=['scheme9']), '--schemes: there is no scheme9 among teacher, baseline, scheme1'),
        (dict(families=['coco']), '--families: there is no coco among synthetic-crowd-96x64'),
        (dict(budget=-1), '--budget is a factor on the epochs and must be above 0, not -1'),
    ],
)
def test_mistakes_in_the_command_are_named(spec, options, message):
    with pytest.raises(UserError, match=message):
        make_plan(spec(), **options)


YAMLS = sorted(set((REPO / 'configs' / 'ablation').glob('*.yaml')) - {SMOKE.with_name('table4.yaml')})
CROWDPOSE = SMOKE.with_name('crowdpose.yaml')


@pytest.mark.parametrize('path', YAMLS, ids=lambda path: path.stem)
def test_every_yaml_names_configs_that_are_there(path):
    spec = plan._load_spec(path)
    for family in spec.families.values():
        for scheme in [plan.TEACHER, *(scheme.config for scheme in spec.schemes.values())]:
            cfg = plan._load_config(family[scheme])
            assert cfg.train_cfg.max_epochs > 1
            assert path == CROWDPOSE or cfg.val_evaluator[0].type == 'CocoMetric'
        assert len({plan._load_config(family[role]).codec.input_size for role in family if role in plan.ROLES}) == 1


def test_a_family_that_is_measured_otherwise_is_refused(tmp_path):
    spec = plan._load_spec(CROWDPOSE)
    with pytest.raises(UserError, match='families.crowdpose: teacher is measured by CrowdPoseMetric'):
        plan._prepare('crowdpose', spec, 1.0, tmp_path, test=False)
    with pytest.raises(UserError, match='crowdpose.yaml has no seeds, work_dir, results'):
        plan._load_spec(CROWDPOSE, others=('seeds', 'work_dir', 'results'))


def test_configs_are_written_that_start_from_each_others_work_folders(tmp_path):
    files = write_configs(CROWDPOSE, tmp_path, schemes=['scheme1', 'scheme3', 'scheme6'])
    names = ['teacher', 'baseline', 'scheme1', 'scheme3', 'scheme4', 'scheme6']
    assert files == [tmp_path / f'crowdpose_{name}.py' for name in names]
    written = {name: Config.fromfile(file) for name, file in zip(names, files)}
    losses = {name: cfg.model.get('distill_losses') for name, cfg in written.items()}
    assert losses['scheme1'] is None and list(losses['scheme6']) == ['loss_refine']
    assert losses['scheme3'] == {**losses['scheme4'], 'loss_structure': None} != losses['scheme4']
    for name, cfg in written.items():
        assert cfg.val_evaluator.type == 'CrowdPoseMetric' and cfg.custom_imports.imports == ['mmpose_tskd']
        taught = name in ('scheme3', 'scheme4', 'scheme6')
        assert cfg.model.get('teacher_checkpoint') == ('work_dirs/crowdpose_teacher' if taught else None)
        assert not taught or cfg.model.teacher == written['teacher'].model
    assert written['scheme1'].model.student_checkpoint == 'work_dirs/crowdpose_baseline'
    assert written['scheme6'].model.student_checkpoint == 'work_dirs/crowdpose_scheme4'
    assert written['scheme4'].train_cfg.max_epochs == 210
    (teacher,) = write_configs(CROWDPOSE, tmp_path, schemes=['teacher'], budget=0.1)
    assert Config.fromfile(teacher).train_cfg.max_epochs == 21
    (file,) = write_configs(SMOKE, tmp_path, schemes=['baseline'])
    assert Config.fromfile(file).train_dataloader.dataset.ann_file == 'annotations/synthetic_crowd_train.json'


def test_a_yaml_runs_no_code(tmp_path):
    (tmp_path / 'a.yaml').write_text(
        'seeds: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [ran]]\n'
    )
    (tmp_path / 'b.yaml').write_text('_base_: ./a.yaml\n')
    for name in 'ab':
        with pytest.raises(UserError, match='a.yaml is not a YAML of plain values: .*python/object'):
            make_plan(tmp_path / f'{name}.yaml')
    (tmp_path / 'c.yaml').write_text('- a\n')
    with pytest.raises(UserError, match='c.yaml holds no families'):
        make_plan(tmp_path / 'c.yaml')


LAUGHS = 'a0: &a0 {x: 1}\n' + ''.join(
    f'a{i}: &a{i} {{' + ', '.join(f'k{j}: *a{i - 1}' for j in range(10)) + '}\n' for i in range(1, 10)
)


def forged(text, **changes):
    content = {**json.loads(text), **changes}
    content.pop('digest')
    return json.dumps({**content, 'digest': recording._digest(content)})


@pytest.mark.parametrize(
    'text, message',
    [
        ('_base_: a.yaml', 'a.yaml is its own _base_'),
        ('_base_: b.yaml', 'a.yaml is its own _base_, by way of .*b.yaml'),
        ('_base_: [b.yaml]', '_base_ is the name of another YAML'),
        (LAUGHS, 'aliases stand for more than 100,000 values'),
        (re.sub('k[0-9]:', '<<:', LAUGHS), 'aliases stand for more than 100,000 values'),
        ('families: &f {a: *f}', 'not a YAML of plain values'),
        ('a: ' + 5000 * '[', 'not a YAML of plain values'),
        ('1: 2', 'holds no families and schemes by name'),
        ('families: [a]', 'families holds entries by name'),
        ('schemes: {a: text}', "schemes holds entries by name, each with names in it; 'a' is none"),
        ('schemes: {a: {config: student, budget: .nan}}', 'budget is a factor'),
        ('schemes: {a: {config: stage2, student: b}, b: {config: stage2, student: a}}', 'schemes.a builds on itself'),
        ('seeds: hello', 'seeds is a list of whole numbers'),
        ('work_dir: [1]', 'work_dir is the name of a folder'),
    ],
)  # fmt: skip
def test_a_crafted_yaml_is_refused(text, message, tmp_path):
    whole = dict(families='{}', schemes='{}', seeds='[0]', work_dir='w', results='r')
    lacking = [f'{key}: {value}\n' for key, value in whole.items() if not text.startswith(key)]
    (tmp_path / 'a.yaml').write_text(''.join(lacking) + text)
    (tmp_path / 'b.yaml').write_text('_base_: a.yaml')
    with pytest.raises(UserError, match=message):
        make_plan(tmp_path / 'a.yaml')


def test_mistakes_in_the_yaml_are_named(spec, tmp_path):
    with pytest.raises(UserError, match='there is no nowhere.yaml: name the YAML of an ablation'):
        make_plan('nowhere.yaml')
    (tmp_path / 'a.yaml').write_text('seeds: [0]\nschemes: {}\n')
    with pytest.raises(UserError, match='a.yaml has no families, work_dir, results'):
        make_plan(tmp_path / 'a.yaml')
    with pytest.raises(UserError, match="schemes.mine.config is one of teacher, student, stage1, stage2, not 'stage3'"):
        make_plan(spec(mine=dict(config='stage3')))
    with pytest.raises(UserError, match="schemes.mine.student is another scheme, not 'nobody'"):
        make_plan(spec(mine=dict(config='stage2', student='nobody')))
    for budget in (0, 'long'):
        with pytest.raises(UserError, match='schemes.mine.budget is a factor on the epochs and must be above 0'):
            make_plan(spec(mine=dict(config='student', budget=budget)))
    for mine in (dict(config='stage1', teacher_epoch=0), dict(config='student', teacher_epoch=1)):
        with pytest.raises(UserError, match='schemes.mine.teacher_epoch is a whole number from 1 on, in a scheme with'):
            make_plan(spec(mine=mine))
    for epoch, kept in ((1, False), (15, True)):  # not kept; later than its last
        with pytest.raises(UserError, match=f'schemes.mine.teacher_epoch: .* has no epoch_{epoch}.pth.* of 14 epochs'):
            make_plan(spec(mine=dict(config='stage1', teacher_epoch=epoch)), keep_checkpoints=kept)
    path = spec(mine=dict(config='stage1', teacher_epoch=1))
    made = make_plan(path, keep_checkpoints=True, seeds=[0], schemes=['mine'])
    record = made.record(made.chosen[-1])
    record.parent.mkdir(parents=True)
    record.write_text('{}')
    make_plan(path, seeds=[0], schemes=['mine'])  # what is finished needs no teacher's checkpoint
    with pytest.raises(UserError, match='trains on occluded_views, which --write-configs does not make'):
        write_configs(spec(occluded_views=True), tmp_path / 'configs')
    with pytest.raises(UserError, match='schemes.mine has "images" or "record", which --write-configs does not make'):
        write_configs(spec(mine=dict(config='student', images=4)), tmp_path / 'configs')
    for mine in (dict(config='stage1', record='teacher'), dict(config='student', record='teacher')):
        with pytest.raises(UserError, match='schemes.mine.record is for stage 2, or for a student of which "images"'):
            make_plan(spec(mine=mine))
    with pytest.raises(UserError, match="schemes.mine.record is another scheme, not 'mine'"):
        make_plan(spec(mine=dict(config='stage2', student='baseline', record='mine')))
    with pytest.raises(UserError, match='schemes.mine.images is a whole number from 1 on, not 0'):
        make_plan(spec(mine=dict(config='student', images=0)))
    with pytest.raises(UserError, match='schemes.mine starts from a student: name the scheme'):
        make_plan(spec(mine=dict(config='stage2')))
    with pytest.raises(UserError, match='schemes.mine of .* trains exactly what scheme4 trains'):
        make_plan(spec(mine=dict(config='stage1')))
    with pytest.raises(UserError, match='--jobs must be 1 or more, not 0'):
        run_ablation(spec(), jobs=0)


# --- the machinery


def start(folder, *args):
    """The command that a user types."""
    command = [sys.executable, REPO / 'tools/lab/ablation.py', SMOKE, '--budget', '0.2', '--schemes', 'baseline']
    command += ['--jobs', '2', '--test', '--work-dir', folder, '--results', folder.parent / 'results', *args]
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES='', OMP_NUM_THREADS='1', PYTHONPATH=str(REPO))
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return subprocess.Popen(list(map(str, command)), env=environment, **pipes)


def run(work, results, schemes=('baseline',), spec=SMOKE, **options):
    """The same in this process."""
    where = dict(work_dir=str(work), results=str(results))
    return run_ablation(spec, jobs=2, test=True, budget=0.2, schemes=list(schemes), **where, **options)


def wait_for(folder, pattern, process, seconds=600):
    deadline = time.time() + seconds
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.stdout.read()[-3000:]
        assert time.time() < deadline, f'no {pattern}'
        time.sleep(0.05)


def records(results):
    return {path.stem: json.loads(path.read_text()) for path in (results / 'runs').glob('*.json')}


def by_scheme(results):
    return {(record['scheme'], record['seed']): record for record in records(results).values()}


FROM_RECORDS = dict(
    few=dict(config='student', images=2),
    few_teacher=dict(config='teacher', images=2),
    few_record=dict(config='student', images=2, record='few_teacher'),
    stage2_record=dict(config='stage2', student='baseline', record='teacher'),
    stage2_record_flip=dict(config='stage2', student='baseline', record='teacher', record_flip_test=True),
)


def test_poses_that_were_recorded_teach_in_place_of_a_network_or_of_labels(spec):
    made = make_plan(spec(**FROM_RECORDS), seeds=[0, 1], schemes=list(FROM_RECORDS))
    runs = {(made.runs[name].scheme, made.runs[name].seed): made.runs[name] for name in made.chosen}
    assert ('few_teacher', 1) not in runs and len(runs) == 2 + 2 * 5  # the teachers are one for all
    names = list(made.runs)
    assert all(names.index(needed) < names.index(run.name) for run in runs.values() for needed in run.needs.values())

    stage2, flipped = (runs[scheme, 1] for scheme in ('stage2_record', 'stage2_record_flip'))
    assert stage2.needs == dict(record=runs['teacher', 0].name, student=runs['baseline', 1].name)
    assert stage2.cfg.model.teacher == dict(type='RecordedTeacher', file='')
    assert stage2.cfg.custom_hooks[-1] == dict(type='RecordedTeacherHook')
    assert stage2.recording == (runs['teacher', 0].cfg, stage2.sets['train'], False) != flipped.recording
    assert stage2.hash != flipped.hash

    few, taught = runs['few', 1], runs['few_record', 1]
    assert taught.needs == dict(record=runs['few_teacher', 0].name) and few.hash != runs['baseline', 1].hash
    drawn, others = made.families[FAMILY].few[2]
    ids = [{image['id'] for image in labels.read()['images']} for labels in (drawn, others, few.sets['train'])]
    assert len(ids[0]) == 2 and ids[0] | ids[1] == ids[2] and not ids[0] & ids[1]
    assert few.cfg.train_dataloader.dataset.ann_file == str(drawn.file.absolute())
    dataset = taught.cfg.train_dataloader.dataset
    assert dataset.pipeline == few.cfg.train_dataloader.dataset.pipeline and taught.recording.labels == others
    record = Labels(others.file.with_name('record.json'), others.images)
    plan.place_record(taught.cfg, record)
    files = [part.ann_file for part in taught.cfg.train_dataloader.dataset.datasets]
    assert files == [str(labels.file.absolute()) for labels in (drawn, record)]
    write_labels(others.read(), record.file)
    assert len(DATASETS.build(taught.cfg.train_dataloader.dataset)) == len(few.sets['train'].read()['annotations'])


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """An ablation whose command was killed in the middle of a run, and then given again: its folder.

    The baseline has two seeds, the schemes have one.
    """
    folder = tmp_path_factory.mktemp('smoke')
    work = folder / 'work'
    process = start(work)
    wait_for(work / 'runs', '*baseline_seed0*/epoch_1.pth', process)
    process.kill()
    process.communicate(timeout=120)  # until its runs, which share its output, have stopped by themselves
    run(work, folder / 'results')
    run(work, folder / 'results', SCHEMES, seeds=[0])
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    """The folder of its records, copied."""
    shutil.copytree(finished / 'results' / 'runs', tmp_path / 'results' / 'runs')
    return tmp_path / 'results'


def test_a_run_is_trained_when_its_last_epoch_is_validated(spec, tmp_path):
    run = runs_of(spec(), schemes=['baseline'], budget=0.2)['baseline', 0]
    record = tmp_path / 'record.json'
    (tmp_path / 'epoch_2.pth').touch()
    assert not is_trained(run, tmp_path, record)
    log = tmp_path / '1' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('{"loss": 1.0, "step": 2}\n{"coco/AP": 0.1, "step": 1}\n')
    assert not is_trained(run, tmp_path, record)
    log.write_text(log.read_text() + '{"coco/AP": 0.2, "step": 2}\n')
    assert is_trained(run, tmp_path, record)


def test_killed_and_started_again_it_goes_on_and_finishes(finished):
    (console,) = finished.glob('work/runs/*baseline_seed0*/console.log')
    text = console.read_text()
    assert 'resumed epoch: 1' in text and text.count('Epoch(train)  [1]') <= 1
    assert sorted(by_scheme(finished / 'results')) == [
        ('baseline', 0), ('baseline', 1), ('scheme4', 0), ('scheme6', 0), ('teacher', 0)
    ]  # fmt: skip
    for record in by_scheme(finished / 'results').values():
        assert set(record['sets']) == {'dev', 'dev_occluded', 'test', 'test_occluded'}
        assert record['train_s'] > 0 and record['curve'] and record['losses']['loss'] and record['versions']['torch']
    assert not list(finished.rglob('.*.pth*')) and not list(finished.rglob('.*.json*'))  # no half-written file
    for folder in (finished / 'work' / 'runs').iterdir():
        assert len(list(folder.glob('*.pth'))) == 1, folder.name


def test_a_summary_tables_and_plots_are_left(finished):
    seeds = dict(baseline=2, scheme4=1, scheme6=1)
    for part, name in (('test', 'results.json'), ('dev', 'results_dev.json')):
        summary = json.loads((finished / name).read_text())
        assert list(summary['rows']) == SCHEMES and summary['set'] == part
        assert summary['warnings'] == [] and summary['left_out'] == []
        for scheme, metrics in summary['rows'].items():
            assert {'AP', 'AR', 'PCK', 'occluded_AP', 'occluded_AP_hidden', 'occluded_PCK_seen'} <= set(metrics)
            for entry in metrics.values():
                assert set(entry) == {'mean', 'std', 'n', 'delta', 'ci_low', 'ci_high'} and entry['n'] == seeds[scheme]
                assert entry['ci_low'] <= entry['ci_high'] and 0 <= entry['mean'] <= 100
        assert summary['rows']['baseline']['PCK']['delta'] == 0
        assert set(summary['teacher']['AP']) == {'mean', 'std', 'n'} and summary['teacher']['AP']['n'] == 1
        assert list(summary['differences']['AP']) == SCHEMES
        values = [
            record['sets'][part]['metrics']['PCK']
            for key, record in by_scheme(finished / 'results').items()
            if key[0] == 'baseline'
        ]
        assert summary['rows']['baseline']['PCK']['mean'] == pytest.approx(np.mean(values), abs=2e-3)
        assert summary['rows']['baseline']['PCK']['std'] == pytest.approx(np.std(values, ddof=1), abs=2e-3)
        pairs = summary['differences']['AP']
        assert pairs['scheme6']['baseline']['delta'] == summary['rows']['scheme6']['AP']['delta']
        assert pairs['scheme6']['scheme4'] == {
            key: -pairs['scheme4']['scheme6'][other]
            for key, other in (('delta', 'delta'), ('ci_low', 'ci_high'), ('ci_high', 'ci_low'))
        }
        place = finished / 'results' / part
        *table, _, caption = (place / 'differences.md').read_text().splitlines()
        assert len(table) == 2 + len(SCHEMES)
        assert caption.startswith('AP of the row less that of the column, 12 images; in brackets')
        assert pd.read_csv(place / 'table.csv').scheme.unique().tolist() == [*SCHEMES, 'teacher']
        *table, _, caption = (place / 'table.md').read_text().splitlines()
        assert len(table) == 2 + 4
        assert caption.startswith('12 images. In parentheses the paired difference to the baseline')
        assert r'\begin{tabular}' in (place / 'table.tex').read_text()
        for plot in ('gains', 'curves', 'joints', 'hidden'):
            assert cv2.imread(str(place / f'{plot}.png')).std() > 5
    command = 'synthetic_crowd_smoke.yaml --seeds 0 --schemes baseline scheme4 scheme6 --budget 0.2 --test'
    assert summary['command'].endswith(command)
    assert str(finished) not in json.dumps(summary) + json.dumps(records(finished / 'results'))


def test_runs_of_a_seed_are_paired(finished):
    runs = by_scheme(finished / 'results')
    start = {key: record['start'] for key, record in runs.items()}
    assert start['baseline', 0]['weights'] == start['scheme4', 0]['weights']
    assert len({start[scheme, 0]['batches'] for scheme in SCHEMES}) == 1
    assert start['scheme6', 0]['student'] == runs['scheme4', 0]['weights']
    assert start['baseline', 0]['weights'] != start['baseline', 1]['weights']
    assert start['baseline', 0]['batches'] != start['baseline', 1]['batches']
    assert {start[scheme, 0]['teacher'] for scheme in SCHEMES[1:]} == {runs['teacher', 0]['weights']}


def test_what_is_finished_is_not_run_again_and_what_is_missing_is(finished, copied, tmp_path, capfd):
    before = records(copied)
    shutil.copytree(finished / 'work' / 'data', tmp_path / 'work' / 'data')
    # from the records alone: nothing is trained, the summary is the same
    run(tmp_path / 'work', copied, SCHEMES, seeds=[0])
    assert '4 runs, 4 finished before' in capfd.readouterr().out and not (tmp_path / 'work' / 'runs').exists()
    assert (tmp_path / 'results.json').read_text() == (finished / 'results.json').read_text()
    # one is missing: it is trained, without the others
    (lost,) = (copied / 'runs').glob('*baseline_seed0*')
    lost.unlink()
    run(tmp_path / 'work', copied, SCHEMES, seeds=[0])
    assert '4 runs, 3 finished before' in capfd.readouterr().out
    assert [folder.name for folder in (tmp_path / 'work' / 'runs').iterdir()] == [lost.stem]
    after = records(copied)
    # stopped and resumed, or in one go, a run is the same
    for key in ('weights', 'start', 'epochs', 'sets', 'hash', 'curve'):
        assert after[lost.stem][key] == before[lost.stem][key]
    assert {name for name in before if before[name] != after[name]} <= {lost.stem}


def test_weights_that_were_kept_serve_in_place_of_a_training(finished, copied, tmp_path):
    shutil.copytree(finished / 'work' / 'data', tmp_path / 'work' / 'data')
    (teacher,) = (copied / 'runs').glob('*teacher_seed0*')
    (trained,) = (finished / 'work' / 'runs' / teacher.stem).glob('epoch_*.pth')
    torch.save(dict(state_dict=load_weights(str(trained))), teacher.with_suffix('.pth'))
    (lost,) = (copied / 'runs').glob('*scheme4_seed0*')
    before = records(copied)
    lost.unlink()
    assert worker._has_kept_weights(teacher)
    run(tmp_path / 'work', copied, ['scheme4'], seeds=[0])
    assert 'Epoch(train)' not in (tmp_path / 'work' / 'runs' / teacher.stem / 'console.log').read_text()
    assert records(copied)[lost.stem]['weights'] == before[lost.stem]['weights']
    teacher.unlink()
    assert not worker._has_kept_weights(teacher)


def test_what_is_measured_in_another_way_is_measured_anew_and_not_trained(finished, copied, tmp_path, capfd):
    (name,) = (path.stem for path in (copied / 'runs').glob('*baseline_seed1*'))
    shutil.copytree(finished / 'work', tmp_path / 'work')
    log = tmp_path / 'work' / 'runs' / name / 'console.log'
    trained = log.read_text().count('Epoch(train)')
    path = tmp_path / 'spec.yaml'
    path.write_text(yaml.safe_dump(dict(_base_=str(SMOKE), options={'model.test_cfg.flip_test': False})))
    before = records(copied)
    summary = run(tmp_path / 'work', copied, spec=path, seeds=[1])[FAMILY]
    assert 'was not measured so on these labels' in capfd.readouterr().out
    assert summary['rows']['baseline']['AP']['n'] == 1  # seed 0 was measured otherwise
    after = records(copied)
    assert {key for key in before if before[key] != after[key]} == {name}
    assert log.read_text().count('Epoch(train)') == trained and after[name]['weights'] == before[name]['weights']
    for part, entry in after[name]['sets'].items():
        assert entry['evaluation'] != before[name]['sets'][part]['evaluation']
        assert entry['joints'] != before[name]['sets'][part]['joints']


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda text: text.replace('"AP":', '"AP":9', 1), r'baseline_seed0_\w+.json is not as it was written'),
        (lambda text: text[: len(text) // 2], r'baseline_seed0_\w+.json is not a whole JSON file'),
        (lambda text: '[]', r'baseline_seed0_\w+.json is not as it was written'),
        (lambda text: forged(text, sets=[1]), r'baseline_seed0_\w+.json is no such record, which has sets'),
        (lambda text: forged(text, sets=dict(dev={})), r'does not say on which labels a set was measured'),
        (lambda text: forged(text, seed='0'), r'baseline_seed0_\w+.json is no such record, which has seed'),
        (None, r'baseline_seed0_\w+.json is the record of .*_scheme4_seed0_\w+ under another name'),
    ],
)
def test_a_record_that_is_not_what_the_run_wrote_is_refused(finished, copied, change, message):
    (file,) = (copied / 'runs').glob('*baseline_seed0*')
    (other,) = (copied / 'runs').glob('*scheme4_seed0*')
    file.write_text(other.read_text() if change is None else change(file.read_text()))
    with pytest.raises(UserError, match=message):
        run(finished / 'work', copied, report_only=True)


def test_what_fails_is_named_and_the_rest_is_done(spec, tmp_path, capfd):
    path = spec(
        draw=dict(num_train=40, num_val=2),
        broken=dict(config='student', options={'model.head.in_channels': 17}),
        built_on_it=dict(config='stage2', student='broken', options={'model.teacher': None}),
    )  # fmt: skip
    options = dict(schemes=['baseline', 'broken', 'built_on_it'], seeds=[0], budget=0.1)
    where = dict(work_dir=str(tmp_path / 'work'), results=str(tmp_path / 'results'))
    with pytest.raises(UserError, match='2 runs have failed or build on one.*\n.*broken_seed0_.*console.log'):
        run_ablation(path, **where, **options)
    said = capfd.readouterr().out
    assert 'FAILED' in said and 'not started, since what it builds on has failed' in said
    assert sorted(by_scheme(tmp_path / 'results')) == [('baseline', 0)]
    (console,) = tmp_path.glob('work/runs/*broken*/console.log')
    assert 'Error' in console.read_text()


# --- statistics


def record_of(right, hidden_right=None, num_found=None):
    """Images with one instance of ten seen keypoints each; OKS passes the first ``num_found`` thresholds."""
    right = np.asarray(right)
    people = len(right)
    found = np.full(people, 1023) if num_found is None else (1 << np.asarray(num_found)) - 1
    matches = dict(pictures=list(range(people)), found=found.tolist(), ignored=[0] * people, positives=[1] * people)
    correct = np.stack([right, np.full(people, 10), np.zeros(people, int), np.zeros(people, int)], axis=1)
    return dict(pictures=people, metrics=dict(PCK=99.9), matches={'': matches}, correct=correct.tolist())


def test_equal_rows_differ_by_nothing_and_better_ones_by_what_they_are_better():
    rng = np.random.default_rng(0)
    base = {seed: rng.integers(0, 9, 200) for seed in range(3)}
    rows = {
        'baseline': {seed: record_of(right) for seed, right in base.items()},
        'same': {seed: record_of(right) for seed, right in base.items()},
        'better': {seed: record_of(right + 1) for seed, right in base.items()},
    }
    stats = Comparison(rows, resamples=200).against('baseline')
    means = [10 * right.mean() for right in base.values()]
    assert stats['baseline']['PCK']['mean'] == pytest.approx(np.mean(means), abs=1e-3)
    assert stats['baseline']['PCK']['std'] == pytest.approx(np.std(means, ddof=1), abs=1e-3)
    for row, delta in (('same', 0), ('better', 10)):  # one keypoint of ten more in each: no spread, as it is paired
        entry = stats[row]['PCK']
        assert (entry['n'], entry['delta'], entry['ci_low'], entry['ci_high']) == pytest.approx(
            (3, delta, delta, delta)
        )
    assert 'PCK_hidden' not in stats['better']
    assert Comparison(rows, resamples=200).difference('same', 'better', 'PCK')['ci_high'] == pytest.approx(-10)


def test_the_interval_of_one_seed_is_that_of_its_images():
    rng = np.random.default_rng(1)
    base, other = rng.integers(0, 11, 400), rng.integers(0, 11, 400)
    rows = {'baseline': {0: record_of(base)}, 'other': {0: record_of(other)}}
    entry = Comparison(rows, resamples=4000).against('baseline')['other']['PCK']
    gain = 10 * (other - base)
    half = 1.96 * gain.std(ddof=1) / np.sqrt(400)
    assert entry['std'] is None and entry['delta'] == pytest.approx(gain.mean(), abs=1e-3)
    assert entry['ci_low'] == pytest.approx(gain.mean() - half, abs=0.1 * half)
    assert entry['ci_high'] == pytest.approx(gain.mean() + half, abs=0.1 * half)


@pytest.mark.parametrize('seeds', [2, 3, 5])
def test_resampled_seeds_have_the_variance_of_a_mean(seeds):
    """Over many sets of seeds, the resamples' variance is that of the mean of n independent ones."""
    values = np.random.default_rng(0).normal(0, 1, (4000, seeds))
    shares = _seed_shares(seeds, 500, seed=0)
    assert shares.sum(axis=1) == pytest.approx(1)
    assert (values @ shares.T).var(axis=1).mean() == pytest.approx(1 / seeds, rel=0.08)


def test_images_that_are_left_out_count_nowhere():
    rng = np.random.default_rng(0)
    right = {row: {seed: rng.integers(0, 11, 30) for seed in range(2)} for row in ('baseline', 'other')}
    found = {row: {seed: rng.integers(0, 11, 30) for seed in range(2)} for row in right}
    left_out = [0, 7, 29]

    def rows(places):
        return {
            row: {seed: record_of(by[seed][places], num_found=found[row][seed][places]) for seed in by}
            for row, by in right.items()
        }

    kept = np.setdiff1d(np.arange(30), left_out)
    some = Comparison(rows(np.arange(30)), resamples=50, left_out=left_out).against('baseline')
    assert some == Comparison(rows(kept), resamples=50).against('baseline')
    assert some != Comparison(rows(np.arange(30)), resamples=50).against('baseline')


def test_seeds_that_only_one_row_has_do_not_enter_the_difference():
    rows = {'baseline': {0: record_of([5] * 20), 1: record_of([9] * 20)}, 'other': {0: record_of([6] * 20)}}
    entry = Comparison(rows, resamples=50).against('baseline')['other']['PCK']
    assert (entry['n'], entry['delta']) == (1, 10)


def changed_record(path, change):
    record = read_record(path)
    change(record)
    write_record(record, path)


def test_the_report_says_what_the_runs_do_not_have_in_common(finished, copied):
    options = dict(budget=0.2, schemes=SCHEMES, work_dir=str(finished / 'work'), results=str(copied))
    plan = make_plan(SMOKE, **options)
    runs = {(run.scheme, run.seed): plan.record(run.name) for run in (plan.runs[name] for name in plan.chosen)}

    def others(record):
        record['start'].update(weights='another', teacher='another')
        record.update(machine='another', versions=dict(torch='1.0'))

    changed_record(runs['scheme4', 0], others)
    changed_record(runs['scheme6', 0], lambda record: record['sets'].pop('dev_occluded'))  # stopped before it
    changed_record(runs['baseline', 1], lambda record: record['sets']['dev'].update(labels='others'))
    summary = write_report(plan, FAMILY, 'dev', resamples=10)
    assert list(summary['rows']) == ['baseline', 'scheme4'] and summary['rows']['scheme4']['AP']['n'] == 1
    warnings = summary['warnings']
    assert 'scheme6_seed0_' in warnings[0] and 'is left out' in warnings[0]
    assert 'baseline_seed1_' in warnings[1] and 'is left out' in warnings[1]
    assert warnings[2:4] == [
        'seed 0: the runs did not begin with the same first weights',
        'scheme4, seed 0: its teacher had other weights than the one that was measured',
    ]
    assert len(warnings) == 6 and warnings[4].startswith('machines: ') and warnings[4].endswith('; another')
    assert warnings[5].startswith('versions: ') and 'torch 1.0' in warnings[5]
    runs['baseline', 0].unlink()
    changed_record(runs['baseline', 1], lambda record: record['sets']['dev'].update(labels=labels_of(plan, 'dev')))
    said = 'scheme4: of its seeds [0] it is compared with the baseline over []'
    assert said in write_report(plan, FAMILY, 'dev', resamples=10)['warnings']


def test_few_labels_are_not_expected_to_show_the_same_images(finished, copied, tmp_path):
    path = tmp_path / 'spec.yaml'
    schemes = dict(few=dict(config='student', images=4), more=dict(config='student', options={'load_from': 'a.pth'}))
    path.write_text(yaml.safe_dump(dict(_base_=str(SMOKE), schemes=schemes)))
    made = make_plan(path, budget=0.2, work_dir=str(finished / 'work'), results=str(copied))
    runs = {(run.scheme, run.seed): run for run in made.runs.values()}
    for scheme in schemes:
        record = read_record(made.record(runs['baseline', 0].name))
        record.update(scheme=scheme, hash=runs[scheme, 0].hash)
        record['start'].update(batches=scheme)
        write_record(record, made.record(runs[scheme, 0].name))
        summary = write_report(made, FAMILY, 'dev', resamples=10)
        said = [warning for warning in summary['warnings'] if 'the same images in their order' in warning]
        assert scheme in summary['rows'] and len(said) == (scheme == 'more')


def labels_of(plan, part):
    return plan.families[FAMILY].sets[part].digest()


def test_a_report_counts_the_images_that_it_leaves_out(finished, copied):
    options = dict(budget=0.2, schemes=SCHEMES, work_dir=str(finished / 'work'), results=str(copied))
    plan = make_plan(SMOKE, test=True, **options)
    family = plan.families[FAMILY]
    image = family.sets['test'].read()['images'][3]['id']
    everything = write_report(plan, FAMILY, 'test', resamples=10)
    family.left_out['test'] = [image]
    summary = write_report(plan, FAMILY, 'test', resamples=10)
    assert summary['left_out'] == [image] and summary['rows'] != everything['rows']
    for name in ('table.md', 'differences.md'):
        assert '11 images, without 1 whose photographs an earlier set' in (copied / 'test' / name).read_text()


def test_a_curve_of_another_evaluation_is_not_drawn(finished, copied, monkeypatch):
    drawn = {}
    monkeypatch.setattr(report, '_draw_curves', lambda curves, *args: drawn.update(curves))
    (file,) = (copied / 'runs').glob('*baseline_seed1*')
    changed_record(file, lambda record: record['start'].update(evaluation='other'))
    plan = make_plan(SMOKE, budget=0.2, work_dir=str(finished / 'work'), results=str(copied))
    write_report(plan, FAMILY, 'dev', resamples=10)
    assert list(drawn['baseline']) == [0] and list(drawn) == ['teacher', *SCHEMES]


def test_seeds_and_schemes_choose_what_is_run_not_what_is_reported(finished):
    options = dict(budget=0.2, work_dir=str(finished / 'work'), results=str(finished / 'results'))
    plan = make_plan(SMOKE, schemes=['scheme1'], seeds=[7], **options)
    names = [plan.runs[name] for name in plan.chosen]
    assert [(run.scheme, run.seed) for run in names] == [('baseline', 7), ('scheme1', 7)]
    rows = write_report(plan, FAMILY, 'dev', resamples=10)['rows']
    assert {scheme: row['AP']['n'] for scheme, row in rows.items()} == dict(baseline=2, scheme4=1, scheme6=1)


def test_finished_seeds_that_the_yaml_does_not_name_are_reported(spec, tmp_path):
    path = spec(seeds=[0])
    options = dict(schemes=['baseline'], results=str(tmp_path))
    run = runs_of(path, seeds=[4], **options)['baseline', 4]
    (tmp_path / 'runs').mkdir()
    (tmp_path / 'runs' / f'{run.name}.json').write_text('{}')
    plan = make_plan(path, **options)
    assert run.name in plan.runs and run.name not in plan.chosen


def test_what_decides_on_dev_alone_is_not_measured_on_the_test_set(spec):
    runs = runs_of(spec(trial=dict(config='stage1', dev_only=True, options={'model.temperature': 2.0})), test=True)
    assert {'dev', 'test'} <= set(runs['scheme4', 0].sets)
    assert 'dev_occluded' in runs['trial', 0].sets
    assert not {'test', 'test_occluded'} & set(runs['trial', 0].sets)


def test_a_family_may_train_on_occluded_views(spec):
    plain, occluded = (runs_of(spec(occluded_views=views))['scheme2', 0] for views in (False, True))
    assert plain.hash != occluded.hash and plain.sets['dev'] == occluded.sets['dev']
    seen, hidden = (
        [person['keypoints'][2::3].count(2) for person in run.sets['train'].read()['annotations']]
        for run in (plain, occluded)
    )
    assert len(seen) == len(hidden) and sum(seen) > sum(hidden)
    assert Path(occluded.cfg.train_dataloader.dataset.ann_file).parent.name == 'train_occluded'


def test_a_scheme_has_a_budget_of_its_own(spec):
    path = spec(longer=dict(config='stage2', student='scheme4', budget=3.0))
    epochs = {scheme: run.cfg.train_cfg.max_epochs for (scheme, _), run in runs_of(path).items()}
    assert epochs['longer'] == 3 * epochs['scheme6']
    runs_of(path, budget=0.1)  # an epoch each: the same run twice does no harm here


def test_a_scheme_goes_on_from_the_weights_of_another(spec, tmp_path):
    path = spec(longer=dict(config='student', start='baseline'), taught=dict(config='stage1', start='baseline'))
    runs = runs_of(path, seeds=[0], schemes=['longer', 'taught'])
    baseline = runs['baseline', 0]
    assert runs['longer', 0].needs == {'start': baseline.name} and runs['longer', 0].hash != baseline.hash
    assert set(runs['taught', 0].needs) == {'teacher', 'start'}
    assert plan.starts_from_others(runs['longer', 0]) and not plan.starts_from_others(baseline)
    files = {file.stem: Config.fromfile(file) for file in write_configs(path, tmp_path, schemes=['longer'])}
    assert files[f'{FAMILY}_longer'].load_from == f'work_dirs/{FAMILY}_baseline'
    with pytest.raises(UserError, match=r'schemes.longer.start is another scheme'):
        make_plan(spec(longer=dict(config='student', start='longer')))


def test_mmposes_own_distiller_runs_from_a_trained_student_and_from_a_record_are_measured_as_the_others(spec, tmp_path):
    hooks = [dict(type='SyncBuffersHook'), dict(type='ReliableRunHook'), dict(type='SafeSamplesHook')]
    dwpose = {'model.type': 'mmpose_tskd.lab.dwpose.DWPosePeer', 'custom_hooks': hooks}
    schemes = dict(
        dwpose=dict(config='stage1', options=dwpose),
        taught=dict(config='stage1', start='baseline', teacher_epoch=1),
        recorded=dict(config='stage2', student='baseline', record='teacher', record_flip_test=True),
    )
    path = spec(draw=dict(num_train=48, num_val=4), **schemes)
    run(tmp_path, tmp_path / 'results', list(schemes), path, seeds=[0], keep_checkpoints=True)
    found = by_scheme(tmp_path / 'results')
    assert found['dwpose', 0]['losses'].keys() == {'loss', 'loss_kpt', 'loss_fea', 'loss_logit'}
    assert found['dwpose', 0]['losses']['loss_fea'][0] > 0
    assert found['dwpose', 0]['start']['weights'] != found['baseline', 0]['start']['weights']  # its own names
    assert all('dev' in entry['sets'] for entry in found.values())
    assert found['taught', 0]['start']['start'] == found['baseline', 0]['weights']
    assert found['dwpose', 0]['start']['teacher'] == found['teacher', 0]['weights']
    assert found['taught', 0]['start']['teacher'] != found['teacher', 0]['weights']  # of its first epoch
    assert found['recorded', 0]['start']['record'] == found['teacher', 0]['weights']
    assert found['recorded', 0]['losses'].keys() == {'loss', 'loss_refine'}
    (record,) = tmp_path.glob('runs/*_teacher_seed0_*/record_flip_*.json')
    assert len(json.loads(record.read_text())['annotations']) > 48
    summary = json.loads((tmp_path / 'results.json').read_text())
    assert not any('its teacher had other weights' in warning for warning in summary['warnings'])
    (config,) = write_configs(path, tmp_path / 'configs', schemes=['taught'])[-1:]
    assert Config.fromfile(config).model.teacher_checkpoint == f'work_dirs/{FAMILY}_teacher/epoch_1.pth'


def test_a_schedule_is_stretched_over_the_budget():
    decay = dict(type='DistillWeightDecayHook', begin=50, end=None)
    schedulers = [
        dict(type='LinearLR', begin=0, end=500, by_epoch=False),
        dict(type='LinearLR', begin=0, end=10, by_epoch=True),
        dict(type='CosineAnnealingLR', begin=10, end=100, T_max=90, by_epoch=True),
        dict(type='MultiStepLR', milestones=[80, 95], begin=0, end=100, by_epoch=True),
    ]
    cfg = Config(dict(train_cfg=dict(max_epochs=100), param_scheduler=schedulers, custom_hooks=[decay]))
    scale_epochs(cfg, 1.0)
    assert cfg.to_dict()['param_scheduler'] == schedulers and cfg.train_cfg.max_epochs == 100
    scale_epochs(cfg, 0.2)
    warm_up, linear, cosine, steps = cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == 20 and warm_up == schedulers[0] and (linear.begin, linear.end) == (0, 2)
    assert (cosine.begin, cosine.end, cosine.T_max) == (2, 20, 18) and steps.milestones == [16, 19]
    assert cfg.custom_hooks[0] == {**decay, 'begin': 10}
    for begin, end, epochs, expected in ((6, None, 8, (0, None)), (0, 3, 10, (0, 1)), (4, 5, 20, (0, 1))):
        short = Config(
            dict(
                train_cfg=dict(max_epochs=epochs), param_scheduler=[], custom_hooks=[dict(decay, begin=begin, end=end)]
            )
        )
        scale_epochs(short, 0.1)
        assert (short.custom_hooks[0].begin, short.custom_hooks[0].end) == expected
    scale_epochs(cfg, 0.001)
    assert cfg.train_cfg.max_epochs == 1
