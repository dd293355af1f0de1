from typing import Any, Iterator

from mmengine.hooks import Hook
from mmpose.registry import HOOKS


@HOOKS.register_module()
class BoxSourceHook(Hook):
    """Says with each result where the instances' boxes came from: a detector's file, or the labels.

    It moves AP by several points, so a number means little without it.
    """

    def after_val_epoch(self, runner, metrics=None) -> None:
        runner.logger.info(describe_boxes(runner.val_dataloader.dataset))

    def after_test_epoch(self, runner, metrics=None) -> None:
        runner.logger.info(describe_boxes(runner.test_dataloader.dataset))


def describe_boxes(dataset: Any) -> str:
    """One line on the source of a top-down dataset's boxes, or of those that it is made of."""
    return f'Boxes of the instances: {"; ".join(_sources(dataset))}'


def _sources(dataset: Any) -> Iterator[str]:
    parts = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    if parts != [None]:
        for part in parts:
            yield from _sources(part)
    elif getattr(dataset, 'bbox_file', None):
        yield f'detected, {dataset.bbox_file}'
    else:
        yield f'ground truth, {dataset.ann_file}'
