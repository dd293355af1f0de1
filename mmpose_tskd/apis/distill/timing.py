"""How long a distillation will take, from a few steps of each network."""

import itertools
import time
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from mmpose.registry import MODELS

STEPS = 3


def estimate(plan: Any) -> str:
    """A table in text: steps, seconds a step and minutes of each training, and what is left to add."""
    lines, total = ['Estimate, of a few measured steps:'], 0.0
    for name, epochs in plan.epochs.items():
        cfg = plan.configs[name]
        people = plan.settings.data.people['train']
        batch = cfg.train_dataloader.batch_size * plan.settings.gpus
        steps, seconds = epochs * (people // batch), step_seconds(cfg, is_frozen=name == 'stage2')
        total += steps * seconds
        lines.append(
            f'  {name}: {epochs} epochs, {steps:,} steps of {seconds:.2f} s: {steps * seconds / 60:.1f} minutes'
        )
    lines.append(f'  in all {total / 60:.1f} minutes, and about a fifth more for validation, tests and starts')
    return '\n'.join(lines)


def step_seconds(cfg: Config, is_frozen: bool = False) -> float:
    """Seconds of a training step of a config's student on its own images, after one that does not count."""
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    loader = dict(cfg.train_dataloader, num_workers=0, persistent_workers=False)
    if loader['dataset']['type'] == 'CombinedDataset':
        loader['dataset'] = dict(loader['dataset'], datasets=loader['dataset']['datasets'][:1])
    batches = Runner.build_dataloader(loader, seed=0)
    MessageHub.get_current_instance().update_info('dataset_meta', batches.dataset.metainfo)  # as a Runner does
    model = MODELS.build(dict(plain(cfg.model))).to(device).train()
    for module in (model.backbone, getattr(model.head, 'base_head', None)) if is_frozen else ():
        if module is not None:
            module.requires_grad_(False)
    begin, done = time.perf_counter(), 0
    for batch in itertools.islice(batches, STEPS + 1):
        prepared = model.data_preprocessor(batch, True)
        with torch.autocast(device.type, torch.bfloat16, enabled='BF16' in cfg.optim_wrapper.get('type', '')):
            losses = model.loss(prepared['inputs'], prepared['data_samples'])
        loss, _ = model.parse_losses(losses)
        loss.backward()
        done += 1
        if done == 1:
            begin = time.perf_counter()
    if device.type == 'cuda':
        torch.cuda.synchronize()
    return (time.perf_counter() - begin) / max(done - 1, 1)


def plain(model: Any) -> Any:
    """The plain estimator of a distiller's config, from random weights."""
    from ..complexity import plain_student

    student = plain_student(model)
    student['backbone'] = dict(student['backbone'], init_cfg=None)
    return student
