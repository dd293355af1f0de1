from typing import Any

from mmengine.model import is_model_wrapper


def unwrapped_model(runner) -> Any:
    """A runner's model, out of the wrapper of distributed training."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
