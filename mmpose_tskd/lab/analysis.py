"""What drives a distiller, and what a refiner changes: gradients of the loss terms, errors of moved keypoints."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed
from mmpose.registry import MODELS
from torch import Tensor

from ..apis.complexity import errors_only
from ..apis.environment import write_json
from ..checkpoints import load_strictly, load_weights, read_checkpoint, weights_digest
from ..datasets.label_checks import check_labels
from ..errors import UserError
from ..models.distillers import PoseDistiller
from ..models.heads import IGPGCNHead
from ..paths import load_config
from ..poses import PoseOutputs, RefinerReader, config_skeleton, labeled_coords, labeled_joints, load_skeleton
from .benchmark.measuring import find_device, print_rows, versions_and_machine

NEAR, FAR = 3.0, 25.0  # input pixels, for the error of P_init
MOVED = 0.5  # input pixels
VISIBILITY = {1: 'hidden', 2: 'seen'}
Rows = List[Dict[str, Any]]


def analyze_gradients(
    config: str,
    checkpoints: Sequence[str] = (),
    part: str = 'backbone',
    batches: int = 4,
    seed: int = 0,
    out: Optional[str] = None,
    cfg_options: Optional[dict] = None,
    device: str = 'auto',
) -> Dict[str, Any]:
    """Works out how strongly each loss of a distiller pulls at the student, and whether in the labels' direction.

    The same training batches are taken at each checkpoint. A loss counts as it is added up, with its weight and γ.

    Args:
        config: A distiller's.
        checkpoints: Of its run, in training's own order; none is the student as it starts.
        part: Of the student, whose gradient it is: ``'backbone'``, ``'head'``, or a module below them.
        batches: To average over, of the config's batch size.
        seed: Of the weights, the samples and their augmentation.
        out: A JSON file to write as well.
        cfg_options: What differs from the config, by dotted key.
        device: ``'cpu'``, ``'cuda'``, or ``'auto'``: a GPU where one is.

    Returns:
        What the file holds: ``rows``, one for each checkpoint and loss, with its ``value``, the ``norm`` of its
        gradient, its ``share`` of the sum of all losses' norms, and the ``cosine`` of its gradient and that of the task
        loss (None without one), each the mean over the batches; and what it was measured with.

    Raises:
        UserError: The config is no distiller's, a file is missing or does not fit, the part is frozen, or there is no
            GPU.
    """
    place = find_device(device)
    cfg = _load(config, cfg_options)
    set_random_seed(seed)
    with errors_only():
        model: Any = MODELS.build(cfg.model)
        if not isinstance(model, PoseDistiller):
            raise UserError(f'{config} is not the config of a distiller: it has nothing to compare its loss with')
        model.init_weights()
    model.to(place).train()
    try:
        weights = [weight for weight in model.get_submodule(part).parameters() if weight.requires_grad]
    except AttributeError as error:
        raise UserError(f'--part: the student has no module {part!r} ({error})') from error
    if not weights:
        raise UserError(f'--part {part} is frozen in {config} (model.frozen): name one that learns, such as head')
    loader = _loader(cfg.train_dataloader, seed)
    samples = [batch for batch, _ in zip(loader, range(batches))]
    if not samples:
        raise UserError(
            f'--batches {batches} leaves nothing to average over (the training set has {len(loader)} batches)'
        )
    MessageHub.get_current_instance().update_info('dataset_meta', loader.dataset.metainfo)  # as a Runner does
    rows: Rows = []
    files: Sequence[Optional[str]] = checkpoints or [None]
    for checkpoint in files:
        if checkpoint is not None:
            _resume(model, checkpoint)
        measured = [_term_gradients(model, batch, weights) for batch in samples]
        for name in measured[0]:
            values = {key: [one[name][key] for one in measured] for key in measured[0][name]}
            means = {key: None if value[0] is None else float(np.mean(value)) for key, value in values.items()}
            rows.append({'checkpoint': 'start' if checkpoint is None else Path(checkpoint).name, 'loss': name, **means})
    print_rows(f'gradients in the {part}, {len(samples)} batches', rows)
    result = dict(
        rows=rows,
        config=config,
        checkpoints=[str(file) for file in checkpoints],
        cfg_options=cfg_options,
        part=part,
        batches=len(samples),
        batch_size=cfg.train_dataloader.batch_size,
        seed=seed,
        device=str(place),
        **versions_and_machine(),
    )
    write_json(result, out)
    return result


def analyze_refinement(
    config: str,
    checkpoint: str,
    out: Optional[str] = None,
    cfg_options: Optional[dict] = None,
    device: str = 'auto',
) -> Dict[str, Any]:
    """Compares a refiner's poses with the one that it was given, on the config's test set and with its flip test.

    The instances are those of the labels, whatever boxes the config tests with.

    Args:
        config: Of a model whose head is :class:`IGPGCNHead`, plain or a distiller; of a distiller, its teacher is
            compared, too.
        checkpoint: Its weights.
        out: A JSON file to write as well.
        cfg_options: What differs from the config, by dotted key.
        device: ``'cpu'``, ``'cuda'``, or ``'auto'``: a GPU where one is.

    Returns:
        What the file holds: ``rows``, by group of labeled keypoints: how many (``joints``); the mean error, in input
        pixels, of P_init (``initial``), of each progressive pose (``step1`` ...) and of the ``teacher``, as it teaches,
        where there is one; and which share of the keypoints the last pose brings ``nearer`` to the label, or takes
        ``farther`` from it, by more than half a pixel. And what it was measured with.

    Raises:
        UserError: The model refines nothing, a file is missing or does not fit, or there is no GPU.
    """
    place = find_device(device)
    cfg = _load(config, cfg_options)
    with errors_only():
        model: Any = MODELS.build(cfg.model)
        if not isinstance(model.head, IGPGCNHead):
            raise UserError(f'{config} has no IGPGCNHead: there is no refined pose to look at')
        teacher = getattr(model, 'teacher', None)
        if teacher is not None:
            teacher.build(model, teacher.find_source())
            model.skeleton = model.head.skeleton or config_skeleton(cfg)
            model.learn_joints()
        weights = load_weights(checkpoint)
        load_strictly(model, weights, checkpoint, 'the model')
    loader_cfg = cfg.test_dataloader
    loader_cfg.dataset.bbox_file = None
    loader_cfg.dataset.pipeline[-1].pack_transformed = True
    model.to(place).eval()
    found: Dict[str, List[np.ndarray]] = {}
    with torch.no_grad():
        for batch in _loader(loader_cfg, 0):
            for name, values in _joint_errors(model, teacher, batch).items():
                found.setdefault(name, []).append(values)
    joints = {name: np.concatenate(values) for name, values in found.items()}
    rows = _refinement_rows(joints, load_skeleton(loader_cfg.dataset.type).names)
    print_rows('errors in input pixels', rows)
    result = dict(
        rows=rows,
        config=config,
        cfg_options=cfg_options,
        checkpoint=checkpoint,
        weights=weights_digest(weights),
        people=len(joints['joint']) // len(set(joints['joint'].tolist())),
        input_size=list(model.head.input_size),
        device=str(place),
        **versions_and_machine(),
    )
    write_json(result, out)
    return result


def _load(config: str, options: Optional[dict]) -> Config:
    init_default_scope('mmpose')
    cfg = load_config(config)
    cfg.merge_from_dict(options or {})
    if 'model' not in cfg or 'train_dataloader' not in cfg:
        raise UserError(f'{config} has no model and train_dataloader: it is a part of other configs')
    return cfg


def _loader(cfg: Any, seed: int) -> Any:
    check_labels(cfg.dataset)
    return Runner.build_dataloader({**cfg, 'num_workers': 0, 'persistent_workers': False}, seed=seed)


def _resume(model: PoseDistiller, file: str) -> None:
    """The student's weights and the distiller's own state from a checkpoint."""
    load_strictly(model, load_weights(file), file, 'the student')
    state = read_checkpoint(file).get('distill')
    if state is None:
        raise UserError(f'{file} has no "distill" entry: take a checkpoint that a distiller has written')
    model.load_distill_state_dict(state)


def _term_gradients(model: PoseDistiller, batch: Any, weights: Sequence[Tensor]) -> Dict[str, Dict[str, Any]]:
    losses = model.loss(**model.data_preprocessor(batch, training=True))
    terms = {name: value for name, value in losses.items() if 'loss' in name and value.requires_grad}
    gradients = {name: _gradient(term, weights) for name, term in terms.items()}
    norms = {name: float(gradient.norm()) for name, gradient in gradients.items()}
    task = [gradient for name, gradient in gradients.items() if name not in model.distill_losses]
    labels: Any = sum(task) if task else None
    return {
        name: dict(
            value=float(terms[name]),
            norm=norms[name],
            share=norms[name] / sum(norms.values()),
            cosine=None if labels is None else float(torch.cosine_similarity(gradient, labels, dim=0)),
        )
        for name, gradient in gradients.items()
    }


def _gradient(term: Tensor, weights: Sequence[Tensor]) -> Tensor:
    found = torch.autograd.grad(term, weights, retain_graph=True, allow_unused=True)
    return torch.cat([(w.new_zeros(w.shape) if g is None else g).flatten() for w, g in zip(weights, found)]).double()


def _joint_errors(model: Any, teacher: Any, batch: Any) -> Dict[str, np.ndarray]:
    """What is known of each keypoint of a batch, each in an array over all keypoints of all instances."""
    data = model.data_preprocessor(batch, training=False)
    inputs, samples = data['inputs'], data['data_samples']
    reader = RefinerReader(model.head, model.head.base_reader)

    def read(images: Tensor) -> PoseOutputs:
        feats = model.extract_feat(images)
        return reader(feats, model.head.forward(feats))

    outputs = read(inputs)
    if model.test_cfg.get('flip_test', False):
        outputs = reader.merge_flipped(outputs, read(inputs.flip(-1)), samples[0].metainfo['flip_indices'])
    initial = replace(outputs, reader=reader.base)
    truth = labeled_coords(samples, inputs.device)
    poses = dict(initial=initial.peaks, **{f'step{i + 1}': pose for i, pose in enumerate(outputs.refined)})
    if teacher is not None:
        poses['teacher'] = teacher(inputs).peaks
    visible = np.concatenate([np.array(s.metainfo['raw_ann_info']['keypoints'])[2::3] for s in samples])
    people, count = truth.shape[:2]
    return dict(
        joint=np.tile(np.arange(count), people),
        labeled=labeled_joints(samples, inputs.device).cpu().numpy().reshape(-1) > 0,
        visible=visible.astype(int),
        score=initial.scores.cpu().numpy().reshape(-1),
        **{name: (pose - truth).norm(dim=-1).cpu().numpy().reshape(-1) for name, pose in poses.items()},
    )


def _refinement_rows(joints: Dict[str, np.ndarray], names: Sequence[str]) -> Rows:
    labeled, initial, score = joints['labeled'], joints['initial'], joints['score']
    quarters = np.quantile(score[labeled], [0, 0.25, 0.5, 0.75, 1])
    groups = {'all': labeled}
    groups.update({f'P_init off by {text}': initial_in for text, initial_in in _by_error(initial).items()})
    for i, text in enumerate(('lowest', 'second', 'third', 'highest')):
        upper = score <= quarters[i + 1] if i == 3 else score < quarters[i + 1]
        groups[f'{text} quarter of scores'] = (score >= quarters[i]) & upper
    groups.update({text: joints['visible'] == v for v, text in VISIBILITY.items()})
    groups.update({name: joints['joint'] == k for k, name in enumerate(names)})
    poses = [name for name in joints if name == 'initial' or name == 'teacher' or name.startswith('step')]
    last = [name for name in poses if name.startswith('step')][-1]
    change = joints[last] - initial
    rows: Rows = []
    for text, group in groups.items():
        chosen = group & labeled
        if chosen.any():
            errors = {name: float(joints[name][chosen].mean()) for name in poses}
            nearer, farther = (float((sign * change[chosen] > MOVED).mean()) for sign in (-1, 1))
            rows.append({'group': text, 'joints': int(chosen.sum()), **errors, 'nearer': nearer, 'farther': farther})
    return rows


def _by_error(initial: np.ndarray) -> Dict[str, np.ndarray]:
    return {
        f'less than {NEAR:g}': initial < NEAR,
        f'{NEAR:g} to {FAR:g}': (initial >= NEAR) & (initial <= FAR),
        f'more than {FAR:g}': initial > FAR,
    }
