from typing import Any, Optional, Sequence, Set

import torch
from mmengine.dist import get_rank
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator
from mmpose.registry import HOOKS
from torch.utils.data import DataLoader

from ...datasets.label_checks import check_labels, read_boxes_as_json
from ...datasets.safe_samples import SafeSamples, SeededSampler, check_damage, check_images, seed_cpu
from ...datasets.target_checks import check_targets
from ...errors import UserError, printable
from .utils import EPOCH_START, epoch_progress, unwrapped_model


@HOOKS.register_module()
class SafeSamplesHook(Hook):
    """Draws the same samples whether a run is resumed or not, and lets no damaged sample pass unnoticed.

    The augmentation of a sample depends only on the run's seed, the epoch and the sample's place in the epoch; what is
    random in a training step depends only on the seed, the iteration and the process. Stock workers are seeded when
    they start: a resumed run then sees other images, and without persistent workers each epoch sees the same ones. A
    run that was stopped within an epoch goes on after the last sample that it was trained on. If the epoch has another
    number of batches by now, the run begins it anew.

    Before the first sample, the hook checks three things: the labels, for what would spoil the run
    (:func:`check_labels`); that the images are there (:func:`check_images`; not those of the training with ``'skip'``);
    and that the pipelines, with those that a ``PipelineSwitchHook`` brings, fit the model (:func:`check_targets`). It
    checks the data for validation and testing alike.

    Args:
        damaged: What happens in training with a sample that cannot be read or transformed, or whose file is cut off:
            ``'stop'`` ends the run; ``'skip'`` takes another sample in its place and logs the file once. In validation
            and testing the run always ends, since a metric over the rest would not be comparable.
    """

    priority = 'VERY_HIGH'

    def __init__(self, damaged: str = 'stop'):
        if damaged not in ('stop', 'skip'):
            raise UserError(f'SafeSamplesHook.damaged is "stop" or "skip", not {damaged!r}')
        self.damaged = damaged
        read_boxes_as_json()  # the data sets are built after the hooks, and before any of them is called
        self.reported: Set[str] = set()
        self.trained = 0  # batches of the epoch that the run was trained on before it was resumed

    def before_train(self, runner: Runner) -> None:
        loop = runner.train_loop
        by_epoch = not isinstance(loop, IterBasedTrainLoop)
        later = [hook.switch_pipeline for hook in runner.hooks if hasattr(hook, 'switch_pipeline')]
        loader = _rebuilt(runner, 'train', loop.dataloader, skip=self.damaged == 'skip', later=later)
        if not len(loader):
            raise UserError(
                'train_dataloader gives no batch: with drop_last=True it needs at least batch_size samples for each '
                f'process, and the data set has {len(loader.dataset)}'  # type: ignore[arg-type]
            )
        if runner.val_loop is not None:
            self.before_val(runner)
        self.trained, length = epoch_progress(runner) if by_epoch else (0, 0)
        if self.trained and length != len(loader):
            runner.logger.warning(
                f'The run was stopped after {self.trained} of {length} batches of an epoch, which now has '
                f'{len(loader)}: it begins the epoch anew'
            )
            self.trained = 0
        batches: Any = loader.batch_sampler  # torch names its type without its attributes
        batches.sampler = SeededSampler(batches.sampler, runner.seed, self.trained * batches.batch_size)
        loop.dataloader = loader
        if not by_epoch:  # it already iterates over the old loader
            loop.dataloader_iterator = _InfiniteDataloaderIterator(loader)

    def before_train_epoch(self, runner: Runner) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            return
        start = dict(epoch=runner.epoch, iter=runner.iter - self.trained, batches=len(runner.train_dataloader))
        runner.message_hub.update_info(EPOCH_START, start)
        self.trained = 0

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None) -> None:
        for damage in check_damage(data_batch):
            if damage.file not in self.reported:
                self.reported.add(damage.file)
                runner.logger.warning(printable(f'{damage.file} cannot be used and is skipped ({damage.reason})'))
        torch.manual_seed(seed_cpu((runner.seed, runner.iter, get_rank())))

    def before_val(self, runner: Runner) -> None:
        runner.val_loop.dataloader = _rebuilt(runner, 'val', runner.val_dataloader, runner.val_evaluator)

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None) -> None:
        check_damage(data_batch)

    def before_test(self, runner: Runner) -> None:
        runner.test_loop.dataloader = _rebuilt(runner, 'test', runner.test_dataloader, runner.test_evaluator)

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None) -> None:
        check_damage(data_batch)


def _rebuilt(
    runner: Runner,
    phase: str,
    loader: DataLoader,
    evaluator: Optional[Evaluator] = None,
    skip: bool = False,
    later: Sequence[Sequence[dict]] = (),
) -> DataLoader:
    """A data loader like one of the runner's, over :class:`SafeSamples` of its data set, which is looked through."""
    if isinstance(loader.dataset, SafeSamples):
        return loader
    check_targets(loader.dataset, unwrapped_model(runner), later)
    cfg = runner.cfg[f'{phase}_dataloader']
    by_area = evaluator is not None and any(getattr(metric, 'use_area', False) for metric in evaluator.metrics)
    for line in check_labels(cfg.dataset, by_area):
        runner.logger.info(printable(line))
    if not skip:
        check_images(loader.dataset)
    return runner.build_dataloader(dict(cfg, dataset=SafeSamples(loader.dataset, skip)), seed=runner.seed)
