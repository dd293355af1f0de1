"""The whole method in minutes, on data that are drawn: :func:`distill` on the synthetic crowd."""

from pathlib import Path
from typing import Optional, Union

from ..datasets import generate_synthetic_crowd
from .distill import distill

EPOCHS = (8, 3, 2)  # of teacher, student and refiner


def run_quickstart(
    data_root: Optional[str] = None,
    work_dir: Union[str, Path] = 'work_dirs/quickstart',
    seed: int = 0,
    budget: float = 1.0,
) -> Optional[dict]:
    """Draws the synthetic crowd and distills on it, with a plain student beside, see :func:`distill`.

    Args:
        data_root: The folder to draw into; by default in ``work_dir``.
        work_dir: The folder to write to.
        seed: Of the training runs. The data are the same for every seed.
        budget: A factor on the epochs of every run; each has at least one.

    Returns:
        What ``results.json`` holds.

    Raises:
        UserError: An argument is out of range, or ``work_dir`` holds a run with other settings.
    """
    root = generate_synthetic_crowd(data_root or Path(work_dir) / 'data' / 'synthetic_crowd')
    labels = [str(root / 'annotations' / f'synthetic_crowd_{split}.json') for split in ('train', 'val')]
    images = str(root / 'images')
    return distill(labels, images, str(work_dir), compare=True, epochs=EPOCHS, budget=budget, seed=seed)
