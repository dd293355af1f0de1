"""What drives a distiller, and what a refiner changes."""

import functools
import json
import sys

import numpy as np
import pytest
import torch
from conftest import REPO, train
from mmpose.registry import MODELS

from mmpose_tskd.errors import UserError
from mmpose_tskd.lab.analysis import analyze_gradients, analyze_refinement
from mmpose_tskd.models.heads import IGPGCNHead

REFINED = 'tskd/coco/simcc_hrnet-w32-igpgcn_coco-256x192.py'


@pytest.fixture
def written(make_config, tmp_path):
    """``written('stage1_structure.py', **options)``: the file of a toy config."""

    def write(name, **options):
        path = tmp_path / f'{len(list(tmp_path.iterdir()))}.py'
        make_config(name, **options).dump(path)
        return str(path)

    return write


def by_loss(result, checkpoint='start'):
    return {row['loss']: row for row in result['rows'] if row['checkpoint'] == checkpoint}


def test_a_losss_pull_follows_its_weight(written):
    rows = by_loss(analyze_gradients(written('stage1_structure.py'), batches=2))
    doubled = {'model.distill_losses.loss_pose.loss_weight': 2 * 0.1}
    after = by_loss(analyze_gradients(written('stage1_structure.py', **doubled), batches=2))
    assert list(rows) == ['loss_kpt', 'loss_feat', 'loss_pose', 'loss_structure']
    assert after['loss_pose']['norm'] == pytest.approx(2 * rows['loss_pose']['norm'], rel=1e-4)
    assert after['loss_pose']['value'] == pytest.approx(2 * rows['loss_pose']['value'], rel=1e-5)
    for name in ('loss_kpt', 'loss_feat', 'loss_structure'):
        assert after[name]['norm'] == pytest.approx(rows[name]['norm'], rel=1e-4)
    for one in (rows, after):
        assert sum(row['share'] for row in one.values()) == pytest.approx(1)
        assert one['loss_kpt']['cosine'] == pytest.approx(1)
        assert all(-1 <= row['cosine'] <= 1.0001 for row in one.values())
    # the feature loss compares the backbone's map, and does not see the head
    head = by_loss(analyze_gradients(written('stage1_structure.py'), part='head', batches=1))
    assert head['loss_feat']['norm'] == 0 and head['loss_pose']['norm'] > 0


def test_checkpoints_of_a_run_are_compared_on_the_same_batches(make_config, written, tmp_path):
    runner = train(make_config('stage1_structure.py'))
    files = [str(tmp_path / 'work' / f'epoch_{i}.pth') for i in (1, 2)]
    out = tmp_path / 'gradients.json'
    result = analyze_gradients(written('stage1_structure.py'), files, batches=1, out=str(out))
    first, second = (by_loss(result, f'epoch_{i}.pth') for i in (1, 2))
    gamma = float(runner.model.gamma)  # in the last epoch
    assert 0 < gamma < 1 and first['loss_kpt']['value'] != second['loss_kpt']['value']
    checkpoint = torch.load(files[1], weights_only=True)
    checkpoint['distill']['gamma'] /= 2  # what a loss counts follows the file's γ
    torch.save(checkpoint, tmp_path / 'halved.pth')
    halved = analyze_gradients(written('stage1_structure.py'), [str(tmp_path / 'halved.pth')], batches=1)
    halved = by_loss(halved, 'halved.pth')
    for name in ('loss_feat', 'loss_pose', 'loss_structure'):
        assert halved[name]['value'] == pytest.approx(second[name]['value'] / 2, rel=1e-5)
    assert halved['loss_kpt']['value'] == second['loss_kpt']['value']
    again = by_loss(analyze_gradients(written('stage1_structure.py'), files[1:], batches=1), 'epoch_2.pth')
    assert again == second
    assert json.loads(out.read_text())['rows'] == result['rows']


def test_mistakes_are_named(written, tmp_path):
    with pytest.raises(UserError, match='is not the config of a distiller'):
        analyze_gradients(written('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py'))
    with pytest.raises(UserError, match="--part: the student has no module 'neck'"):
        analyze_gradients(written('stage1_structure.py'), part='neck')
    with pytest.raises(UserError, match='--batches 0 leaves nothing to average over'):
        analyze_gradients(written('stage1_structure.py'), batches=0)
    torch.save(MODELS.build(make_plain(written)).state_dict(), tmp_path / 'plain.pth')
    with pytest.raises(UserError, match='plain.pth has no "distill" entry'):
        analyze_gradients(written('stage1_structure.py'), [str(tmp_path / 'plain.pth')], batches=1)
    frozen = {'model.student_checkpoint': str(tmp_path / 'plain.pth')}
    with pytest.raises(UserError, match='--part backbone is frozen in .*: name one that learns, such as head'):
        analyze_gradients(written('stage2_igpgcn.py', **frozen))
    rows = by_loss(analyze_gradients(written('stage2_igpgcn.py', **frozen), part='head', batches=1))
    assert list(rows) == ['loss_refine'] and rows['loss_refine']['share'] == 1 and rows['loss_refine']['cosine'] is None
    with pytest.raises(UserError, match='has no IGPGCNHead'):
        analyze_refinement(written('stage1_structure.py'), 'any.pth')


def make_plain(written):
    from mmengine.config import Config

    return Config.fromfile(written('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py')).model


@pytest.fixture
def refined(make_config, written, tmp_path):
    """A refined model's config and checkpoint, whose offsets are as they start: the pose is left where it is."""
    model = MODELS.build(make_config(REFINED).model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'refined.pth')
    return written(REFINED), str(tmp_path / 'refined.pth')


def test_an_untrained_refiner_moves_nothing(refined):
    result = analyze_refinement(*refined)
    everything = result['rows'][0]
    assert everything['group'] == 'all' and everything['joints'] > 10
    for row in result['rows']:
        assert row['initial'] == pytest.approx(row['step1']) == pytest.approx(row['step3'])
        assert row['nearer'] == row['farther'] == 0
    counts = {row['group']: row['joints'] for row in result['rows']}
    quarters = [name for name in counts if name.endswith('quarter of scores')]
    assert sum(counts[name] for name in quarters) == everything['joints']
    assert sum(n for name, n in counts.items() if name.startswith('P_init off')) == everything['joints']
    assert counts.get('hidden', 0) + counts.get('seen', 0) == everything['joints']
    assert 'left_shoulder' in counts


def test_the_people_are_those_of_the_labels_whatever_boxes_the_config_tests_with(refined, written):
    detected = written(REFINED, **{'test_dataloader.dataset.bbox_file': 'boxes.json'})
    assert analyze_refinement(detected, refined[1])['rows'] == analyze_refinement(*refined)['rows']


def test_a_refiner_that_moves_joints_is_measured_by_where_it_takes_them(refined, monkeypatch):
    monkeypatch.setattr(IGPGCNHead, 'refine', lambda self, feats, coords, scores: (coords, coords, coords + 1000.0))
    everything = analyze_refinement(*refined)['rows'][0]
    assert everything['farther'] == 1 and everything['nearer'] == 0
    assert everything['step2'] == everything['initial'] and everything['step3'] > 1000


def test_a_flip_test_of_the_config_is_made(refined, written):
    errors = [
        analyze_refinement(written(REFINED, **{'model.test_cfg.flip_test': flip_test}), refined[1])['rows'][0]
        for flip_test in (True, False)
    ]
    assert errors[0]['initial'] != errors[1]['initial'] and errors[0]['step3'] == pytest.approx(errors[0]['initial'])


def test_of_a_distiller_the_teacher_is_compared(make_config, written, refined):
    options = {'model.student_checkpoint': None}
    rows = analyze_refinement(written('stage2_igpgcn.py', **options), refined[1])['rows']
    assert all(np.isfinite(row['teacher']) for row in rows)
    assert rows[0]['teacher'] != rows[0]['initial']


def test_without_a_gpu_there_is_none(written, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    config = written('stage1_structure.py')
    for analyze in (functools.partial(analyze_gradients, config), functools.partial(analyze_refinement, config, 'x')):
        with pytest.raises(UserError, match='--device cuda: torch finds no GPU here'):
            analyze(device='cuda')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_on_a_gpu_the_numbers_are_those_of_the_cpu(written, refined):
    config = written('stage1_structure.py')
    cpu, gpu = (by_loss(analyze_gradients(config, batches=1, device=device)) for device in ('cpu', 'cuda'))
    for name in cpu:
        assert gpu[name]['norm'] == pytest.approx(cpu[name]['norm'], rel=1e-2)
    cpu, gpu = (analyze_refinement(*refined, device=device)['rows'][0] for device in ('cpu', 'cuda'))
    assert gpu['initial'] == pytest.approx(cpu['initial'], rel=1e-2)


def test_the_command(refined, tmp_path, monkeypatch, capsys):
    options = ['--cfg-options', 'test_dataloader.dataset.indices=1', '--device', 'cpu']
    options += ['--json', str(tmp_path / 'out.json')]
    monkeypatch.setattr(sys, 'argv', ['analyze.py', 'refinement', *refined, *options])
    monkeypatch.syspath_prepend(str(REPO / 'tools/lab'))
    import analyze

    analyze.main()
    result = json.loads((tmp_path / 'out.json').read_text())
    assert 'P_init off by' in capsys.readouterr().out and result['rows'] and result['people'] == 1
    assert result['device'] == 'cpu'
    monkeypatch.setattr(sys, 'argv', ['analyze.py', 'gradients', 'nowhere.py'])
    with pytest.raises(SystemExit, match='error: there is no config nowhere.py'):
        analyze.main()
