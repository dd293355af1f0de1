"""What a run leaves to look at: a table and training curves."""

import json
from pathlib import Path
from typing import Dict, List, Tuple

import matplotlib
from rich import box
from rich.console import Console
from rich.table import Table

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402

COLUMNS = dict(
    AP='AP',
    AP50='AP50',
    AR='AR',
    AP_hidden='AP hidden',
    AP_easy='easy',
    AP_medium='medium',
    AP_hard='hard',
    edge_error='edge error %',
    params_m='params M',
    gmacs='GMACs',
    train_s='train s',
)
TITLES = dict(teacher='teacher', baseline='baseline (plain student)', stage1='stage 1', stage2='stage 1 + 2 (IGP-GCN)')


def print_table(results: dict, path: Path) -> None:
    """Prints the rows of ``results.json`` and writes the same as Markdown to ``path``."""
    table = Table(box=box.MARKDOWN)
    table.add_column('')
    for title in COLUMNS.values():
        table.add_column(title, justify='right')
    for name, row in results['rows'].items():
        cells = []
        for key in COLUMNS:
            digits = 3 if key == 'gmacs' else 0 if key == 'train_s' else 2
            cells.append('n/a' if row[key] is None else f'{row[key]:.{digits}f}')
        table.add_row(TITLES[name], *cells)
    Console(width=140).print(table)
    with path.open('w') as file:
        Console(file=file, width=140).print(table)


def read_scalars(folder: Path) -> List[dict]:
    """What MMEngine logged in a run's work folder, in order; a resumed run's later lines replace earlier ones."""
    entries: Dict[Tuple[bool, int], dict] = {}
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # half a line, of a run that was killed
            entries['loss' in entry, entry['step']] = entry
    return [entries[key] for key in sorted(entries)]


def last_checkpoint(folder: Path) -> Path:
    """Of those that a run has left, the one of its last epoch."""
    return max(folder.glob('epoch_*.pth'), key=lambda path: int(path.stem.split('_')[1]))


def draw_curves(folders: Dict[str, Path], path: Path) -> None:
    """AP over the epochs, the loss on the labels, and the terms of stage 1 and 2 over the iterations."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4), layout='constrained')
    for name, folder in folders.items():
        entries = read_scalars(folder)
        evaluated = [(e['step'], 100 * e['coco/AP']) for e in entries if 'coco/AP' in e]
        left.plot(*zip(*evaluated), marker='o', label=TITLES[name])
        labelled = [(e['step'], e['loss_kpt']) for e in entries if 'loss_kpt' in e]
        if labelled:
            middle.plot(*zip(*labelled), label=TITLES[name])
        terms = sorted({key for e in entries for key in e if key.startswith('loss_') and key != 'loss_kpt'})
        for term in terms:
            values = [(e['step'], e[term]) for e in entries if term in e]
            right.plot(*zip(*values), label=f'{TITLES[name].split(" (")[0]}: {term}')
    left.set(xlabel='epoch', ylabel='AP', title='validation')
    middle.set(xlabel='iteration', ylabel='loss_kpt', title='loss on the labels (L_KL)')
    right.set(xlabel='iteration', ylabel='value, times γ', title='distillation terms', yscale='log')
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)
