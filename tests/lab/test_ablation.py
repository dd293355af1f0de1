import json
import os
import re
import subprocess
import sys
import time

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import REPO
from mmengine.config import Config

from mmpose_tskd.apis.budget import scale_epochs
from mmpose_tskd.errors import UserError
from mmpose_tskd.lab.ablation import make_plan, plan, run_ablation, write_report
from mmpose_tskd.lab.ablation.statistics import Comparison, _seed_shares
from mmpose_tskd.lab.ablation.worker import is_trained

SMOKE = REPO / 'configs' / 'ablation' / 'synthetic_crowd_smoke.yaml'
SCHEMES = ['baseline', 'scheme4', 'scheme6']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A place for plans, whose pictures are drawn once."""
    return tmp_path_factory.mktemp('ablation')


@pytest.fixture
def spec(folder):
    """``spec(scheme4=..., options=...)``: the smoke's YAML with few pictures, changed in places."""

    def write(draw=None, **changes):
        content = dict(_base_=str(SMOKE), results=str(folder / 'results'), work_dir=str(folder / 'work'))
        content['families'] = {'synthetic-crowd-96x64': dict(dev_pictures=2, draw=draw or dict(num_train=6, num_val=2))}
        for key in ('options', 'seeds', 'teacher_seed'):
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


@pytest.mark.parametrize('path', YAMLS, ids=lambda path: path.stem)
def test_every_yaml_names_configs_that_are_there(path):
    spec = plan._load_spec(path)
    for family in spec.families.values():
        for scheme in [plan.TEACHER, *(scheme.config for scheme in spec.schemes.values())]:
            cfg = plan._load_config(family[scheme])
            assert cfg.train_cfg.max_epochs > 1 and cfg.val_evaluator[0].type == 'CocoMetric'
        assert len({plan._load_config(family[role]).codec.input_size for role in plan.ROLES}) == 1


def test_a_family_that_is_measured_otherwise_is_refused(tmp_path):
    configs = {role: 'simcc/crowdpose/simcc_hrnet-w32_4xb32-210e_crowdpose-256x192.py' for role in plan.ROLES}
    with pytest.raises(UserError, match='families.crowd.teacher: crowdpose/.* is measured by CrowdPoseMetric'):
        plan._prepare('crowd', Config(configs), tmp_path, test=False)


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
    with pytest.raises(UserError, match='schemes.mine starts from a student: name the scheme'):
        make_plan(spec(mine=dict(config='stage2')))
    with pytest.raises(UserError, match='schemes.mine of .* trains exactly what scheme4 trains'):
        make_plan(spec(mine=dict(config='stage1')))
    with pytest.raises(UserError, match='--jobs must be 1 or more, not 0'):
        run_ablation(spec(), jobs=0)


# --- the machinery, by the command that a user types


def start(folder, *args, results='results', **options):
    command = [sys.executable, REPO / 'tools/lab/ablation.py', SMOKE, '--budget', '0.2', '--schemes', *SCHEMES]
    command += ['--jobs', '2', '--work-dir', folder, '--results', folder.parent / results, *args]
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES='', OMP_NUM_THREADS='1', PYTHONPATH=str(REPO))
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return subprocess.Popen(list(map(str, command)), env=environment, **pipes, **options)


def finish(folder, *args, **options):
    process = start(folder, *args, **options)
    said, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, said[-3000:]
    return said


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


def test_a_scheme_from_a_record_runs_no_teacher_and_each_record_is_a_run_of_its_own(spec):
    def scheme(file):
        teacher = {'_delete_': True, 'type': 'RecordedTeacher', 'file': file}
        options = {'model.teacher': teacher, 'model.teacher_checkpoint': None}
        return dict(config='stage2', student='scheme4', options=options)

    plan = make_plan(spec(one=scheme('one.json'), other=scheme('other.json')), seeds=[0], schemes=['one', 'other'])
    one, other = (next(run for run in plan.runs.values() if run.scheme == name) for name in ('one', 'other'))
    assert list(one.needs) == ['student'] and one.cfg.model.teacher.file == 'one.json'
    assert one.hash != other.hash


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """An ablation whose command was killed in the middle of a run, and then given again."""
    folder = tmp_path_factory.mktemp('smoke')
    work = folder / 'work'
    process = start(work, '--test')
    wait_for(work / 'runs', '*baseline_seed0*/epoch_1.pth', process)
    process.kill()
    process.communicate(timeout=120)  # until its runs, which share its output, have stopped by themselves
    said = finish(work, '--test')
    return folder, said


def test_a_run_is_trained_when_its_last_epoch_is_validated(spec, tmp_path):
    run = runs_of(spec(), schemes=['baseline'], budget=0.2)['baseline', 0]
    (tmp_path / 'epoch_2.pth').touch()
    assert not is_trained(run, tmp_path)
    log = tmp_path / '1' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('{"loss": 1.0, "step": 2}\n{"coco/AP": 0.1, "step": 1}\n')
    assert not is_trained(run, tmp_path)
    log.write_text(log.read_text() + '{"coco/AP": 0.2, "step": 2}\n')
    assert is_trained(run, tmp_path)


def test_killed_and_started_again_it_goes_on_and_finishes(finished):
    folder, said = finished
    assert re.search('7 runs, [0-6] finished before', said)
    (console,) = folder.glob('work/runs/*baseline_seed0*/console.log')
    text = console.read_text()
    assert 'resumed epoch: 1' in text and text.count('Epoch(train)  [1]') <= 1
    assert sorted(by_scheme(folder / 'results')) == sorted(
        [('teacher', 0), *((scheme, seed) for scheme in SCHEMES for seed in (0, 1))]
    )
    for record in by_scheme(folder / 'results').values():
        assert set(record['sets']) == {'dev', 'dev_occluded', 'test', 'test_occluded'}
        assert record['train_s'] > 0 and record['curve'] and record['losses']['loss'] and record['versions']['torch']
    assert not list(folder.rglob('.*.pth*')) and not list(folder.rglob('.*.json*'))  # no half-written file


def test_a_summary_tables_and_plots_are_left(finished):
    folder, _ = finished
    for part, name in (('test', 'results.json'), ('dev', 'results_dev.json')):
        summary = json.loads((folder / name).read_text())
        assert list(summary['rows']) == SCHEMES and summary['set'] == part and summary['warnings'] == []
        for metrics in summary['rows'].values():
            assert {'AP', 'AR', 'PCK', 'occluded_AP', 'occluded_AP_hidden', 'occluded_PCK_seen'} <= set(metrics)
            for entry in metrics.values():
                assert set(entry) == {'mean', 'std', 'n', 'delta', 'ci_low', 'ci_high'} and entry['n'] == 2
                assert entry['ci_low'] <= entry['ci_high'] and 0 <= entry['mean'] <= 100
        assert summary['rows']['baseline']['PCK']['delta'] == 0
        assert set(summary['teacher']['AP']) == {'mean', 'std', 'n'} and summary['teacher']['AP']['n'] == 1
        assert list(summary['differences']['AP']) == SCHEMES
        seeds = [
            record['sets'][part]['metrics']
            for key, record in by_scheme(folder / 'results').items()
            if key[0] == 'scheme4'
        ]
        values = [metrics['PCK'] for metrics in seeds]
        assert summary['rows']['scheme4']['PCK']['mean'] == pytest.approx(np.mean(values), abs=1e-3)
        assert summary['rows']['scheme4']['PCK']['std'] == pytest.approx(np.std(values, ddof=1), abs=1e-3)
        pairs = summary['differences']['AP']
        assert pairs['scheme6']['baseline']['delta'] == summary['rows']['scheme6']['AP']['delta']
        assert pairs['scheme6']['scheme4'] == {
            key: -pairs['scheme4']['scheme6'][other]
            for key, other in (('delta', 'delta'), ('ci_low', 'ci_high'), ('ci_high', 'ci_low'))
        }
        place = folder / 'results' / part
        *table, _, caption = (place / 'differences.md').read_text().splitlines()
        assert len(table) == 2 + len(SCHEMES) and caption.startswith('AP of the row less that of the column')
        assert pd.read_csv(place / 'table.csv').scheme.unique().tolist() == [*SCHEMES, 'teacher']
        *table, _, caption = (place / 'table.md').read_text().splitlines()
        assert len(table) == 2 + 4 and caption.startswith('In parentheses the paired difference to the baseline')
        assert r'\begin{tabular}' in (place / 'table.tex').read_text()
        for plot in ('gains', 'curves', 'joints', 'hidden'):
            assert cv2.imread(str(place / f'{plot}.png')).std() > 5
    assert summary['command'].endswith(
        'synthetic_crowd_smoke.yaml --schemes baseline scheme4 scheme6 --budget 0.2 --test'
    )
    assert str(folder) not in json.dumps(summary) + json.dumps(records(folder / 'results'))


def test_runs_of_a_seed_are_paired(finished):
    runs = by_scheme(finished[0] / 'results')
    start = {key: record['start'] for key, record in runs.items()}
    for seed in (0, 1):
        assert start['baseline', seed]['weights'] == start['scheme4', seed]['weights']
        assert len({start[scheme, seed]['batches'] for scheme in SCHEMES}) == 1
        assert start['scheme6', seed]['student'] == runs['scheme4', seed]['weights']
    assert start['baseline', 0]['weights'] != start['baseline', 1]['weights']
    assert start['baseline', 0]['batches'] != start['baseline', 1]['batches']
    assert len({start[scheme, seed]['teacher'] for scheme in SCHEMES[1:] for seed in (0, 1)}) == 1


def test_what_is_finished_is_not_run_again_and_what_is_missing_is(finished, tmp_path):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in (folder / 'results' / 'runs').glob('*.json')}
    # from the records alone: nothing is trained, the summary is the same
    summary = (folder / 'results.json').read_text()
    assert '7 runs, 7 finished before' in finish(tmp_path / 'work', '--test', results=folder / 'results')
    assert not (tmp_path / 'work' / 'runs').exists() and (folder / 'results.json').read_text() == summary
    # one is missing: it is trained, without the others
    (lost,) = (folder / 'results' / 'runs').glob('*baseline_seed0*')
    resumed = json.loads(lost.read_text())
    lost.unlink()
    said = finish(tmp_path / 'work', '--test', results=folder / 'results')
    assert '7 runs, 6 finished before' in said and len(list((tmp_path / 'work' / 'runs').iterdir())) == 1
    again = json.loads(lost.read_text())
    # stopped and resumed, or in one go, a run is the same
    for key in ('weights', 'start', 'epochs', 'sets', 'hash', 'curve'):
        assert again[key] == resumed[key]
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path for path in before if before[path] != after[path]} == {lost}


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
    """A record of pictures with one person of ten seen joints each; OKS passes the first ``num_found`` thresholds."""
    right = np.asarray(right)
    people = len(right)
    found = np.full(people, 1023) if num_found is None else (1 << np.asarray(num_found)) - 1
    matches = dict(pictures=list(range(people)), found=found.tolist(), ignored=[0] * people, positives=[1] * people)
    correct = np.stack([right, np.full(people, 10), np.zeros(people, int), np.zeros(people, int)], axis=1)
    metrics = dict(PCK=float(10 * right.mean()), PCK_hidden=None)
    return dict(pictures=people, metrics=metrics, matches={'': matches}, correct=correct.tolist())


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
    for row, delta in (('same', 0), ('better', 10)):  # one joint in ten more for everybody: no spread, as it is paired
        entry = stats[row]['PCK']
        assert (entry['n'], entry['delta'], entry['ci_low'], entry['ci_high']) == pytest.approx(
            (3, delta, delta, delta)
        )
    assert 'PCK_hidden' not in stats['better']
    assert Comparison(rows, resamples=200).difference('same', 'better', 'PCK')['ci_high'] == pytest.approx(-10)


def test_the_interval_of_one_seed_is_that_of_its_pictures():
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


def test_seeds_that_only_one_row_has_do_not_enter_the_difference():
    rows = {'baseline': {0: record_of([5] * 20), 1: record_of([9] * 20)}, 'other': {0: record_of([6] * 20)}}
    entry = Comparison(rows, resamples=50).against('baseline')['other']['PCK']
    assert (entry['n'], entry['delta']) == (1, 10)


def test_the_report_says_what_the_runs_do_not_have_in_common(finished, tmp_path):
    folder, _ = finished
    options = dict(budget=0.2, schemes=SCHEMES, work_dir=str(folder / 'work'), results=str(tmp_path / 'results'))
    plan = make_plan(SMOKE, **options)
    (tmp_path / 'results' / 'runs').mkdir(parents=True)
    for run in [plan.runs[name] for name in plan.chosen]:
        record = json.loads((folder / 'results' / 'runs' / f'{run.name}.json').read_text())
        if run.scheme == 'scheme4' and run.seed == 1:
            record['start'].update(weights='another', teacher='another')
            record.update(machine='another', versions=dict(torch='1.0'))
        if run.scheme == 'scheme6' and run.seed == 0:  # stopped before the twin was measured
            del record['sets']['dev_occluded']
        if run.scheme == 'scheme6' and run.seed == 1:
            record['sets']['dev']['labels'] = 'others'
        if (run.scheme, run.seed) != ('baseline', 0):
            plan.record(run.name).write_text(json.dumps(record))
    summary = write_report(plan, 'synthetic-crowd-96x64', 'dev', resamples=10)
    assert list(summary['rows']) == ['baseline', 'scheme4'] and summary['rows']['scheme4']['AP']['n'] == 2
    warnings = summary['warnings']
    for seed in (0, 1):
        assert f'scheme6_seed{seed}_' in warnings[seed] and 'is left out' in warnings[seed]
    assert warnings[2:5] == [
        'seed 1: the runs did not begin with the same first weights',
        'scheme4, seed 1: its teacher had other weights than the one that was measured',
        'scheme4: of its seeds [0, 1] it is compared with the baseline over [1]',
    ]
    assert len(warnings) == 7 and warnings[5].startswith('machines: ') and warnings[5].endswith('; another')
    assert warnings[6].startswith('versions: ') and 'torch 1.0' in warnings[6]


def test_seeds_and_schemes_choose_what_is_run_not_what_is_reported(finished):
    folder, _ = finished
    options = dict(budget=0.2, work_dir=str(folder / 'work'), results=str(folder / 'results'))
    plan = make_plan(SMOKE, schemes=['scheme1'], seeds=[7], **options)
    names = [plan.runs[name] for name in plan.chosen]
    assert [(run.scheme, run.seed) for run in names] == [('baseline', 7), ('scheme1', 7)]
    rows = write_report(plan, 'synthetic-crowd-96x64', 'dev', resamples=10)['rows']
    assert list(rows) == SCHEMES and all(row['AP']['n'] == 2 for row in rows.values())


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


def test_a_scheme_has_a_budget_of_its_own(spec):
    path = spec(longer=dict(config='stage2', student='scheme4', budget=3.0))
    epochs = {scheme: run.cfg.train_cfg.max_epochs for (scheme, _), run in runs_of(path).items()}
    assert epochs['longer'] == 3 * epochs['scheme6']
    runs_of(path, budget=0.1)  # an epoch each: the same run twice does no harm here


def test_a_schedule_is_stretched_over_the_budget():
    schedulers = [
        dict(type='LinearLR', begin=0, end=500, by_epoch=False),
        dict(type='LinearLR', begin=0, end=10, by_epoch=True),
        dict(type='CosineAnnealingLR', begin=10, end=100, T_max=90, by_epoch=True),
        dict(type='MultiStepLR', milestones=[80, 95], begin=0, end=100, by_epoch=True),
    ]
    cfg = Config(dict(train_cfg=dict(max_epochs=100), param_scheduler=schedulers))
    scale_epochs(cfg, 1.0)
    assert cfg.to_dict()['param_scheduler'] == schedulers and cfg.train_cfg.max_epochs == 100
    scale_epochs(cfg, 0.2)
    warm_up, linear, cosine, steps = cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == 20 and warm_up == schedulers[0] and (linear.begin, linear.end) == (0, 2)
    assert (cosine.begin, cosine.end, cosine.T_max) == (2, 20, 18) and steps.milestones == [16, 19]
    scale_epochs(cfg, 0.001)
    assert cfg.train_cfg.max_epochs == 1
