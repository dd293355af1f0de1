"""How long a config trains."""

from typing import Any

from mmengine.config import Config


def scale_epochs(cfg: Config, factor: float) -> None:
    """Multiplies a config's epochs by a factor (to at least one) and stretches its schedules, and γ's, in place."""
    before = cfg.train_cfg.max_epochs
    epochs = cfg.train_cfg.max_epochs = max(1, round(before * factor))
    decays = [hook for hook in cfg.get('custom_hooks') or () if hook.get('type') == 'DistillWeightDecayHook']
    for scheduler in [*cfg.param_scheduler, *decays]:
        if scheduler.get('by_epoch', True):
            for key in ('begin', 'end', 'T_max', 'milestones'):
                if scheduler.get(key) is not None:
                    scheduler[key] = _stretched(scheduler[key], epochs / before)
    for decay in decays:  # so that at least one epoch distills
        if decay.get('by_epoch', True):
            if decay.get('begin'):
                decay.begin = min(decay.begin, epochs - 1)
            if decay.get('end') is not None:
                decay.end = max(decay.end, decay.get('begin', 0) + 1)


def _stretched(value: Any, factor: float) -> Any:
    return [_stretched(v, factor) for v in value] if isinstance(value, list) else round(value * factor)
