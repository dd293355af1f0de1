"""What came of an ablation: a summary, tables and plots, made from the records of its runs."""

from pathlib import Path
from typing import Any, Dict, List

import matplotlib
import numpy as np
import pandas as pd

from ...apis.environment import versions, write_json
from ...apis.report import write_figure
from ...evaluation.comparison import Comparison, Records
from .plan import RECORD, TEACHER, Plan, starts_from_others
from .worker import missing_sets, read_run

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402

BASELINE = 'baseline'
OCCLUDED = 'occluded_'  # before a metric of the occluded copy
INTERVAL = (
    'the 2.5th to the 97.5th percentile of a bootstrap over images and seeds, which is too narrow where seeds are '
    'few, and holds for this one teacher'
)
HEADINGS = {
    'AP': 'AP',
    'AP50': 'AP50',
    'AR': 'AR',
    'PCK': 'PCK',
    f'{OCCLUDED}AP': 'occluded AP',
    f'{OCCLUDED}AP_seen': 'of seen keypoints',
    f'{OCCLUDED}AP_hidden': 'of hidden keypoints',
    f'{OCCLUDED}PCK_hidden': 'PCK of hidden keypoints',
}


def write_report(plan: Plan, family: str, part: str, resamples: int = 1000) -> Dict[str, Any]:
    """Writes down the results of a family's finished runs on one set and its occluded copy.

    Beside the results folder NAME, it writes ``NAME.json`` for the test set, or ``NAME_dev.json`` for ``'dev'``; of
    several families, ``NAME_FAMILY.json`` and ``NAME_FAMILY_dev.json``. Inside it, in a folder for the set, it writes
    ``table.md``, ``table.csv`` (every metric), ``table.tex``, ``differences.md`` (each row's AP minus each other's),
    ``gains.png``, ``curves.png``, ``joints.png`` and ``hidden.png``.

    Args:
        plan: The ablation.
        family: One of its families.
        part: ``'dev'`` or ``'test'``.
        resamples: Of the bootstrap.

    Returns:
        The summary: ``rows`` by scheme and metric, see :class:`Comparison`; metrics of the occluded copy begin with
        ``occluded_``. ``teacher`` has the teacher's own, ``differences`` those of any two rows in AP, ``left_out`` the
        ids of the images that count in none of these (the plots by keypoint and by hidden share have all), ``warnings``
        what makes rows less comparable.
    """
    runs: Dict[str, Records] = {}
    curves: Dict[str, Dict[int, list]] = {}
    stale: List[str] = []
    for run in plan.runs.values():
        if run.family != family or part not in run.sets:
            continue
        record = read_run(run, plan.record(run.name))
        if record is None or part not in record['sets']:
            continue
        if missing_sets(run, record, [part, f'{part}_occluded']):
            stale.append(
                f'{run.name} was not measured so on these labels and their occluded copy, and is left out: run it'
            )
            continue
        runs.setdefault(run.scheme, {})[run.seed] = record
        if record['start']['evaluation'] == run.evaluation:
            curves.setdefault(run.scheme, {})[run.seed] = record['curve']
    if not runs:
        return {}
    ids = sorted(image['id'] for image in plan.families[family].sets[part].read()['images'])
    left_out = plan.families[family].left_out[part]
    students = [scheme for scheme in plan.schemes if scheme in runs]
    statistics: Dict[str, Dict[str, dict]] = {scheme: {} for scheme in runs}
    differences: Dict[str, Dict[str, Dict[str, dict]]] = {}
    for name, prefix in ((part, ''), (f'{part}_occluded', OCCLUDED)):
        measured = {
            scheme: {seed: record['sets'][name] for seed, record in records.items()} for scheme, records in runs.items()
        }
        comparison = Comparison(measured, resamples, left_out=np.searchsorted(ids, left_out).tolist())
        for scheme, metrics in comparison.against(BASELINE, alone=[TEACHER]).items():
            statistics[scheme].update({f'{prefix}{key}': entry for key, entry in metrics.items()})
        differences[f'{prefix}AP'] = {
            scheme: {other: comparison.difference(scheme, other, 'AP') for other in students} for scheme in students
        }
    rows = {scheme: statistics[scheme] for scheme in students}
    summary = dict(
        rows=rows,
        teacher=statistics.get(TEACHER),
        differences=differences,
        set=part,
        left_out=left_out,
        interval=INTERVAL,
        command=plan.command,
        runs={scheme: {seed: _origin(record) for seed, record in by.items()} for scheme, by in runs.items()},
        warnings=stale + _mismatches(runs, plan),
        versions=versions(),
    )
    stem = plan.results.name + (f'_{family}' if len(plan.families) > 1 else '') + ('' if part == 'test' else f'_{part}')
    write_json(summary, plan.results.parent / f'{stem}.json')
    folder = plan.results / (f'{family}_{part}' if len(plan.families) > 1 else part)
    folder.mkdir(parents=True, exist_ok=True)
    counted = f'{len(ids) - len(left_out)} images'
    if left_out:
        counted += f', without {len(left_out)} whose photographs an earlier set (train, dev) has'
    _write_tables({**rows, **({TEACHER: statistics[TEACHER]} if TEACHER in statistics else {})}, counted, folder)
    (folder / 'differences.md').write_text(
        _captioned(_differences_table(differences['AP']), f'AP of the row less that of the column, {counted}')
    )
    _draw_gains(rows, folder / 'gains.png')
    _draw_curves(curves, _colors(runs), folder / 'curves.png')
    _draw_joints(runs, part, folder / 'joints.png')
    _draw_hidden(runs, f'{part}_occluded', folder / 'hidden.png')
    return summary


def _origin(record: dict) -> dict:
    """What tells a run from others, in short."""
    keys = ('hash', 'weights', 'start', 'epochs', 'train_s', 'versions', 'machine')
    return {key: record[key] for key in keys}


def _mismatches(runs: Dict[str, Records], plan: Plan) -> List[str]:
    """What runs that are compared do not have in common, though they should."""
    warnings = []
    records = [record for by_seed in runs.values() for record in by_seed.values()]
    students = [record for record in records if record['scheme'] != TEACHER]
    own_images = {run.scheme for run in plan.runs.values() if run.images is not None}
    given = {run.scheme for run in plan.runs.values() if starts_from_others(run)}
    for what, group, key in (
        ('first weights', [record for record in students if record['scheme'] not in given], 'weights'),
        ('images in their order', [record for record in students if record['scheme'] not in own_images], 'batches'),
    ):
        for seed in sorted({record['seed'] for record in group}):
            if len({record['start'][key] for record in group if record['seed'] == seed}) > 1:
                warnings.append(f'seed {seed}: the runs did not begin with the same {what}')
    measured = {RECORD.format(**record): record['weights'] for record in records}
    early = {run.name for run in plan.runs.values() if run.teacher_epoch is not None}
    for record in students:
        for role, name in record['needs'].items():
            if role == TEACHER and RECORD.format(**record) in early:
                continue
            if name in measured and record['start'][role] != measured[name]:
                run = f'{record["scheme"]}, seed {record["seed"]}'
                warnings.append(f'{run}: its {role} had other weights than the one that was measured')
    seeds = {scheme: sorted(by_seed) for scheme, by_seed in runs.items() if scheme != TEACHER}
    for scheme, known in seeds.items():
        common = sorted(set(known) & set(seeds.get(BASELINE, [])))
        if common != known:
            warnings.append(f'{scheme}: of its seeds {known} it is compared with the baseline over {common}')
    for what, values in (
        ('machines', {record['machine'] for record in records}),
        ('versions', {', '.join(f'{k} {v}' for k, v in record['versions'].items()) for record in records}),
    ):
        if len(values) > 1:
            warnings.append(f'{what}: ' + '; '.join(sorted(values)))
    return warnings


def _write_tables(rows: Dict[str, Dict[str, dict]], counted: str, folder: Path) -> None:
    entries = [
        dict(scheme=scheme, metric=name, **entry) for scheme, metrics in rows.items() for name, entry in metrics.items()
    ]
    pd.DataFrame(entries).to_csv(folder / 'table.csv', index=False)
    text = pd.DataFrame(
        {
            'seeds': {scheme: max(entry['n'] for entry in metrics.values()) for scheme, metrics in rows.items()},
            **{
                heading: {scheme: _cell(metrics.get(name), scheme) for scheme, metrics in rows.items()}
                for name, heading in HEADINGS.items()
                if any(name in metrics for metrics in rows.values())
            },
        }
    )
    (folder / 'table.md').write_text(
        _captioned(text.to_markdown(), f'{counted}. In parentheses the paired difference to the baseline')
    )
    escaped = text.rename(index=lambda name: name.replace('_', r'\_')).replace('±', r'$\\pm$', regex=True)
    (folder / 'table.tex').write_text(escaped.to_latex())


def _differences_table(differences: Dict[str, Dict[str, dict]]) -> str:
    """Each row's scheme minus each column's."""
    cells = {
        other: {
            scheme: _difference(by_other[other]) if other != scheme else '' for scheme, by_other in differences.items()
        }
        for other in differences
    }
    return pd.DataFrame(cells).to_markdown()


def _captioned(table: str, caption: str) -> str:
    return f'{table}\n\n{caption}; in brackets {INTERVAL}.\n'


def _difference(entry: Dict[str, float]) -> str:
    return '{delta:+.1f} [{ci_low:+.1f}, {ci_high:+.1f}]'.format(**entry) if entry else 'n/a'


def _cell(entry: Any, scheme: str) -> str:
    """Mean ± standard deviation, and the difference to the baseline with its interval."""
    if entry is None:
        return 'n/a'
    text = f'{entry["mean"]:.1f}' + ('' if entry['std'] is None else f' ± {entry["std"]:.1f}')
    if 'delta' in entry and scheme not in (BASELINE, TEACHER):
        text += f' ({_difference(entry)})'
    return text


def _colors(runs: Dict[str, Records]) -> Dict[str, Any]:
    """One for each scheme, up to twenty."""
    colors = plt.get_cmap('tab10' if len(runs) <= 10 else 'tab20')
    return {scheme: colors(i % colors.N) for i, scheme in enumerate(runs)}


def _draw_gains(rows: Dict[str, Dict[str, dict]], path: Path) -> None:
    wanted = ('AP', f'{OCCLUDED}AP', f'{OCCLUDED}AP_hidden')
    shown = [name for name in wanted if all(name in row for row in rows.values())]
    compared = {scheme: row for scheme, row in rows.items() if scheme != BASELINE and 'delta' in row.get('AP', {})}
    figure, axes = plt.subplots(figsize=(9, 1 + 0.6 * max(1, len(compared))), layout='constrained')
    width = 0.8 / max(1, len(shown))
    for i, name in enumerate(shown):
        entries = [row[name] for row in compared.values()]
        ends = np.array([[entry['ci_low'], entry['ci_high']] for entry in entries]).reshape(-1, 2)
        places = np.arange(len(entries)) + (i - (len(shown) - 1) / 2) * width
        axes.barh(places, [entry['delta'] for entry in entries], width, label=HEADINGS[name])
        axes.errorbar(ends.mean(axis=1), places, xerr=np.ptp(ends, axis=1) / 2, fmt='none', ecolor='black', capsize=3)
    axes.axvline(0, color='black', linewidth=0.8)
    axes.set_yticks(range(len(compared)), [f'{scheme} (seeds: {row["AP"]["n"]})' for scheme, row in compared.items()])
    axes.invert_yaxis()
    axes.set(xlabel='difference to the baseline, with its interval: a bootstrap over images and seeds')
    axes.grid(alpha=0.3, axis='x')
    axes.legend()
    write_figure(figure, path, dpi=100)


def _draw_curves(curves: Dict[str, Dict[int, list]], colors: Dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 4.5), layout='constrained')
    for scheme, by_seed in curves.items():
        values = pd.DataFrame({seed: dict(curve) for seed, curve in by_seed.items()}).sort_index()
        axes.plot(values.index, values.mean(axis=1), marker='.', label=scheme, color=colors[scheme])
        axes.fill_between(values.index, values.min(axis=1), values.max(axis=1), alpha=0.15, color=colors[scheme])
    axes.set(xlabel='epoch', ylabel='AP on dev', title='mean of the seeds, and from the lowest to the highest')
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    write_figure(figure, path, dpi=100)


def _draw_joints(runs: Dict[str, Records], part: str, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(9, 4.5), layout='constrained')
    colors = _colors(runs)
    for scheme, records in runs.items():
        joints = [record['sets'][part]['joints'] for record in records.values()]
        names = list(joints[0])
        errors = [np.mean([one[name]['error'] or np.nan for one in joints]) for name in names]
        axes.plot(names, errors, marker='.', label=scheme, color=colors[scheme])
    axes.tick_params(axis='x', rotation=60)
    axes.set(ylabel='mean error, % of the box')
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    write_figure(figure, path, dpi=100)


def _draw_hidden(runs: Dict[str, Records], occluded: str, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 4.5), layout='constrained')
    colors = _colors(runs)
    for scheme, records in runs.items():
        by_seed = [record['sets'][occluded]['hidden_shares'] for record in records.values()]
        groups = [i for i, group in enumerate(by_seed[0]) if group['people']]
        values = np.array([[shares[i]['AP'] for i in groups] for shares in by_seed])
        spread = values.std(axis=0, ddof=1) if len(values) > 1 else None
        style = dict(marker='o', capsize=3, label=scheme, color=colors[scheme])
        axes.errorbar(range(len(groups)), values.mean(axis=0), yerr=spread, **style)
    shown = [by_seed[0][i] for i in groups]
    labels = [
        ('none' if group['up_to'] == 0 else f'up to {100 * group["up_to"]:.0f} %') + f'\n{group["people"]} instances'
        for group in shown
    ]
    axes.set_xticks(range(len(labels)), labels)
    axes.set(xlabel="share of an instance's keypoints that is hidden", ylabel='AP on the occluded copy')
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    write_figure(figure, path, dpi=100)
