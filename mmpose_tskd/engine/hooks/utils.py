from typing import Any, Callable, ContextManager, Tuple

from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop


def unwrapped_model(runner) -> Any:
    """A runner's model, out of the wrapper of distributed training."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def within_training(runner, context: Callable[[], ContextManager]) -> None:
    """Lets a run train within a context, which ends with the training also where that fails: no hook is called then."""
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
    """Of the epoch that a run by epochs is in, as far as it is resumed: batches trained on, and batches it had then.

    It may have another number now, on another number of GPUs or after labels were mended. A checkpoint that does not
    say tells it by its iteration, if that can be.
    """
    length = len(runner.train_dataloader)
    start = runner.message_hub.runtime_info.get(EPOCH_START)
    if start is None:
        trained = runner.iter - runner.epoch * length
        return (trained if 0 < trained <= length else 0), length
    return (runner.iter - start['iter'] if start['epoch'] == runner.epoch else 0), start['batches']
