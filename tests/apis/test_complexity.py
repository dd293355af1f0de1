import json

import pytest
from conftest import REPO, shrink_model
from mmengine.config import Config
from mmpose.registry import MODELS

from mmpose_tskd.apis.complexity import model_complexity, print_complexity
from mmpose_tskd.errors import UserError

W32 = str(REPO / 'configs/simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py')


def test_the_published_sizes_and_the_table(tmp_path, capsys):
    w48 = W32.replace('w32', 'w48')
    rows = print_complexity([W32, w48, str(REPO / 'configs/stage2_igpgcn.py')], str(tmp_path / 'out.json'))
    assert [row['params_m'] for row in rows] == [31.290, 66.349, 33.586]
    assert [row['gmacs'] for row in rows] == pytest.approx([7.73, 15.79, 8.06], abs=0.01)
    assert json.loads((tmp_path / 'out.json').read_text()) == rows and rows[0]['config'] == W32
    lines = {line.split('|')[1].strip(): line.split() for line in capsys.readouterr().out.splitlines() if '|' in line}
    assert lines['stage2_igpgcn'][-4:] == ['31.0', '|', '8.1', '|']


def test_a_distillers_student_is_counted_without_adapters():
    cfg = Config.fromfile(REPO / 'configs/stage1_structure.py')
    shrink_model(cfg._cfg_dict, 8)
    counted = model_complexity(cfg.model, (64, 96)).params_m * 1e6
    student = MODELS.build(
        {
            **cfg.model,
            'type': 'SimCCStructureDistiller',
            'teacher': None,
            'distill_losses': {'loss_feat': None, 'loss_pose': None, 'loss_structure': None},
        }
    )
    assert counted == sum(p.numel() for p in student.parameters())


@pytest.mark.parametrize(
    'config, message',
    [
        ('nowhere.py', 'there is no config nowhere.py'),
        ('mmpose::nowhere.py', 'there is no config mmpose::nowhere.py'),
        ('nowhere::a.py', 'there is no config nowhere::a.py'),
        ('_base_/datasets/lspet_128x96.py', 'no model'),
    ],
)
def test_mistakes_are_named(config, message):
    path = str(REPO / 'configs' / config) if config.startswith('_base_') else config
    with pytest.raises(UserError, match=message):
        print_complexity([path])
