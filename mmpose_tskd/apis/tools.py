import os
import re
import runpy
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional

import mmpose
import torch
from mmengine.config import Config
from mmengine.device import get_device

from ..checkpoints import replace_loaders, trusting_checkpoints
from ..datasets.label_checks import check_labels, read_boxes_as_json
from ..errors import UserError, printable
from ..paths import load_config
from .advice import environment_advice
from .console import quiet_coco_tools, short_console

TRUST = '--trust-checkpoint'
PHASES = dict(
    train=('train_dataloader', 'train_cfg', 'optim_wrapper'),
    val=('val_dataloader', 'val_cfg', 'val_evaluator'),
    test=('test_dataloader', 'test_cfg', 'test_evaluator'),
)
# what MMEngine, MMPose and Python say where a part of a config has no type, an unknown one, options that its class has
# not, or needs another package
UNBUILDABLE = re.compile(
    r'is not in the .* registry|must contain the key "type"|cfg should be a dict|is not installed|'
    r'__init__\(\) (got an unexpected keyword argument|missing \d+ required)'
)


def run_mmpose_tool(name: str) -> None:
    """Runs one of the tools that MMPose ships, with the command line as it stands.

    A mistake of the user's, in the config, the labels or a file, ends it with a message alone. Every checkpoint is
    loaded tensors-only, unless ``--trust-checkpoint`` is on the command line, which MMPose's tool does not see.

    Args:
        name: The tool's file name without its ending: ``'train'`` or ``'test'``.
    """
    path = Path(mmpose.__file__).parent / '.mim' / 'tools' / f'{name}.py'
    if not path.is_file():
        sys.exit(f'error: MMPose\'s own {name} tool is not at {path}: reinstall mmpose ("mim install mmpose")')
    trusts = TRUST in sys.argv
    if trusts:
        sys.argv.remove(TRUST)
    tool = runpy.run_path(str(path))
    try:
        with reporting_mistakes(), trusting_checkpoints(trusts), short_console():
            args = tool['parse_args']()
            _join_cpu_processes(args.launcher)
            check_config(tool['merge_args'](load_config(args.config), args), name)
            tool['main']()
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT, as shells count


def check_config(cfg: Config, task: str) -> None:
    """Checks that a config has all that a run needs, and its labels, before anything is built.

    Args:
        cfg: The run's.
        task: ``'train'`` or ``'test'``.

    Raises:
        UserError: An entry is missing, or labels cannot be used (:func:`check_labels`).
    """
    if cfg.get('model') is None:
        raise UserError('the config has no model')
    for phase, keys in PHASES.items():
        lacking = [key for key in keys if cfg.get(key) is None]
        if lacking and (phase == task or len(lacking) < len(keys)):
            raise UserError(f'the config has no {", ".join(lacking)}: {", ".join(keys)} belong together')
        steps = [(key, cfg[keys[1]].get(key, 1)) for key in ('max_epochs', 'max_iters', 'val_interval') if not lacking]
        for key, value in steps:
            if value is not None and not (isinstance(value, int) and value > 0):
                raise UserError(f'{keys[1]}.{key} is a whole number above 0, not {value!r}')
        if not lacking and (phase == 'test') == (task == 'test'):
            check_labels(cfg[keys[0]].dataset)


@contextmanager
def reporting_mistakes() -> Iterator[None]:
    """Ends a tool with a message, exit status 1 and no traceback, if :func:`explain` has a message for the exception.

    MMEngine and MMPose read checkpoints by :func:`read_checkpoint`, and a detector's boxes as JSON, from then on. The
    COCO tools are silent meanwhile.
    """
    replace_loaders()
    read_boxes_as_json()
    try:
        with quiet_coco_tools():
            yield
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        if isinstance(error, BrokenPipeError):  # or Python would try to write the rest when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(f'error: {printable(message)}')


def explain(error: Exception) -> Optional[str]:
    """What a user can do about an exception; None where it is not a mistake of the user's, for all that is known."""
    if isinstance(error, UserError):
        return str(error)
    advice = environment_advice(error)
    if advice is not None:
        return advice
    if isinstance(error, BrokenPipeError):
        return 'what read the output has closed it. A training run goes on by the same command with --resume'
    if isinstance(error, OSError):
        return f'{error}: check that path, its permissions and the space on its disk'
    message = str(error.args[0]) if error.args else ''
    return f'the config cannot be built: {message}' if UNBUILDABLE.search(message) else None


def _join_cpu_processes(launcher: str) -> None:
    """Connects a launcher's processes by gloo on a machine without accelerator, as MMEngine does not do there."""
    if launcher != 'pytorch':
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
