import functools
import json

import cv2
import pytest
import torch
from mmpose.apis import init_model

from mmpose_tskd.apis import quickstart
from mmpose_tskd.apis.quickstart import run_quickstart
from mmpose_tskd.apis.report import read_scalars
from mmpose_tskd.checkpoints import weights_digest
from mmpose_tskd.datasets import generate_synthetic_crowd
from mmpose_tskd.errors import UserError

RUNS = ['teacher', 'baseline', 'stage1', 'stage2']
COLUMNS = {'AP', 'AP50', 'AR', 'AP_hidden', 'edge_error', 'params_m', 'gmacs', 'train_s'}


@pytest.fixture(scope='module')
def crowd(tmp_path_factory):
    return generate_synthetic_crowd(tmp_path_factory.mktemp('data'), num_train=18, num_val=4, workers=1)


@pytest.fixture(autouse=True)
def _small(monkeypatch, crowd):
    """The same quickstart with a dozen pictures."""
    small = functools.partial(generate_synthetic_crowd, num_train=18, num_val=4, workers=1)
    monkeypatch.setattr(quickstart, 'generate_synthetic_crowd', small)


def test_it_leaves_results_pictures_and_a_model_and_goes_on_where_it_was_stopped(tmp_path, crowd, monkeypatch, capsys):
    budget = 2 / 10  # two epochs of a student
    run = functools.partial(run_quickstart, data_root=str(crowd), work_dir=tmp_path / 'q', seed=3, budget=budget)

    after_train_epoch = quickstart._FollowHook.after_train_epoch

    def stop(hook, runner):
        if 'baseline' in hook.title and runner.epoch == 1:
            raise KeyboardInterrupt
        after_train_epoch(hook, runner)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(quickstart._FollowHook, 'after_train_epoch', stop)
        run()
    teacher = (tmp_path / 'q' / 'teacher' / 'outcome.json').stat().st_mtime_ns
    capsys.readouterr()

    results = run()
    printed = capsys.readouterr().out
    assert '1/4 teacher: finished before' in printed and '2/4 baseline: goes on from epoch_1.pth' in printed
    assert '2/4 baseline: epoch 2/2' in printed and '2/4 baseline: epoch 1/2' not in printed
    assert teacher == (tmp_path / 'q' / 'teacher' / 'outcome.json').stat().st_mtime_ns

    assert json.loads((tmp_path / 'q' / 'results.json').read_text()) == results
    assert results['seed'] == 3 and results['versions']['torch'] == torch.__version__
    assert list(results['rows']) == RUNS
    for row in results['rows'].values():
        assert COLUMNS <= set(row)
        assert row['train_s'] > 0 and row['edge_error'] > 0 and 0 <= row['AP'] <= 100
    size = {name: row['params_m'] for name, row in results['rows'].items()}
    assert size['teacher'] > 2 * size['stage2'] and size['stage2'] > size['stage1'] == size['baseline']
    table = (tmp_path / 'q' / 'table.md').read_text().splitlines()
    assert len([line for line in table if line.startswith('|')]) == 6
    for name, epochs, term in (
        ('teacher', 3, 'loss_kpt'),
        ('stage1', 2, 'loss_structure'),
        ('stage2', 1, 'loss_refine'),
    ):
        scalars = read_scalars(tmp_path / 'q' / name)
        assert [e['step'] for e in scalars if 'coco/AP' in e][-1] == epochs
        assert any(term in e for e in scalars)
    assert all('loss_feat' not in e and 'loss_refine' not in e for e in read_scalars(tmp_path / 'q' / 'baseline'))
    people = len(json.loads((crowd / 'annotations' / 'synthetic_crowd_train.json').read_text())['annotations'])
    steps = [e['step'] for e in read_scalars(tmp_path / 'q' / 'baseline') if 'loss' in e]
    assert people % 32 and steps[-1] == 2 * (people // 32)  # no small batch at the end of an epoch
    assert 'baseline (plain student)' in (tmp_path / 'q' / 'comparison' / 'index.html').read_text()
    for name in ('curves.png', 'comparison/comparison.png'):
        assert cv2.imread(str(tmp_path / 'q' / name)).std() > 5

    deployed = [str(tmp_path / 'q' / 'deploy' / f'refined_student.{ending}') for ending in ('py', 'pth')]
    assert set(torch.load(deployed[1], weights_only=True)) == {'meta', 'state_dict'}
    model = init_model(*deployed, device='cpu')
    trained = torch.load(tmp_path / 'q' / 'stage2' / 'epoch_1.pth', weights_only=True)['state_dict']
    assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())
    assert not list(tmp_path.rglob('.*.pth*'))  # no half-written file

    with pytest.raises(UserError, match="holds a run with .*'seed': 3.* name another --work-dir"):
        run(seed=4)

    # what is shipped is what was measured
    assert results['weights']['stage2'] == weights_digest(trained)
    other = dict(meta={}, state_dict={name: value + 1 for name, value in trained.items()})
    torch.save(other, tmp_path / 'q' / 'stage2' / 'epoch_2.pth')
    run()
    shipped = torch.load(deployed[1], weights_only=True)['state_dict']
    assert weights_digest(shipped) == results['weights']['stage2']
    torch.save(other, tmp_path / 'q' / 'stage2' / 'epoch_1.pth')
    with pytest.raises(UserError, match='epoch_1.pth does not hold the weights that were measured: put the file back'):
        run()
    outcome = tmp_path / 'q' / 'stage2' / 'outcome.json'
    written = outcome.read_text()
    for text, message in (
        (written.replace('"AP":', '"AP":9', 1), 'outcome.json is not as it was written'),
        (written[:40], 'outcome.json is not a whole JSON file'),
    ):
        outcome.write_text(text)
        with pytest.raises(UserError, match=message):
            run()


def test_real_photographs_take_their_joints(lspet_like):
    cfg = quickstart._load_config(quickstart.REFINED, 'lspet', str(lspet_like))
    assert cfg.model.head.base_head.out_channels == 14 and cfg.train_dataloader.dataset.type == 'CrowdPoseDataset'
    assert cfg.val_evaluator[0].ann_file == str(lspet_like / 'annotations' / 'lspet_val.json')
    cfg = quickstart._load_config(quickstart.CONFIGS['stage1'], 'lspet', str(lspet_like))
    assert cfg.train_dataloader.dataset.ann_file == 'annotations/lspet_train.json'


@pytest.fixture
def lspet_like(tmp_path):
    return tmp_path / 'lspet'


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(budget=0), '--budget .* above 0, not 0'),
        (dict(data='coco'), "--data is one of synthetic, lspet, not 'coco'"),
        (dict(data='lspet'), '--data lspet needs --data-root: the folder that holds annotations/lspet_train.json'),
        (dict(data='lspet', data_root='nowhere'), '--data-root nowhere: there is no annotations/lspet_train.json'),
    ],
)
def test_mistakes_are_named(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        run_quickstart(work_dir=tmp_path / 'q', **options)
    assert not (tmp_path / 'q').exists()  # the folder is not taken by settings that cannot run


def test_what_was_not_measured_is_none_and_not_a_number():
    metrics = dict(AP=0.25, AP_hard=-1, AP_hidden=None, AP_easy=float('nan'), edge_error=3.14159)
    expected = dict(AP=25.0, AP_hard=None, AP_hidden=None, AP_easy=None, edge_error=3.142)
    assert quickstart._rounded(metrics) == expected
