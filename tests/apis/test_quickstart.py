import functools

import pytest
from mmengine.config import Config

from mmpose_tskd.apis import quickstart
from mmpose_tskd.apis.quickstart import run_quickstart
from mmpose_tskd.datasets import generate_synthetic_crowd
from mmpose_tskd.errors import UserError


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """The same quickstart with two dozen images."""
    small = functools.partial(generate_synthetic_crowd, num_train=24, num_val=4, workers=1)
    monkeypatch.setattr(quickstart, 'generate_synthetic_crowd', small)


def test_it_distills_on_the_synthetic_crowd(tmp_path, monkeypatch):
    monkeypatch.setattr('mmpose_tskd.apis.distill.command._show', lambda plan: None)
    monkeypatch.setattr(quickstart, 'distill', functools.partial(quickstart.distill, dry_run=True))
    run_quickstart(work_dir=tmp_path / 'q', seed=3)
    cfg = {name: Config.fromfile(tmp_path / 'q' / 'configs' / f'{name}.py') for name in ('teacher', 'stage1', 'stage2')}
    assert tuple(one.train_cfg.max_epochs for one in cfg.values()) == quickstart.EPOCHS
    assert all(one.randomness.seed == 3 for one in cfg.values())
    assert (tmp_path / 'q' / 'data' / 'synthetic_crowd' / 'contact_sheet.png').is_file()
    assert [one.type for one in cfg['teacher'].val_evaluator] == [
        *('CocoMetric', 'CrowdPoseMetric', 'HiddenJointCocoMetric', 'EdgeLengthError')
    ]


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UserError, match='--budget .* above 0, not 0'):
        run_quickstart(work_dir=tmp_path / 'q', budget=0)
