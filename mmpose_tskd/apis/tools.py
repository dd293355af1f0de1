import argparse
import inspect
import os
import re
import runpy
import sys
import traceback
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

import mmpose
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmengine.registry import build_from_cfg
from mmengine.runner import Runner

from ..checkpoints import replace_loaders, trusting_checkpoints
from ..datasets.label_checks import explain_labels
from ..errors import UserError

TRUST = '--trust-checkpoint'
TRUST_HELP = 'load checkpoints in full, with any code that they hold; for those whose maker you trust'


def run_mmpose_tool(name: str) -> None:
    """Runs one of the tools that MMPose ships, with the command line as it stands.

    A mistake of the user's, in the config, the labels or a file, ends it with a message alone. Every checkpoint is
    loaded tensors-only, unless ``--trust-checkpoint`` is on the command line, which MMPose's tool does not see.

    Args:
        name: The tool's file name without its ending: ``'train'`` or ``'test'``.
    """
    tool = Path(mmpose.__file__).parent / '.mim' / 'tools' / f'{name}.py'
    if not tool.is_file():
        sys.exit(f'error: MMPose\'s own {name} tool is not at {tool}: reinstall mmpose ("mim install mmpose")')
    if {'-h', '--help'} & set(sys.argv):
        print(f'{TRUST}: {TRUST_HELP}; an option of this package, those of MMPose follow\n')
    trusts = TRUST in sys.argv
    if trusts:
        sys.argv.remove(TRUST)
    try:
        with reporting_mistakes(), trusting_checkpoints(trusts):
            _join_cpu_processes()
            runpy.run_path(str(tool), run_name='__main__')
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT, as shells count


@contextmanager
def reporting_mistakes() -> Iterator[None]:
    """Ends a tool with a message alone, and exit status 1, for what :func:`explain` has one for.

    MMEngine and MMPose read checkpoints by :func:`read_checkpoint` from then on.
    """
    replace_loaders()
    try:
        yield
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        sys.exit(f'error: {message}')


def explain(error: Exception) -> Optional[str]:
    """What a user can do about an exception; None where it is not a mistake of the user's, for all that is known."""
    if isinstance(error, UserError):
        return str(error)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in frames:
        if frame.f_globals.get('__name__') == 'importlib':  # a program of the user's, such as custom_imports names
            return None
        if frame.f_code is Config.fromfile.__code__ and frame is not frames[-1]:
            kind = '' if isinstance(error, OSError) else f'{type(error).__name__}: '
            return f'the config {frame.f_locals["filename"]} cannot be read: {kind}{error}'
    if isinstance(error, BrokenPipeError):
        return 'the program that this output goes to has ended'
    if isinstance(error, OSError):
        return f'{error}: check that path, its permissions and the space on its disk'
    if isinstance(error, AssertionError) and 'does not exist' in str(error):  # MMPose's, of an annotation file
        return (
            f"{error}\nPaths are relative to the current folder. The data sets' are data_root, ann_file, "
            'data_prefix and bbox_file of each dataloader.dataset, and ann_file of the evaluators: change them in the '
            'config or by --cfg-options.'
        )
    if isinstance(error, (ValueError, RuntimeError)) and frames[-1].f_globals.get('__name__') == Runner.__module__:
        return f'the config cannot be run: {error}'
    for place in reversed(range(len(frames))):
        frame = frames[place]
        if frame.f_code is BaseDataset.full_init.__code__:
            return explain_labels(frame.f_locals['self'], error)
        if frame.f_code is build_from_cfg.__code__:
            constructors = {inner.f_code.co_name for inner in frames[place + 1 :]} <= {'__init__'}
            return _explain_build(frame.f_locals, error) if constructors else None
        if frame.f_code is Runner.from_cfg.__func__.__code__ and isinstance(error, KeyError):
            return f'the config has no {error.args[0]}'
    return None


def _explain_build(build: Dict[str, Any], error: Exception) -> Optional[str]:
    """Of a part of the config that MMEngine can build nothing from: no dict, an unknown type, or options it lacks."""
    cfg = build['cfg']
    if 'obj_cls' not in build:
        return f'the config has {cfg!r} where a dict with a type belongs'
    if build['obj_cls'] is None:
        return (
            f'the config has type={cfg["type"]!r}, which is not in the registry: is it misspelt, or custom_imports '
            'missing?'
        )
    wrong = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if not isinstance(error, TypeError) or (wrong is None and 'required' not in str(error)):
        return None
    makers = [vars(base).get('__init__') for base in inspect.getmro(build['obj_cls'])]
    options = {name for maker in makers if inspect.isfunction(maker) for name in inspect.signature(maker).parameters}
    options -= {'self', 'args', 'kwargs'}
    near = get_close_matches(wrong[1], options, 1) if wrong else ()
    hint = f'; did you mean {near[0]!r}?' if near else f'. It takes {", ".join(sorted(options))}'
    return f"the config's dict with type={cfg['type']!r} cannot be built: {error}{hint}"


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
