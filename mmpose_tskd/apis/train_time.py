import time

from mmengine.hooks import Hook


class TrainTimeHook(Hook):
    """Keeps how long a run has trained, without validation; a resumed run goes on counting."""

    priority = 'BELOW_NORMAL'  # before the checkpoint is written

    def before_train_epoch(self, runner) -> None:
        self.epoch_start = time.perf_counter()

    def after_train_epoch(self, runner) -> None:
        runner.message_hub.update_info('train_s', train_seconds(runner) + time.perf_counter() - self.epoch_start)


def train_seconds(runner) -> float:
    """Seconds of training up to the last epoch that is done, of a run with :class:`TrainTimeHook`."""
    return runner.message_hub.runtime_info.get('train_s', 0.0)
