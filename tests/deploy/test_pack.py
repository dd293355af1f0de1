"""What one publishes of a run, in one folder."""
# ruff: noqa: F811

import json
import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpose.apis import init_model
from saved_estimators import save_estimator  # noqa: F401

pytest.importorskip('onnxruntime')
safetensors = pytest.importorskip('safetensors.torch')

from mmpose_tskd.apis import pack as packing  # noqa: E402
from mmpose_tskd.apis.pack import pack  # noqa: E402
from mmpose_tskd.errors import UserError  # noqa: E402


@pytest.fixture
def run(save_estimator, tmp_path):
    """A work folder: a config and the checkpoint that its run noted."""
    saved = save_estimator('simcc')
    folder = tmp_path / 'run'
    folder.mkdir()
    shutil.copy(saved.config, folder / 'config.py')
    shutil.copy(saved.checkpoint, folder / 'best_coco_AP_epoch_1.pth')
    return folder, saved


def test_a_pack_holds_the_same_weights_in_every_form_and_says_what_it_is(run, tracing, tmp_path):
    folder, saved = run
    (tmp_path / 'results.json').write_text(json.dumps({'coco/AP': 0.25}))
    out = tmp_path / 'my_pose'
    files = pack(str(folder), str(out), results=str(tmp_path / 'results.json'), command='python tools/pack.py run')
    names = {str(path.relative_to(out)) for path in files}
    forms = {f'my_pose{end}' for end in ('.py', '.pth', '.safetensors', '_coords.onnx', '_rtmlib.onnx')}
    assert names == forms | {
        f'mmdeploy/{name}' for name in ('end2end.onnx', 'deploy.json', 'pipeline.json', 'detail.json')
    } | {'README.md'}
    model = init_model(str(out / 'my_pose.py'), str(out / 'my_pose.pth'), device='cpu')
    stored = safetensors.load_file(out / 'my_pose.safetensors')
    for name, value in saved.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value) and torch.equal(stored[name], value)
    assert model.dataset_meta['keypoint_id2name'][0] == 'nose'
    cfg = Config.fromfile(out / 'my_pose.py')
    cfg.update(work_dir=str(tmp_path / 'tested'), load_from=str(out / 'my_pose.pth'))
    assert Runner.from_cfg(cfg).test().keys() >= {'coco/AP'}
    assert (
        'train_pipeline' not in (out / 'my_pose.py').read_text()
        and 'optim_wrapper' not in (out / 'my_pose.py').read_text()
    )
    card = (out / 'README.md').read_text()
    assert '| coco/AP | 0.2500 |' in card and 'python tools/pack.py run' in card and 'License of these weights:' in card
    for path in files:
        assert path.name == 'README.md' or str(path.relative_to(out)) in card
    assert card.count('instances of the test set') == 3 and 'input pixels' in card


def test_a_pack_that_was_killed_is_made_anew_by_the_same_call(run, tracing, tmp_path, monkeypatch):
    folder, _ = run
    out = tmp_path / 'my_pose'
    for name in ('export_onnx', '_card'):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(packing, name, lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
            pack(str(folder), str(out), forms=['coords', 'mmdeploy'])
        assert not (out / 'README.md').exists()
        (out / f'.my_pose.pth.{name}.partial').touch()
    files = pack(str(folder), str(out), forms=['rtmlib'])
    assert sorted(files) == sorted(out.rglob('*'))
    assert {path.name for path in files} == {
        *(f'my_pose{end}' for end in ('.py', '.pth', '.safetensors', '_rtmlib.onnx')),
        'README.md',
    }
    with pytest.raises(UserError, match='is no empty folder'):
        pack(str(folder), str(out), forms=['rtmlib'])


def test_a_folder_that_a_killed_pack_has_left_keeps_what_others_put_there(run, tmp_path, monkeypatch):
    folder, _ = run
    out = tmp_path / 'my_pose'
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(packing, 'export_onnx', lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        pack(str(folder), str(out))
    (out / 'thesis.tex').touch()
    with pytest.raises(UserError, match='is no empty folder'):
        pack(str(folder), str(out))
    assert (out / 'thesis.tex').exists()


def test_one_command_packs_into_a_folder(run, tmp_path, monkeypatch):
    def taken(path, wait):
        assert not wait
        raise BlockingIOError

    monkeypatch.setattr(packing, 'locked', taken)
    with pytest.raises(UserError, match='another command writes there'):
        pack(str(run[0]), str(tmp_path / 'out'))


def test_mistakes_are_named(run, tmp_path):
    folder, _ = run
    with pytest.raises(UserError, match='there is no work folder gone'):
        pack('gone', str(tmp_path / 'out'))
    with pytest.raises(UserError, match='gone.json does not exist'):
        pack(str(folder), str(tmp_path / 'out'), results='gone.json')
    shutil.copy(folder / 'config.py', folder / 'other.py')
    with pytest.raises(UserError, match=r'should hold one config, .* found: config.py, other.py. Name it by --config'):
        pack(str(folder), str(tmp_path / 'out'))
    with pytest.raises(UserError, match='is no empty folder'):
        pack(str(folder), str(folder), config=str(folder / 'config.py'))
    (tmp_path / 'list.json').write_text('[1]')
    with pytest.raises(UserError, match='list.json is no JSON object'):
        pack(str(folder), str(tmp_path / 'out'), config=str(folder / 'config.py'), results=str(tmp_path / 'list.json'))
    assert not (tmp_path / 'out').exists()
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'README.md').write_text('')
    with pytest.raises(UserError, match='is no empty folder'):
        pack(str(folder), str(tmp_path / 'full'))
