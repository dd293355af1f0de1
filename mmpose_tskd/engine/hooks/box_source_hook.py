from typing import Any

from mmengine.hooks import Hook
from mmpose.registry import HOOKS


@HOOKS.register_module()
class BoxSourceHook(Hook):
    """Says with each result where the people's boxes came from: a detector's file, or the labels.

    It moves AP by several points, so a number means little without it.
    """

    def after_val_epoch(self, runner, metrics=None) -> None:
        runner.logger.info(describe_boxes(runner.val_dataloader.dataset))

    def after_test_epoch(self, runner, metrics=None) -> None:
        runner.logger.info(describe_boxes(runner.test_dataloader.dataset))


def describe_boxes(dataset: Any) -> str:
    """One line on the source of a top-down dataset's boxes."""
    if getattr(dataset, 'bbox_file', None):
        return f'Boxes of the people: detected, {dataset.bbox_file}'
    return f'Boxes of the people: ground truth, {dataset.ann_file}'
