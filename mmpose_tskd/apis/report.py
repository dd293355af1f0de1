"""What a run leaves to look at: its log and training curves."""

import json
from io import BytesIO
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import matplotlib
from matplotlib.figure import Figure

from ..engine.atomic_backend import AtomicLocalBackend

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402


def read_scalars(folder: Path) -> List[dict]:
    """What MMEngine logged in a run's work folder, in order; a resumed run's later lines replace earlier ones."""
    entries: Dict[Tuple[bool, int], dict] = {}
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in path.read_text(errors='replace').splitlines():
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue  # half a line, of a run that was killed
            if isinstance(entry, dict) and isinstance(entry.get('step'), int):
                entries['loss' in entry, entry['step']] = entry
    return [entries[key] for key in sorted(entries)]


def training_seconds(folder: Path) -> Optional[float]:
    """Of a run's training steps, those before a stop included; without starts and validation. None of no log."""
    entries = [entry for entry in read_scalars(folder) if 'loss' in entry and 'time' in entry]
    steps = [0, *(entry['step'] for entry in entries)]
    each = [entry['time'] * (step - before) for entry, step, before in zip(entries, steps[1:], steps)]
    return round(sum(each), 1) if each else None


def last_checkpoint(folder: Path) -> Path:
    """Of those that a run has left, the one of its last epoch."""
    return max(folder.glob('epoch_*.pth'), key=lambda path: int(path.stem.split('_')[1]))


def draw_curves(folders: Dict[str, Path], path: Path) -> None:
    """AP over the epochs, the loss on the labels, and the distillation terms over the iterations.

    Args:
        folders: Work folders, by the title to show.
        path: The PNG to write.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4), layout='constrained')
    for name, folder in folders.items():
        entries = read_scalars(folder)
        evaluated = [(e['step'], 100 * e['coco/AP']) for e in entries if 'coco/AP' in e]
        if evaluated:
            left.plot(*zip(*evaluated), marker='o', label=name)
        labeled = [(e['step'], e['loss_kpt']) for e in entries if 'loss_kpt' in e]
        if labeled:
            middle.plot(*zip(*labeled), label=name)
        terms = sorted({key for e in entries for key in e if key.startswith('loss_') and key != 'loss_kpt'})
        for term in terms:
            values = [(e['step'], e[term]) for e in entries if term in e]
            right.plot(*zip(*values), label=f'{name}: {term}')
    left.set(xlabel='epoch', ylabel='AP', title='validation')
    left.xaxis.get_major_locator().set_params(integer=True)
    middle.set(xlabel='iteration', ylabel='loss_kpt', title='loss on the labels (L_KL)')
    right.set(xlabel='iteration', ylabel='value, times γ', title='distillation terms', yscale='log')
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    write_figure(figure, path, dpi=100)


def write_figure(figure: Figure, path: Path, dpi: int) -> None:
    """Writes a PNG that is whole or not there, and closes the figure."""
    content = BytesIO()
    figure.savefig(content, dpi=dpi)
    plt.close(figure)
    AtomicLocalBackend().put(content.getvalue(), path)
