import json
import os
import pickle
import shutil
import subprocess
import sys
from unittest import mock

import pytest
import torch
from conftest import REPO, write_toy_data
from mmpose.registry import MODELS

from mmpose_tskd.apis import tools


@pytest.fixture
def run_tool(monkeypatch, tmp_path, capsys):
    """Runs a tool in this process; returns its exit message, None after success."""

    def run(name, *args):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, args)])
        try:
            with mock.patch.dict(os.environ):
                tools.run_mmpose_tool(name)
        except SystemExit as end:
            return end.code
        return None

    return run


@pytest.fixture
def student(make_config, tmp_path):
    cfg = make_config('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py')
    cfg.dump(tmp_path / 'student.py')
    return tmp_path / 'student.py', MODELS.build(cfg.model)


def test_train_resume_and_test_of_a_plain_student(run_tool, student, tmp_path):
    config, _ = student
    assert run_tool('train', config, '--work-dir', 'run', '--cfg-options', 'train_cfg.max_epochs=1') is None
    options = ['--resume', '--cfg-options', 'experiment_name=student_again', 'allow_changes=True']
    assert run_tool('train', config, '--work-dir', 'run', *options) is None
    options = ['--cfg-options', 'experiment_name=student_test']
    assert run_tool('test', config, 'run/epoch_2.pth', '--work-dir', 'test', '--out', 'out.json', *options) is None
    assert 'coco/AP' in (tmp_path / 'out.json').read_text()


def test_a_run_of_plain_mmpose_is_resumed_and_tested(run_tool, make_config, tmp_path):
    """Its files hold NumPy arrays and logs; they are loaded as safely."""
    cfg = make_config('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py')
    cfg.custom_hooks = [dict(type='SyncBuffersHook')]
    cfg.dump(tmp_path / 'plain.py')
    options = ['plain.py', '--work-dir', 'run', '--cfg-options']
    assert run_tool('train', *options, 'train_cfg.max_epochs=1') is None
    assert run_tool('train', *options, 'experiment_name=plain_again', 'resume=True') is None
    assert run_tool('test', 'plain.py', 'run/epoch_2.pth', '--cfg-options', 'experiment_name=plain_test') is None


def test_a_missing_config_and_missing_data_are_named(run_tool, student):
    assert 'no/config.py' in run_tool('train', 'no/config.py')
    message = run_tool('train', student[0], '--cfg-options', 'train_dataloader.dataset.data_root=gone')
    assert 'gone/labels.json' in message and 'data_root' in message


def test_labels_are_looked_through_before_anything_is_built(run_tool, student, tmp_path, capsys):
    config, _ = student
    data = write_toy_data(tmp_path / 'data')
    labels = json.loads((data / 'labels.json').read_text())
    labels['annotations'][2]['keypoints'][4] = 'left'
    (data / 'labels.json').write_text(json.dumps(labels))
    option = f'train_dataloader.dataset.data_root={data}'
    message = run_tool('train', config, '--work-dir', 'run', '--cfg-options', option)
    assert message.startswith(f'error: {data}/labels.json: 1 annotations with a coordinate that is no number (id 3)')
    assert not (tmp_path / 'run').exists()


def test_a_files_name_cannot_steer_the_terminal(run_tool, student):
    message = run_tool('train', student[0], '--cfg-options', 'train_dataloader.dataset.ann_file=\x1b[2J\rfine')
    assert '\\x1b[2J\\rfine does not exist' in message and message.replace('\n', '').isprintable()


def test_a_reader_that_closes_the_output_is_no_full_disk(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, 'w') as output:
        monkeypatch.setattr(sys, 'stdout', output)
        with pytest.raises(SystemExit, match='error: what read the output has closed it'):
            with tools.reporting_mistakes():
                print('epoch 1', flush=True)
        print('what is written when Python ends', flush=True)


def test_missing_weights_end_with_the_commands_that_make_them(run_tool, make_config, tmp_path):
    cfg = make_config('stage2_igpgcn.py', **{'model.teacher_checkpoint': 'gone.pth'})
    cfg.dump(tmp_path / 'stage2.py')
    message = run_tool('train', tmp_path / 'stage2.py')
    assert 'gone.pth' in message and 'work_dirs/stage1_structure' in message
    assert 'convert_simcc_checkpoint.py' in message and 'tools/train.py' in message


def test_tools_load_tensors_only_from_urls_too(run_tool, student, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    config, model = student
    torch.save(dict(state_dict=model.state_dict(), extra=pickle.Pickler), tmp_path / 'foreign.pth')

    def download(url, target, *args, **kwargs):
        shutil.copy(tmp_path / 'foreign.pth', target)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    assert '--trust-checkpoint' in run_tool('test', config, 'https://example.org/foreign.pth')


def test_a_checkpoint_with_code_is_refused_with_the_option_to_trust_it(run_tool, student, tmp_path):
    config, model = student
    torch.save(dict(state_dict=model.state_dict(), extra=pickle.Pickler), tmp_path / 'foreign.pth')
    assert '--trust-checkpoint' in run_tool('test', config, 'foreign.pth')
    options = ['--trust-checkpoint', '--cfg-options', 'experiment_name=trusting_tool']
    assert run_tool('test', config, 'foreign.pth', '--work-dir', 'test', *options) is None
    (log,) = tmp_path.glob('test/*/*.log')
    assert 'foreign.pth is loaded in full, with the code that it may hold' in log.read_text()


def test_a_reader_that_has_gone_is_no_full_disk():
    assert tools.explain(BrokenPipeError(32, 'Broken pipe')).startswith('what read the output has closed it')


@pytest.mark.parametrize('name', ['test', 'convert_simcc_checkpoint'])
def test_a_tool_runs_from_any_folder(name, tmp_path):
    command = [sys.executable, REPO / f'tools/{name}.py', '--help']
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0 and 'usage' in result.stdout


def test_warnings_that_are_errors_are_none_of_a_tools(tmp_path):
    command = [sys.executable, '-W', 'error', REPO / 'tools/test.py', 'gone.py', 'gone.pth']
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1 and 'error: there is no config gone.py' in result.stderr, result.stderr
    assert 'Traceback' not in result.stderr
