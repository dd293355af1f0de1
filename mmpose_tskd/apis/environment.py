"""What a result was made with, versions, machine and precision, and how it is written down."""

import json
import platform
from pathlib import Path
from typing import Any, Dict, Union

import mmcv
import mmengine
import mmpose
import numpy
import torch

import mmpose_tskd

from ..engine.atomic_backend import AtomicLocalBackend


def prefers_bfloat16() -> bool:
    """Whether this is a CPU with instructions for bfloat16, in which it is faster than in fp32."""
    if torch.cuda.is_available() or not torch.backends.mkldnn.is_available():
        return False
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def versions() -> Dict[str, str]:
    """Of Python, this package and what it builds on."""
    modules = dict(mmpose_tskd=mmpose_tskd, torch=torch, mmengine=mmengine, mmcv=mmcv, mmpose=mmpose, numpy=numpy)
    return {'python': platform.python_version(), **{name: module.__version__ for name, module in modules.items()}}


def machine() -> str:
    """The accelerator, or the CPU's threads and instructions."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    precision = 'bfloat16' if prefers_bfloat16() else 'fp32'
    return f'{torch.get_num_threads()} CPU threads, {torch.backends.cpu.get_cpu_capability()}, {precision}'


def write_json(result: Dict[str, Any], out: Union[str, Path, None]) -> None:
    """Writes a JSON file, unless ``out`` is None; even if the process is killed, the file is whole or not there."""
    if out:
        AtomicLocalBackend().put_text(json.dumps(result, indent=1) + '\n', out)
