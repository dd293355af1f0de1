"""What a result was made with: versions, machine, precision."""

import platform
from typing import Dict

import mmcv
import mmengine
import mmpose
import numpy
import torch

import mmpose_tskd


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
