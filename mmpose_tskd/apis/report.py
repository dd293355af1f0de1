"""What a run leaves to look at: a table, training curves, and predictions drawn on pictures."""

import json
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import cv2
import matplotlib
import mmcv
import numpy as np
from mmengine.structures import InstanceData
from mmpose.apis import inference_topdown, init_model
from mmpose.structures import PoseDataSample, merge_data_samples
from mmpose.visualization import PoseLocalVisualizer
from rich import box
from rich.console import Console
from rich.table import Table
from xtcocotools.coco import COCO

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


def _choose_pictures(coco: COCO, count: int) -> List[int]:
    """Pictures of two and more people, from the least crowded to the most, evenly spaced: not picked by result."""
    several = [i for i in coco.getImgIds() if len(coco.getAnnIds(i)) > 1] or coco.getImgIds()
    several.sort(key=lambda i: (coco.imgs[i].get('crowdIndex', 0), i))
    return [several[int(i)] for i in np.linspace(0, len(several) - 1, min(count, len(several)))]


def _truth(annotations: Sequence[dict]) -> PoseDataSample:
    keypoints = np.array([a['keypoints'] for a in annotations], dtype=np.float32).reshape(len(annotations), -1, 3)
    labelled = (keypoints[..., 2] > 0).astype(np.float32)
    instances = InstanceData(keypoints=keypoints[..., :2], keypoint_scores=labelled, keypoints_visible=labelled)
    sample = PoseDataSample()
    sample.pred_instances = instances
    return sample


def draw_comparison(
    baseline: Sequence[Path], ours: Sequence[Path], ann_file: Path, image_folder: Path, path: Path, count: int = 4
) -> None:
    """Draws the labels, the baseline's poses and ours side by side, from the ground truth's boxes.

    Args:
        baseline, ours: A config and a checkpoint each.
        ann_file: The labels, in COCO format.
        image_folder: Where the pictures lie.
        path: The PNG to write.
        count: Pictures.
    """
    coco = COCO(str(ann_file))
    files = dict(baseline=baseline, ours=ours)
    models = {name: init_model(str(config), str(weights), device='cpu') for name, (config, weights) in files.items()}
    visualizer = PoseLocalVisualizer(radius=2, line_width=1)
    visualizer.set_dataset_meta(models['ours'].dataset_meta, skeleton_style='mmpose')
    rows = []
    for image_id in _choose_pictures(coco, count):
        picture = mmcv.imread(str(image_folder / coco.imgs[image_id]['file_name']))
        annotations = coco.loadAnns(coco.getAnnIds(image_id))
        boxes = np.array([a['bbox'] for a in annotations], dtype=np.float32)
        samples = [_truth(annotations)]
        for model in models.values():
            samples.append(merge_data_samples(inference_topdown(model, picture, boxes, bbox_format='xywh')))
        rgb = mmcv.bgr2rgb(picture)
        rows.append(np.hstack([visualizer.add_datasample('', rgb, s, draw_gt=False, kpt_thr=0.005) for s in samples]))
    width = min(row.shape[1] for row in rows)
    rows = [cv2.resize(row, (width, round(row.shape[0] * width / row.shape[1]))) for row in rows]
    sheet = np.vstack(rows)
    figure, axes = plt.subplots(figsize=(10, 10 * sheet.shape[0] / sheet.shape[1] + 0.4), layout='constrained')
    axes.imshow(sheet)
    axes.set_xticks([(i + 0.5) * width / 3 for i in range(3)], ['truth', 'baseline', 'ours (stage 1 + 2)'], fontsize=14)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_yticks([])
    figure.savefig(path, dpi=80)
    plt.close(figure)
