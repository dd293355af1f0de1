"""What came of a distillation: one page, one JSON file, and the table on the console."""

import base64
import html
import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from ...engine.atomic_backend import AtomicLocalBackend
from ...evaluation.comparison import Comparison
from ..compare import compare_models
from ..complexity import errors_only, model_complexity
from ..environment import machine, versions, write_json
from ..export import latency_ms
from ..report import draw_curves, training_seconds
from . import configs
from .packing import pack_step
from .teacher import measure_record

TITLES = dict(teacher='teacher', plain_student='plain student', stage1='stage 1', stage2='with refiner')
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
COLUMNS = dict(
    AP='AP',
    interval='95 % interval',
    AP50='AP50',
    AR='AR',
    AP_hidden='AP hidden',
    AP_easy='easy',
    AP_medium='medium',
    AP_hard='hard',
    edge_error='limb error %',
    params_m='params M',
    gmacs='GMACs',
    train_s='train s',
)


def write_report(plan: Any, outcomes: Dict[str, Any], options: Dict[str, Any]) -> Dict[str, Any]:
    """Writes ``report.html`` and ``results.json``, and prints the table.

    Returns:
        What ``results.json`` holds: ``verdict``, ``rows`` by model (AP and the like in 0-100, None where there is
        nothing to measure; ``ap_low`` and ``ap_high``, a 95 % interval by a bootstrap over the images), ``gains``
        (differences of AP with their intervals), ``export``, ``commands``, ``notes``, ``settings``, ``versions``.
    """
    settings = plan.settings
    out = settings.out
    with errors_only(), redirect_stdout(StringIO()):  # COCO's tools print
        rows, people = _measure(plan)
    comparison = Comparison({name: {settings.seed: record} for name, record in people.items()})
    for name, row in rows.items():
        values = comparison.values[name][settings.seed]['AP']
        row.update(ap_low=round(float(np.percentile(values[1:], 2.5)), 2))
        row.update(ap_high=round(float(np.percentile(values[1:], 97.5)), 2))
    gains = _gains(plan, comparison)
    results = dict(
        verdict=_verdict(plan, rows, gains),
        rows=rows,
        gains=gains,
        export=_exported(plan),
        data=dict(
            people=settings.data.people,
            images=settings.data.num_images,
            keypoints=settings.data.skeleton.names,
            findings=[one._asdict() for one in settings.data.findings],
        ),
        notes=[*settings.data.notes, *plan.notes],
        commands=[dict(name=name, **outcome._asdict()) for name, outcome in outcomes.items()],
        settings=options,
        versions=versions(),
        machine=machine(),
    )
    results = json.loads(json.dumps(results))
    folders = {TITLES[name]: settings.run(name) for name in rows if settings.run(name).is_dir()}
    draw_curves(folders, out / 'curves.png')
    with errors_only(), redirect_stdout(StringIO()):  # COCO's tools print
        _compare(plan, list(rows))
    write_json(results, out / 'results.json')
    AtomicLocalBackend().put_text(_page(results, out), out / 'report.html')
    _print(results, out)
    return results


def _measure(plan: Any) -> Any:
    """The row of each model, and how each of its instances was found."""
    settings, rows, people = plan.settings, {}, {}
    tests = settings.out / 'tests'
    names = [name for name in TITLES if name in plan.epochs]
    if plan.teacher.is_given:
        names = ['teacher', *names]
        cfg = plan.configs['plain_student']
        record, file = str(settings.out / 'data' / 'record_val.json'), tests / 'teacher_people.json'
        measured = [
            measure_record(record, cfg, metric, settings.data.skeleton)
            for metric in (cfg.val_evaluator[0], dict(cfg.test_evaluator[-1], out_file=str(file)))
        ]
        write_json({f'coco/{key}': value for key, value in measured[0].items()}, tests / 'teacher.json')
    for name in names:
        metrics = json.loads((tests / f'{name}.json').read_text())
        people[name] = json.loads((tests / f'{name}_people.json').read_text())
        row: Dict[str, Any] = {key: _rounded(key, metrics.get(value)) for key, value in METRICS.items()}
        model = plan.teacher.model if name == 'teacher' else plan.configs[configs.DEPLOYED[name]].model
        size = None if model is None else model_complexity(model, configs.decoder(model['head'])['input_size'])
        row.update(params_m=None if size is None else round(size.params_m, 3))
        row.update(gmacs=None if size is None else round(size.gmacs, 3))
        row.update(train_s=training_seconds(settings.out / 'runs' / name))
        rows[name] = row
    return rows, people


def _rounded(key: str, value: Optional[float]) -> Optional[float]:
    """AP and AR in 0-100; None where there was nothing to measure, which the COCO tools give as -1."""
    if value is None or not value >= 0:
        return None
    return round(value if key == 'edge_error' else 100 * value, 3)


def _gains(plan: Any, comparison: Comparison) -> List[Dict[str, Any]]:
    """AP of each model over the one before, of the last over the first, and of the teacher over the first."""
    names = [name for name in ('plain_student', 'stage1', 'stage2') if name in comparison.values]
    pairs = list(zip(names[1:], names))
    pairs += [(names[-1], names[0])] if len(names) > 2 else []
    pairs += [('teacher', names[0])] if 'teacher' in comparison.values and not plan.teacher.unknown else []
    return [dict(of=of, over=over, **comparison.difference(of, over, 'AP')) for of, over in pairs]


def _verdict(plan: Any, rows: Dict[str, Any], gains: List[Dict[str, Any]]) -> str:
    """The first line of the report."""
    final, shown = plan.final, {name: f'{row["AP"]:.1f}' for name, row in rows.items()}
    known = {(gain['of'], gain['over']): gain for gain in gains}
    parts = []
    teacher, gain = rows.get('teacher'), known.get((final, 'plain_student'))
    if gain is None:
        parts.append(f'The distilled student has AP {shown[final]}. Without --compare there is no plain one beside it')
    else:
        interval = f'{gain["delta"]:+.1f} [{gain["ci_low"]:.1f}, {gain["ci_high"]:.1f}]'
        if gain['ci_low'] > 0:
            said = 'is ahead of the plain one'
        elif gain['delta'] > 0:
            said = 'is not clearly ahead of the plain one: the interval reaches to 0'
        else:
            said = 'is NOT ahead of the plain one'
        parts.append(
            f'The distilled student {said}: AP {shown[final]}, plain {shown["plain_student"]}, difference {interval}'
        )
        if 'stage1' in plan.configs and plan.configs['stage1'].model.get('init_from_teacher'):
            before = f', which was trained for {plan.epochs["teacher"]} epochs' if 'teacher' in plan.epochs else ''
            parts.append(
                f'The plain one was trained for {plan.epochs["plain_student"]} epochs, the distilled one for '
                f'{plan.epochs["stage1"]} from weights of the teacher{before}'
            )
    base = 'stage1' if 'stage1' in rows else 'plain_student'
    if final == 'stage2' and base in rows and rows[final]['AP'] <= rows[base]['AP']:
        command = pack_step(plan.settings, base).shown()
        parts.append(f'The refiner did not help: AP {shown[base]} without it. To pack the student alone: {command}')
    if teacher is not None and plan.teacher.unknown:
        taught = len(plan.settings.data.skeleton.names) - len(plan.teacher.unknown)
        parts.append(f'The teacher knows {taught} keypoints')
    elif teacher is not None:
        best = max((name for name in rows if name != 'teacher'), key=lambda name: rows[name]['AP'])
        other = 'plain_student' if 'plain_student' in rows else best
        if teacher['AP'] <= rows[other]['AP']:
            parts.append(
                f'The teacher is NOT ahead of the {TITLES[other]} (AP {shown["teacher"]}, {shown[other]}): it has '
                'little to teach'
            )
        else:
            parts.append(f'The teacher has AP {shown["teacher"]}')
    return '. '.join(parts) + '.'


def _exported(plan: Any) -> List[Dict[str, Any]]:
    """The ONNX files, their size and the time of an image."""
    folder = plan.settings.deploy(plan.final)
    return [
        dict(file=str(path), size_mb=round(path.stat().st_size / 1e6, 2), latency_ms=round(latency_ms(str(path)), 2))
        for path in sorted(folder.glob('*.onnx'))
    ]


def _compare(plan: Any, names: List[str]) -> None:
    """The page that shows what the models say, image by image."""
    out, columns = plan.settings.out, {}
    for name in ('plain_student', 'teacher', 'stage1', 'stage2'):
        if name in names and name in plan.epochs and name in ('plain_student', 'teacher', plan.final):
            checkpoint = plan.settings.run(name) / f'epoch_{plan.epochs[name]}.pth'
            columns[TITLES[name]] = [str(plan.settings.config(configs.DEPLOYED[name])), str(checkpoint)]
    data = plan.settings.data
    compare_models(columns, str(data.folder / 'val.json'), str(data.val_images), str(out / 'comparison'))


def _rows(results: Dict[str, Any]) -> Tuple[List[str], List[List[str]]]:
    """The table's titles and cells, without the columns that are empty for all models."""
    rows = [[TITLES[name], *_cells(row)] for name, row in results['rows'].items()]
    used = [k for k in range(1 + len(COLUMNS)) if any(row[k] for row in rows)]
    return [['', *COLUMNS.values()][k] for k in used], [[row[k] for k in used] for row in rows]


def _cells(row: Dict[str, Any]) -> List[str]:
    cells = []
    for key in COLUMNS:
        if key == 'interval':
            cells.append(f'{row["ap_low"]:.1f} to {row["ap_high"]:.1f}')
            continue
        digits = 3 if key == 'gmacs' else 0 if key == 'train_s' else 2
        cells.append('' if row[key] is None else f'{row[key]:.{digits}f}')
    return cells


def _print(results: Dict[str, Any], out: Path) -> None:
    table = Table(box=box.MARKDOWN)
    titles, rows = _rows(results)
    for title in titles:
        table.add_column(title, justify='right' if title else 'left')
    for row in rows:
        table.add_row(*row)
    text = StringIO()
    Console(file=text, width=160).print(table)
    AtomicLocalBackend().put_text(text.getvalue(), out / 'table.md')
    print(results['verdict'])
    Console(width=160).print(table)
    print(f'In {out}: report.html (open it in a browser), results.json, comparison/index.html')
    for file in results['export']:
        print(f'To ship: {file["file"]}, {file["size_mb"]} MB, {file["latency_ms"]} ms an image on one CPU thread')


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em; color: #222; }
h1 { font-size: 1.4em; } h2 { font-size: 1.1em; margin-top: 2em; border-bottom: 1px solid #ddd; }
.verdict { font-size: 1.15em; padding: .8em 1em; background: #eef4fb; border-left: 4px solid #1f77ff; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; } td, th { padding: .25em .7em; text-align: right; }
th { border-bottom: 1px solid #888; font-weight: 600; } td:first-child, th:first-child { text-align: left; }
tr:nth-child(even) { background: #f6f6f6; } img { max-width: 100%; }
code { display: block; font-size: .85em; overflow-wrap: anywhere; text-align: left; }
.warning { color: #a60; }
"""


def _page(results: Dict[str, Any], out: Path) -> str:
    said = html.escape
    gains = [
        [
            f'{TITLES[gain["of"]]} over {TITLES[gain["over"]]}',
            f'{gain["delta"]:+.2f}',
            f'{gain["ci_low"]:+.2f} to {gain["ci_high"]:+.2f}',
        ]
        for gain in results['gains']
    ]
    data = results['data']
    exported = [
        [Path(one['file']).name, f'{one["size_mb"]:.2f}', f'{one["latency_ms"]:.2f}'] for one in results['export']
    ]
    counts = [[split, f'{data["images"][split]:,}', f'{data["people"][split]:,}'] for split in ('train', 'val')]
    warnings = [f'{one["subject"]}: {one["message"]}' for one in data['findings'] if one['level'] == 'warning']
    parts = [
        f'<h1>Distillation, {said(out.name)}</h1><p class="verdict">{said(results["verdict"])}</p>',
        '<h2>Measured on the validation set</h2>',
        _table(*_rows(results)),
        '<p>AP and AR of COCO in 0 to 100, from the boxes of the labels, with flip test, of the last epoch. Intervals: '
        'bootstrap over the images; they do not tell how another seed would have come out. Train s: the training '
        'steps, without starts and validation.</p>',
        '<h2>What helped</h2>',
        _table(['', 'AP', '95 % interval'], gains),
        '<h2>What ships</h2>',
        _table(['file', 'MB', 'ms an image, one CPU thread'], exported),
        '<h2>Images</h2>',
        _image(out / 'comparison' / 'comparison.png'),
        "<p>Beneath an image: each instance's mean error, in percent of the square root of its box's area. More: "
        '<a href="comparison/index.html">comparison/index.html</a></p>',
        '<h2>Training</h2>',
        _image(out / 'curves.png'),
        '<h2>Data</h2>',
        _table(['', 'images', 'instances'], counts),
        *(f'<p class="warning">{said(text)}</p>' for text in warnings),
        f'<p>Keypoints: {said(", ".join(data["keypoints"]))}</p>',
        '<ul>' + ''.join(f'<li>{said(note)}</li>' for note in results['notes']) + '</ul>',
        '<h2>Commands that were run</h2>',
        _table(
            ['', 'seconds', 'command'],
            [
                [one['name'], f'{one["seconds"]:.0f}', f'<code>{said(one["command"])}</code>']
                for one in results['commands']
            ],
        ),
        f'<p>{said(", ".join(f"{key} {value}" for key, value in results["versions"].items()))}; '
        f'{said(results["machine"])}</p>',
    ]
    body = '\n'.join(parts)
    return f'<!doctype html>\n<meta charset="utf-8">\n<title>{said(out.name)}</title>\n<style>{STYLE}</style>\n{body}\n'


def _table(titles: List[str], rows: List[List[str]]) -> str:
    head = ''.join(f'<th>{title}</th>' for title in titles)
    body = ''.join('<tr>' + ''.join(f'<td>{cell}</td>' for cell in row) + '</tr>' for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _image(path: Path) -> str:
    return f'<img src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}" alt="{path.stem}">'
