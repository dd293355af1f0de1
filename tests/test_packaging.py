"""The wheel as a user has it: built, installed into an environment of its own, run by mim from an empty folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import REPO, free_port, toy_config, toy_teacher
from mmengine.config import Config
from mmpose.registry import MODELS


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp('wheel')
    subprocess.run([sys.executable, '-m', 'hatchling', 'build', '-t', 'wheel', '-d', folder], cwd=REPO, check=True)
    return next(folder.glob('*.whl'))


@pytest.fixture(scope='module')
def environment(wheel, tmp_path_factory):
    """A second environment that holds the wheel, and finds what it depends on where the tests run."""
    folder = tmp_path_factory.mktemp('environment')
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', folder], check=True)
    site = next(folder.glob('lib/python*/site-packages'))
    (site / 'dependencies.pth').write_text(sysconfig.get_path('purelib'))
    for file in Path(sysconfig.get_path('purelib')).glob('distutils-precedence.pth'):
        shutil.copy(file, site)  # which gives Python 3.12 the distutils of setuptools, and is read in this folder alone
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return folder


def test_the_wheel_holds_tools_and_configs_of_unique_names(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for path in [*REPO.glob('configs/**/*.py'), *REPO.glob('tools/*.py')]:
        assert f'mmpose_tskd/.mim/{path.relative_to(REPO)}' in names
    configs = Counter(os.path.basename(name) for name in names if '/.mim/configs/' in name and name.endswith('.py'))
    assert [name for name, count in configs.items() if count > 1] == []


def test_the_sdist_holds_what_its_tests_read(tmp_path):
    subprocess.run([sys.executable, '-m', 'hatchling', 'build', '-t', 'sdist', '-d', tmp_path], cwd=REPO, check=True)
    with tarfile.open(next(tmp_path.glob('*.tar.gz'))) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    wanted = {
        'README.md',
        'CONTRIBUTING.md',
        'SECURITY.md',
        'CHANGELOG.md',
        'CITATION.cff',
        'Makefile',
        'model-index.yml',
    }
    for folder in ('configs', 'docs', 'tests', 'tools', '.github'):
        files = (path for path in (REPO / folder).rglob('*') if path.is_file())
        wanted |= {
            str(path.relative_to(REPO))
            for path in files
            if path.suffix != '.pth' and not {'__pycache__', '_build'} & set(path.parts)
        }
    assert wanted - names == set()


def options_between(before, after, path=''):
    """The ``--cfg-options`` that turn one config into the other."""
    if isinstance(before, dict):
        for key in {**before, **after}:
            yield from options_between(before.get(key), after.get(key), f'{path}.{key}')
    elif isinstance(before, (list, tuple)) and any(isinstance(value, dict) for value in before):
        for i, pair in enumerate(zip(before, after)):
            yield from options_between(*pair, f'{path}.{i}')
    elif before != after:
        yield f'{path[1:]}={after}'.replace(' ', '')


def test_every_module_of_the_tools_can_be_the_first_to_be_imported():
    program = """
import importlib, pkgutil, sys
import mmpose_tskd.apis
for module in pkgutil.walk_packages(mmpose_tskd.apis.__path__, 'mmpose_tskd.apis.'):
    for name in [name for name in sys.modules if name.startswith('mmpose_tskd.apis')]:
        del sys.modules[name]
    importlib.import_module(module.name)
"""
    done = subprocess.run([sys.executable, '-c', program], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_mim_trains_stage2_in_two_processes_from_an_empty_folder(environment, toy_data, teacher_checkpoint, tmp_path):
    student = MODELS.build(toy_config('stage1_structure.py', toy_data, tmp_path / 'unused').model)
    torch.save(dict(state_dict=student.state_dict()), tmp_path / 'student.pth')
    Config(dict(model=toy_teacher())).dump(tmp_path / 'teacher.py')
    toy = toy_config('stage2_igpgcn.py', toy_data, tmp_path / 'w')
    toy.model.update(
        teacher=str(tmp_path / 'teacher.py'),
        teacher_checkpoint=teacher_checkpoint,
        student_checkpoint=str(tmp_path / 'student.pth'),
    )
    toy.train_cfg.max_epochs = 1
    full = Config.fromfile(REPO / 'configs/stage2_igpgcn.py')
    keys = ('model', 'train_dataloader', 'val_dataloader', 'val_evaluator', 'train_cfg', 'default_hooks')
    options = list(options_between(*({key: cfg[key] for key in keys} for cfg in (full, toy))))
    folder = tmp_path / 'empty'
    folder.mkdir()
    mim = 'import sys; from mim.commands.train import cli; sys.exit(cli())'
    command = [environment / 'bin/python', '-c', mim, 'mmpose_tskd', 'configs/stage2_igpgcn.py', '--work-dir', 'w']
    path = f'{environment}/bin:{os.environ["PATH"]}'
    env = {**os.environ, 'PATH': path, 'PYTHONWARNINGS': 'ignore', 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'}
    command += ['--launcher', 'pytorch', '--gpus', '2', '--port', str(free_port()), '--cfg-options', *options]
    result = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    checkpoint = torch.load(folder / 'w/epoch_1.pth', weights_only=True)
    assert checkpoint['meta']['iter'] == 2  # of six instances by two processes, two each
    assert any(name.startswith('head.blocks') for name in checkpoint['state_dict'])
