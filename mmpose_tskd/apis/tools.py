import argparse
import os
import pickle
import runpy
import sys
from pathlib import Path

import mmpose
import torch
from mmengine.device import get_device

from ..checkpoint import mmengines_globals
from ..errors import UserError


def run_mmpose_tool(name: str) -> None:
    """Runs one of the tools that MMPose ships, with the command line as it stands.

    A :class:`UserError`, a missing file and a checkpoint that safe loading refuses end it with a message alone. Every
    checkpoint is loaded tensors-only, unless ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD`` is set.

    Args:
        name: The tool's file name without its ending: ``'train'`` or ``'test'``.
    """
    tool = Path(mmpose.__file__).parent / '.mim' / 'tools' / f'{name}.py'
    if not tool.is_file():
        sys.exit(f'error: MMPose\'s own {name} tool is not at {tool}: reinstall mmpose ("mim install mmpose")')
    if not os.environ.get('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'):
        os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'  # for URLs too, which torch.hub unpickles otherwise
    try:
        _join_cpu_processes()
        with mmengines_globals():
            runpy.run_path(str(tool), run_name='__main__')
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT, as shells count
    except UserError as error:
        sys.exit(f'error: {error}')
    except pickle.UnpicklingError as error:
        sys.exit(
            f'error: a checkpoint holds more than tensors and plain values; loading it could run its code: {error}\n'
            'A file that MMPose or mmpose_tskd wrote loads as it is. If you trust where this one came from, set '
            'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 for this run.'
        )
    except FileNotFoundError as error:
        sys.exit(f'error: {error}')
    except AssertionError as error:  # how MMPose says that an annotation file does not exist
        if 'does not exist' not in str(error):
            raise
        sys.exit(
            f"error: {error}\nPaths are relative to the current folder. The data sets' are data_root, ann_file, "
            'data_prefix and bbox_file of each dataloader.dataset, and ann_file of the evaluators: change them in the '
            'config or by --cfg-options.'
        )


def _join_cpu_processes() -> None:
    """Connects the processes of a launcher where there is no accelerator, for which MMEngine knows no backend."""
    launcher = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    launcher.add_argument('--launcher')
    if launcher.parse_known_args()[0].launcher != 'pytorch':
        return
    if 'RANK' not in os.environ:
        raise UserError(
            '--launcher pytorch: this process was not started by torchrun or by mim with --gpus, which tell it its '
            'place among the others'
        )
    if get_device() == 'cpu':
        torch.distributed.init_process_group('gloo')
        options = dict(device_ids=None, broadcast_buffers=False)  # the latter as MMEngine has it elsewhere
        sys.argv += ['--cfg-options', *(f'model_wrapper_cfg.{key}={value}' for key, value in options.items())]
