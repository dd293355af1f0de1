"""How many images a second the training data come at, and which transform takes how long."""

import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpose.registry import DATASETS

from ...apis.environment import write_json
from ...datasets import generate_synthetic_crowd
from ...errors import UserError
from ...paths import load_config
from ...poses import load_skeleton
from .measuring import print_rows, versions_and_machine
from .networks import STAGE1


def benchmark_data(
    config: str = STAGE1,
    own_data: bool = False,
    people: int = 400,
    workers: Sequence[int] = (0, os.cpu_count() or 1),
    seed: int = 0,
    out: Optional[str] = None,
) -> Dict[str, Any]:
    """Times a config's training pipeline, transform by transform, and its data loader.

    Args:
        config: The config.
        own_data: Take the config's own data set; else images of the synthetic crowd, drawn for the purpose.
        people: How many instances to load at most; for each, its image is read.
        workers: Numbers of processes of the data loader; 0 loads in the process that trains.
        seed: Of what is drawn, and of the augmentation.
        out: A JSON file to write as well.

    Returns:
        What the file holds: ``transforms_ms`` an instance, by transform; ``loader``, instances a second by the number
        of processes; and what it was measured with.

    Raises:
        UserError: The config is missing, has no training data, or its keypoints are not those of the drawn images.
    """
    init_default_scope('mmpose')
    cfg = load_config(config)
    if 'train_dataloader' not in cfg:
        raise UserError(f'{config} has no train_dataloader: it is a part of other configs')
    with ExitStack() as stack:
        if not own_data:
            _draw(cfg, config, people, seed, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        np.random.seed(seed)
        dataset: Any = DATASETS.build({**cfg.train_dataloader.dataset, 'indices': people})
        batch_size = cfg.train_dataloader.batch_size
        if len(dataset) < 3 * batch_size:
            raise UserError(
                f'{len(dataset)} instances are too few to time batches of {batch_size} of them: give --people '
                f'{3 * batch_size} or more, or a smaller train_dataloader.batch_size'
            )
        times = _transform_times(dataset)
        rates = {str(count): _loader_rate(cfg, dataset, count, seed) for count in workers}
    pipeline_ms = sum(times.values())
    rows: List[Dict[str, Any]] = [{'transform': name, 'ms': value} for name, value in times.items()]
    print_rows('an instance', [*rows, {'transform': 'all of them', 'ms': pipeline_ms}])
    print_rows('data loader', [{'processes': name, 'people/s': rate} for name, rate in rates.items()])
    result = dict(
        transforms_ms=times,
        pipeline_people_per_s=1000 / pipeline_ms,
        loader=rates,
        people=len(dataset),
        config=Path(config).stem,
        data='its own' if own_data else 'synthetic crowd',
        batch_size=batch_size,
        seed=seed,
        **versions_and_machine(),
    )
    write_json(result, out)
    return result


def _draw(cfg: Config, config: str, people: int, seed: int, folder: Path) -> None:
    """Draws the synthetic crowd, which has more than one instance an image, and lets the config read it."""
    dataset = cfg.train_dataloader.dataset
    if load_skeleton(dataset.type).names != load_skeleton('CocoDataset').names:
        raise UserError(f"the images that are drawn have COCO's keypoints, {config} has others: add --own-data")
    generate_synthetic_crowd(folder, num_train=people, num_val=1, seed=seed)
    labels = 'annotations/synthetic_crowd_train.json'
    dataset.update(type='CocoDataset', data_root=str(folder), ann_file=labels, data_prefix=dict(img='images/'))


def _transform_times(dataset: Any) -> Dict[str, float]:
    """Milliseconds an instance, by transform."""
    times = {type(transform).__name__: 0.0 for transform in dataset.pipeline.transforms}
    for i in range(len(dataset)):
        sample = dataset.get_data_info(i)
        for transform in dataset.pipeline.transforms:
            start = time.perf_counter()
            sample = transform(sample)
            times[type(transform).__name__] += time.perf_counter() - start
    return {name: 1000 * value / len(dataset) for name, value in times.items()}


def _loader_rate(cfg: Config, dataset: Any, workers: int, seed: int) -> float:
    """Instances a second, from the second batch on: the first one waits for the processes to start."""
    loader = {**cfg.train_dataloader, 'dataset': dataset, 'num_workers': workers, 'persistent_workers': False}
    batches = iter(Runner.build_dataloader(loader, seed=seed))
    next(batches)
    start = time.perf_counter()
    count = sum(len(batch['inputs']) for batch in batches)
    return count / (time.perf_counter() - start)
