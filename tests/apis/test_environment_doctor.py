"""The doctor of environments, in broken ones."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import REPO

from mmpose_tskd.apis import environment_doctor as doctor

SIZE_CHANGED = 'numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88'


def test_all_is_well_where_the_tests_run():
    findings = doctor.examine_environment()
    assert [finding for finding in findings if finding.level == 'error'] == []
    subjects = {finding.subject: finding.message for finding in findings}
    assert subjects['torch'].startswith(doctor.installed('torch'))
    assert 'compiled operators' in subjects.get('mmcv', '') + subjects.get('mmcv-lite', '')


def test_a_broken_environment_is_examined_to_its_end(tmp_path):
    """Old xtcocotools beside numpy 2, and setuptools without pkg_resources: the package cannot be imported."""
    (tmp_path / 'pkg_resources.py').write_text('raise ModuleNotFoundError("No module named \'pkg_resources\'")')
    (tmp_path / 'xtcocotools').mkdir()
    for name in ('__init__', 'mask', 'coco', 'cocoeval'):
        (tmp_path / f'xtcocotools/{name}.py').write_text(
            '' if name == '__init__' else f'raise ValueError({SIZE_CHANGED!r})'
        )
    env = {**os.environ, 'PYTHONPATH': str(tmp_path), 'PYTHONDONTWRITEBYTECODE': '1'}
    command = [sys.executable, REPO / 'tools/doctor.py']
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    errors = [line for line in done.stdout.splitlines() if line.startswith('error')]
    subjects = [line.split()[1] for line in errors]
    assert subjects == ['setuptools', 'xtcocotools', 'this'], done.stdout
    assert 'pip install "setuptools>=77,<81"' in errors[0]
    for line in errors[1:]:
        assert SIZE_CHANGED in line and '--no-binary xtcocotools' in line
    assert 'mmpose_tskd needs a working MMPose' in errors[2]
    assert 'GiB free' in done.stdout  # it went on


def test_a_python_without_the_package_is_told_where_it_is():
    done = subprocess.run([sys.executable, '-I', '-S', REPO / 'tools/doctor.py'], capture_output=True, text=True)
    assert done.returncode == 1 and 'has no mmpose_tskd' in done.stderr and 'make env' in done.stderr


@pytest.mark.parametrize(
    'versions, words',
    [
        ({}, ['is not installed', 'mmcv-lite']),
        ({'mmcv': '2.1.0', 'mmcv-lite': '2.1.0'}, ['over one another', 'uninstall -y mmcv mmcv-lite']),
        ({'mmcv': '2.2.0'}, ['2.2.0 does not fit mmdet', 'uninstall -y mmcv,']),
        ({'mmcv-lite': '1.7.2'}, ['1.7.2 does not fit']),
    ],
)
def test_mmcv_and_mmcv_lite(versions, words, monkeypatch):
    monkeypatch.setattr(doctor, 'installed', versions.get)
    finding = doctor._examine_mmcv()
    assert finding.level == 'error' and all(word in finding.message for word in words), finding


@pytest.mark.parametrize(
    'version, level',
    [(None, 'error'), ('1.20.3', 'error'), ('1.26.4', 'ok'), ('2.3.5', 'ok'), ('2.3.1', 'warning'), ('2.4.0', 'error')],
)
def test_versions_against_those_that_were_tried(version, level, monkeypatch):
    monkeypatch.setattr(doctor, 'installed', lambda name: version)
    finding = doctor._examine_version('numpy')
    assert finding.level == level
    assert ('pip install "numpy>=1.21,<2.4"' in finding.message) == (level == 'error')


@pytest.mark.parametrize(
    'message, command',
    [
        ("No module named 'mmcv'", 'mmcv-lite'),
        ("No module named 'mmcv._ext'", '--force-reinstall --no-deps "mmcv==2.1.0"'),
        ('/x/mmcv/_ext.cpython-311-x86_64-linux-gnu.so: undefined symbol: _ZN2at4', '"mmcv==2.1.0"'),
        ('MMCV==2.2.0 is used but incompatible. Please install mmcv>=2.0.0rc4, <2.2.0.', 'pip uninstall mmcv'),
        ("No module named 'json_tricks'", 'pip install json_tricks'),
        ('libGL.so.1: cannot open shared object file', 'opencv-python-headless'),
        ("module 'pkgutil' has no attribute 'ImpImporter'. Did you mean: 'zipimporter'?", '"setuptools>=77,<81"'),
        ('something else', 'doctor'),
    ],
)
def test_what_mends_an_import(message, command):
    assert command in doctor.mend(ImportError(message))


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A driver that knows a card, and a torch that sees none."""
    (tmp_path / 'nvidia-smi').write_text('#!/bin/sh\necho "NVIDIA A100-SXM4-40GB, 8.0"\n')
    (tmp_path / 'nvidia-smi').chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)


@pytest.mark.parametrize('cuda, words', [(None, 'one for CPUs'), ('13.0', 'built for CUDA 13.0, sees none')])
def test_a_card_that_torch_does_not_see(driver, cuda, words, monkeypatch):
    monkeypatch.setattr(torch.version, 'cuda', cuda)
    finding = doctor._examine_devices()[0]
    assert finding.level == 'error' and 'A100' in finding.message and words in finding.message


@pytest.mark.parametrize('capability, level', [((6, 1), 'error'), ((7, 5), 'ok'), ((8, 9), 'ok'), ((12, 0), 'ok')])
def test_a_card_without_kernels(capability, level, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda index: 'card')
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda index: capability)
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda index: SimpleNamespace(total_memory=24 << 30))
    monkeypatch.setattr(torch.cuda, 'get_arch_list', lambda: ['sm_75', 'sm_80', 'sm_90', 'compute_90'])
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda: capability >= (8, 0))
    (finding,) = doctor._examine_devices()
    assert finding.level == level
    assert ('sm_61' in finding.message) == (level == 'error')
    assert ('no bfloat16' in finding.message) == (capability == (7, 5))


def test_a_full_disk(monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: SimpleNamespace(free=1 << 29))
    here, shared = doctor._examine_disk()
    assert here.level == shared.level == 'warning' and '--shm-size' in shared.message
