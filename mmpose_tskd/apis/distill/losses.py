"""The distillation losses of stage 1, each with a weight that makes its gradient as strong as in the recipes."""

import copy
from typing import Any, Dict, List, Tuple

import torch
from mmengine.config import Config
from mmengine.runner import Runner, set_random_seed
from mmpose.registry import MODELS

from ...errors import UserError
from ..records import read_record, write_record
from .configs import Settings
from .teacher import Teacher

LOSSES = dict(
    none=(),
    features=('loss_feat',),
    pose=('loss_pose', 'loss_structure'),
    bins=('loss_logit',),
    paper=('loss_feat', 'loss_pose', 'loss_structure'),
)
# The norm of each loss's gradient in the backbone, as a share of that of the labels' loss: measured in stage 1 on LSPET
# after an epoch (docs/results/ablation_lspet/analysis/gradients_scheme4.json); for bins, whose loss is like that of the
# labels, the weight that DWPose gives it.
SHARES = dict(loss_feat=3.7, loss_pose=0.33, loss_structure=0.14, loss_logit=0.1)


def stage1_losses(
    cfg: Config, losses: str, teacher: Teacher, settings: Settings, dry_run: bool = False
) -> Tuple[Dict[str, dict], List[str]]:
    """The ``distill_losses`` of a stage 1, and notes for the report.

    Args:
        cfg: The config of stage 1, without them.
        losses: A key of :data:`LOSSES`.
        teacher: The teacher, which has its weights by now, but for a dry run.
        settings: Of the distillation.
        dry_run: The teacher may not be trained yet; then each loss keeps the weight 1.

    Raises:
        UserError: The teacher does not offer what is compared.
    """
    names, model = LOSSES[losses], teacher.model
    if model is None and set(names) & {'loss_feat', 'loss_logit'}:
        raise UserError(
            f'--losses {losses} compares feature maps or bins, and of {teacher.source} only poses are known: '
            'use --losses pose'
        )
    kinds: Dict[str, dict] = dict(
        loss_feat=dict(type='FeatureMSELoss'),
        loss_pose=dict(type='PoseL1Loss'),
        loss_structure=dict(type='StructureLoss'),
        loss_logit=dict(type='SimCCLogitKDLoss'),
    )
    if 'loss_feat' in names and model is not None:
        kinds['loss_feat'].update(student_channels=_channels(cfg.model.head), teacher_channels=_channels(model['head']))
    unit = {name: dict(kinds[name], loss_weight=1.0) for name in names}
    path = settings.out / 'data' / 'gradients.json'
    pulls = read_record(path)
    if pulls is None and dry_run and not teacher.is_given:
        return unit, [f'{", ".join(names)}: weighed when the teacher is trained; until then 1.0 stands there']
    if pulls is None:
        pulls = measure_gradients(cfg, unit, settings)
        write_record(pulls, path)
    task = pulls['task']
    for name in names:
        unit[name]['loss_weight'] = float(f'{SHARES[name] * task / pulls[name]:.2g}')
    notes = [
        f'{name}: weight {unit[name]["loss_weight"]:g}, with which its gradient in the backbone is {SHARES[name]:g} of '
        f"that of the labels' loss at the start ({pulls[name]:.2g} at weight 1, labels {task:.2g})"
        for name in names
    ]
    return unit, notes


def _channels(head: Any) -> int:
    channels = head['in_channels']
    return channels if isinstance(channels, int) else channels[-1]


def measure_gradients(cfg: Config, losses: Dict[str, dict], settings: Settings, batches: int = 4) -> Dict[str, float]:
    """The mean norm of each loss's gradient in the student's backbone at the start; ``'task'`` is the labels' loss."""
    cfg = copy.deepcopy(cfg)
    data = settings.data
    cfg.model.update(distill_losses=losses, metainfo=data.metainfo or data.dataset_type)
    set_random_seed(settings.seed)
    loader = dict(cfg.train_dataloader, num_workers=0, persistent_workers=False)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    model = MODELS.build(cfg.model).to(device)
    model.init_weights()
    model.train()
    parameters = [parameter for parameter in model.backbone.parameters() if parameter.requires_grad]
    pulls = dict.fromkeys(('task', *losses), 0.0)
    for number, batch in enumerate(Runner.build_dataloader(loader, seed=settings.seed)):
        if number == batches:
            break
        prepared = model.data_preprocessor(batch, True)
        terms = model.loss(prepared['inputs'], prepared['data_samples'])
        named = {name: terms[name] for name in losses}
        named['task'] = sum(value for name, value in terms.items() if 'loss' in name and name not in losses)
        for name, value in named.items():
            gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            squares = sum(gradient.float().square().sum() for gradient in gradients if gradient is not None)
            pulls[name] += float(torch.as_tensor(squares).sqrt()) / batches
    return pulls
