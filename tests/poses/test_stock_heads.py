"""Every config that MMPose ships: whose head is read, and how well, or why it is not.

``python tests/poses/test_stock_heads.py`` writes the table of them into docs/reference/stock_heads.md.
"""

import json
from collections import Counter
from functools import cache
from pathlib import Path

import mmpose
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.config.utils import ConfigParsingError
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS

from mmpose_tskd.errors import UserError
from mmpose_tskd.models.teachers import load_model_config
from mmpose_tskd.poses import build_reader

CONFIGS = Path(mmpose.__file__).parent / '.mim' / 'configs'
STOCK = sorted(str(f.relative_to(CONFIGS)) for f in CONFIGS.rglob('*.py') if '_base_' not in f.parts)
DOCS = Path(__file__).parents[2] / 'docs' / 'reference' / 'stock_heads.md'
START, END = '<!-- by tests/poses/test_stock_heads.py -->\n', '<!-- end -->\n'
# where nothing is a top-down estimator of 2-D poses
REFUSED = ('associative_embedding', 'cid', 'dekr', 'edpose', 'internet', 'rtmo', 'yoloxpose')
EXACT = ('SimCC', 'UDP', 'DARK', 'Regression')  # others round a keypoint to a pixel of their map


@cache
def outcome(file):
    """The kind of head, and how far its reader is off for a perfect output, in pixels, or why there is none."""
    try:
        config = Config.fromfile(CONFIGS / file, import_custom_modules=False)
    except ConfigParsingError:
        return 'EDPose', "model.teacher: its config needs MMPose's sources; it finds all instances in a whole image"
    try:
        model = load_model_config(config)
        return read(json.dumps(model['head'].to_dict(), sort_keys=True))
    except UserError as error:
        return config.model.type, str(error)


@cache
def read(head_cfg):
    """One head, without its weights: many configs share it."""
    with torch.device('meta'):
        head = MODELS.build(json.loads(head_cfg))
    codec = getattr(head, 'pose_head', head).decoder
    form = ' (DARK)' if getattr(codec, 'unbiased', False) else ''
    form = ' (combined)' if getattr(codec, 'heatmap_type', 'gaussian') == 'combined' else form
    kind = f'{type(head).__name__}, {type(codec).__name__}{form}'
    try:
        reader = build_reader(head)
    except UserError as error:
        return kind, str(error)
    width, height = reader.input_size
    joint = np.array([[[round(0.55 * width), round(0.4 * height)]]], dtype=np.float32)
    outputs = reader((), perfect_output(reader, joint))
    return kind, float((outputs.coords - torch.from_numpy(joint)).abs().max())


def perfect_output(reader, joint):
    """What a network answers that has learned its target exactly."""
    encoded = reader.codec.encode(joint, np.ones(joint.shape[:2], dtype=np.float32))
    encoded = {name: torch.from_numpy(value) for name, value in encoded.items()}
    if 'keypoint_labels' in encoded:
        return encoded['keypoint_labels']
    if 'heatmaps' in encoded:
        return encoded['heatmaps'][None]
    loss = reader.head.loss_module
    targets = [encoded[f'keypoint_{axis}_labels'] for axis in 'xy']
    if getattr(loss, 'label_softmax', False):
        targets = [(target * loss.label_beta).softmax(-1) for target in targets]
    return tuple(target.clamp(min=1e-30).log() / reader.beta for target in targets)


@pytest.mark.parametrize('file', STOCK)
def test_a_stock_config_is_read_or_refused_with_the_reason(file):
    kind, found = outcome(file)
    room = file.split('/')
    if room[0] == 'body_3d_keypoint' or room[1] in REFUSED:
        assert isinstance(found, str) and found.startswith('model.'), found
    else:
        assert isinstance(found, float), found
        assert found < (0.5 if any(name in kind for name in EXACT) else 4)


def table():
    """Of the heads and how many configs have one, in Markdown."""
    read_, refused = Counter(), Counter()
    for file in STOCK:
        kind, found = outcome(file)
        if isinstance(found, str):
            why = found.partition(': ')[2]
            for reason in (': distillation reads', ': a teacher answers'):  # the same for all
                why = why.partition(reason)[0]
            refused[kind, why] += 1
        else:
            read_[kind] += 1
    lines = [
        f'MMPose {mmpose.__version__} ships {len(STOCK)} configs; of {sum(read_.values())} the head is read.\n',
        '| head, codec | configs | |',
        '|---|---|---|',
        *(f'| {kind} | {count} | read |' for kind, count in sorted(read_.items(), key=lambda item: -item[1])),
        *(f'| {kind} | {count} | refused: {why} |' for (kind, why), count in sorted(refused.items())),
    ]
    return '\n'.join(lines) + '\n'


def test_the_table_in_the_docs_says_what_is_read():
    text = DOCS.read_text()
    assert text[text.index(START) + len(START) : text.index(END)] == table()


if __name__ == '__main__':
    init_default_scope('mmpose')
    before, _, rest = DOCS.read_text().partition(START)
    DOCS.write_text(before + START + table() + END + rest.partition(END)[2])
