"""Checks what the package stands on: libraries, operators, GPU, disk.

This file is run by its path where MMPose, and with it this package, cannot be imported. So it imports the package, and
the libraries that it checks, only inside the checks.
"""

import importlib
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, List, NamedTuple, Optional, Tuple

# By package, the versions that our tests ran with, and the requirement to give to pip
TRIED = {
    'torch': (('2.13.0', '2.1.2'), 'torch>=2.0'),
    'torchvision': (('0.28.0', '0.16.2'), 'torchvision>=0.15'),
    'numpy': (('2.3.5', '1.26.4'), 'numpy>=1.21,<2.4'),
    'mmengine': (('0.10.7',), 'mmengine>=0.10.4'),
    'mmpose': (('1.3.2',), 'mmpose>=1.3'),
    'mmdet': (('3.3.0', '3.2.0'), 'mmdet>=3.0'),
    'xtcocotools': (('1.14.3',), 'xtcocotools>=1.12'),
}
PYTHONS = ((3, 10), (3, 11), (3, 12))
MMCV = ('2.0.0', '2.2.0')  # from, and before
LITE = 'pip install "mmcv-lite>=2.0.0,<2.2.0"'
BUILD_MMCV = 'pip install --no-build-isolation --no-cache-dir --force-reinstall --no-deps "mmcv==2.1.0"'
BUILD_XTCOCOTOOLS = (
    'pip install cython && pip install --no-build-isolation --no-cache-dir --no-binary xtcocotools --force-reinstall '
    '--no-deps xtcocotools'
)
# By a pattern in the message of a failed import, what repairs it
MENDS = {
    r"No module named 'mmcv'": LITE,
    r'mmcv.*_ext|_ext\.\S*so': f'mmcv was built for another torch: {BUILD_MMCV}',
    r'MMCV==\S+ is used but incompatible': f'pip uninstall mmcv mmcv-lite, then {LITE}',
    # without it from 81 on; the one that openmim brings along does not run on Python 3.12
    r"No module named 'pkg_resources'|ImpImporter": 'pip install "setuptools>=77,<81"',
    r'numpy\.dtype size changed|_ARRAY_API|numpy\.core\.multiarray': f'built for another numpy: {BUILD_XTCOCOTOOLS}',
    r"No module named '(cv2)'": 'pip install opencv-python',
    r"No module named '(\w+)": 'pip install {0}',
    r'libGL\.so': 'pip uninstall opencv-python, then pip install --force-reinstall opencv-python-headless',
    r'.': 'python tools/doctor.py, or mim run mmpose_tskd doctor, checks the environment',
}
GIB = 1 << 30


class Finding(NamedTuple):
    """What one check found."""

    level: str  # 'ok', 'warning' or 'error'
    subject: str
    message: str  # what is there, or what is wrong with it and the command that repairs it


def mend(error: Exception) -> str:
    """The command that repairs a failed import, by the error's message."""
    for pattern, command in MENDS.items():
        found = re.search(pattern, str(error))
        if found:
            return command.format(*found.groups())
    return MENDS['.']


def examine_environment() -> List[Finding]:
    """Checks Python, libraries, mmcv's operators, GPU and disk; none of the checks stops the others."""
    return [
        _examine_python(),
        *(_examine_version(name) for name in TRIED),
        _examine_mmcv(),
        *_examine_imports(),
        *_examine_devices(),
        *_examine_disk(),
    ]


def installed(name: str) -> Optional[str]:
    """The version of a package; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> Tuple[int, ...]:
    """2.13.0+cpu as (2, 13, 0)."""
    return tuple(int(part) for part in re.findall(r'\d+', text.split('+')[0])[:3])


def _examine_python() -> Finding:
    here = sys.version_info[:3]
    text = '.'.join(map(str, here))
    if here < (3, 9):
        return Finding('error', 'Python', f'{text} is too old: make an environment with Python 3.11')
    if here[:2] not in PYTHONS:
        tried = ', '.join('.'.join(map(str, python)) for python in PYTHONS)
        return Finding('warning', 'Python', f'{text} was not tried; {tried} were')
    return Finding('ok', 'Python', text)


def _examine_version(name: str) -> Finding:
    (tried, requirement), here = TRIED[name], installed(name)
    if here is None:
        return Finding('error', name, f'is not installed: pip install "{requirement}"')
    least = re.search(r'>=([\d.]+)', requirement)
    below = re.search(r'<([\d.]+)', requirement)
    if (least and _numbers(here) < _numbers(least[1])) or (below and _numbers(here) >= _numbers(below[1])):
        return Finding('error', name, f'{here} does not fit: pip install "{requirement}"')
    if _numbers(here) not in [_numbers(other) for other in tried]:
        return Finding('warning', name, f'{here} was not tried; {" and ".join(tried)} were')
    return Finding('ok', name, here)


def _examine_mmcv() -> Finding:
    found = {name: here for name in ('mmcv', 'mmcv-lite') for here in [installed(name)] if here is not None}
    if len(found) == 2:
        return Finding(
            'error', 'mmcv', f'mmcv and mmcv-lite lie over one another: pip uninstall -y mmcv mmcv-lite, then {LITE}'
        )
    if not found:
        return Finding('error', 'mmcv', f'is not installed: {LITE}')
    ((name, here),) = found.items()
    if not _numbers(MMCV[0]) <= _numbers(here) < _numbers(MMCV[1]):
        return Finding('error', name, f'{here} does not fit mmdet: pip uninstall -y {name}, then {LITE}')
    if find_spec('mmcv._ext') is None:
        operators = "without compiled operators: this package's models need none, and RTMDet's NMS is torchvision's"
        return Finding('ok', name, f'{here}, {operators}')
    return Finding('ok', name, f'{here}, with compiled operators')


def _examine_imports() -> List[Finding]:
    """Imports the libraries, each after those that it needs, and reports the ones that fail."""
    findings = []
    modules = (
        ('setuptools', 'pkg_resources'),  # MMEngine finds mmpose::... with it
        ('torch', 'torch'),
        ('OpenCV', 'cv2'),
        ('xtcocotools', 'xtcocotools.mask'),
        ('mmcv', 'mmcv'),
        ('mmpose', 'mmpose'),
        ('mmdet', 'mmdet'),
        ('this package', 'mmpose_tskd'),
    )
    for name, module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            findings.append(Finding('error', name, f'import {module}: {text}: {mend(error)}'))
    return findings


def _ask_driver() -> List[str]:
    """The GPUs that NVIDIA's driver knows; none where there is no driver."""
    command = shutil.which('nvidia-smi')
    if command is None:
        return []
    query = [command, '--query-gpu=name,compute_cap', '--format=csv,noheader']
    done = subprocess.run(query, capture_output=True, text=True, timeout=60)
    return [line.strip() for line in done.stdout.splitlines()] if done.returncode == 0 else []


def _examine_devices() -> List[Finding]:
    try:
        torch: Any = importlib.import_module('torch')
    except Exception:  # which is reported already
        return []
    cards = _ask_driver()
    if not torch.cuda.is_available():
        if cards and torch.version.cuda is None:
            message = (
                f"the driver knows {cards[0]}, but this torch is one for CPUs: take pytorch.org's command for CUDA, "
                'with --force-reinstall'
            )
            return [Finding('error', 'GPU', message), _examine_cpu(torch)]
        if cards:
            message = (
                f'the driver knows {cards[0]}, but torch, built for CUDA {torch.version.cuda}, sees none: is '
                'CUDA_VISIBLE_DEVICES set, or the driver too old (nvidia-smi says for which CUDA it is)?'
            )
            return [Finding('error', 'GPU', message), _examine_cpu(torch)]
        return [Finding('ok', 'GPU', 'none; training runs on the CPU'), _examine_cpu(torch)]
    findings = []
    kernels = torch.cuda.get_arch_list()
    for index in range(torch.cuda.device_count()):
        name, capability = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
        if not _has_kernels(capability, kernels):
            message = (
                f'{name} is sm_{capability[0]}{capability[1]}, for which this torch has no kernels '
                f"({' '.join(kernels)}): take pytorch.org's command for an older CUDA than {torch.version.cuda}"
            )
            findings.append(Finding('error', f'GPU {index}', message))
            continue
        memory = torch.cuda.get_device_properties(index).total_memory / GIB
        halves = 'bfloat16' if torch.cuda.is_bf16_supported() else 'no bfloat16: train with --amp, not BF16OptimWrapper'
        findings.append(Finding('ok', f'GPU {index}', f'{name}, {memory:.0f} GiB, {halves}'))
    return findings


def _has_kernels(capability: Tuple[int, int], kernels: List[str]) -> bool:
    """A card runs kernels of its own major version up to its minor one, and PTX of any older version."""
    major, minor = capability
    for kernel in kernels:
        kind, number = kernel.split('_')
        version = int(re.sub(r'\D', '', number))
        if kind == 'compute' and version <= 10 * major + minor:
            return True
        if kind == 'sm' and version // 10 == major and version % 10 <= minor:
            return True
    return False


def _examine_cpu(torch: Any) -> Finding:
    fast = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    halves = 'bfloat16' if fast else 'no bfloat16, which the quickstart would train in'
    return Finding('ok', 'CPU', f'{torch.get_num_threads()} threads, {halves}')


def _examine_disk() -> List[Finding]:
    """The current folder, where runs are written, and shared memory, through which data loaders hand images."""
    findings = []
    for folder, (gib, why) in {
        '.': (5, 'checkpoints of a run'),
        '/dev/shm': (1, "data loaders' workers; in a container: --shm-size 8g"),
    }.items():
        try:
            free = shutil.disk_usage(folder).free / GIB
        except FileNotFoundError:  # no such folder on this system
            continue
        level = 'ok' if free >= gib else 'warning'
        findings.append(Finding(level, folder, f'{free:.1f} GiB free' + ('' if level == 'ok' else f', few for {why}')))
    return findings


def main() -> None:
    """Prints the findings; exit status 1 where one is an error."""
    findings = examine_environment()
    for finding in findings:
        print(f'{finding.level:8} {finding.subject:12} {finding.message}')
    sys.exit(int(any(finding.level == 'error' for finding in findings)))
