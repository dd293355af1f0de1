from typing import Any, Callable, ContextManager, Tuple

from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop


def unwrapped_model(runner) -> Any:
    """A runner's model, out of the wrapper of distributed training."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def within_training(runner, context: Callable[[], ContextManager]) -> None:
    """Makes a run train within a context, which ends even if the training fails; MMEngine calls no hook then."""
    loop = runner._train_loop
    if not isinstance(loop, BaseLoop):  # in testing
        return
    run = loop.run

    def run_within() -> Any:
        with context():
            return run()

    loop.run = run_within


EPOCH_START = 'epoch_start'  # in the message hub: the epoch, the iteration it began at, and its number of batches


def epoch_progress(runner) -> Tuple[int, int]:
    """The progress of a resumed run within its epoch: the batches trained on, and the epoch's batches in the saved run.

    The epoch may have another number of batches now: on another number of GPUs, or after the labels were changed. For a
    checkpoint that lacks these numbers, the first follows from the iteration; it is 0 if that does not fit.
    """
    length = len(runner.train_dataloader)
    start = runner.message_hub.runtime_info.get(EPOCH_START)
    if start is None:
        trained = runner.iter - runner.epoch * length
        return (trained if 0 < trained <= length else 0), length
    return (runner.iter - start['iter'] if start['epoch'] == runner.epoch else 0), start['batches']
