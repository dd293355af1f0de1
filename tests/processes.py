"""Processes of their own for what tests let run, forked from a server that has imported everything."""

import functools
import multiprocessing
import os
import runpy
import sys
from pathlib import Path

CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(['mmpose_tskd.apis.quickstart', 'mmpose.apis', 'scipy.io', 'pytest'])


def start(target, *args, log, **env):
    """Lets a module's function run; what it prints goes to a file."""
    process = CONTEXT.Process(target=_enter, args=(target, args, str(log), env))
    process.start()
    return process


def _enter(target, args, log, env):
    os.environ.update(env)
    with open(log, 'a') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    import mmengine.config.config
    import torch
    from mmengine.registry import init_default_scope

    torch.set_num_threads(1)
    mmengine.config.config.FormatCode = lambda text, **options: (text, True)  # as in conftest.py
    init_default_scope('mmpose')
    target(*args)


def run_tool(name, *flags):
    """One of the command-line tools, as in a process that was started for it."""
    from mmpose_tskd.apis.tools import run_mmpose_tool

    sys.argv = [f'{name}.py', *(str(flag) for flag in flags)]
    run_mmpose_tool(name)


def finish(process, log, exit_codes=(0,), seconds=300):
    process.join(seconds)
    process.kill()  # where it hangs
    process.join()
    if process.exitcode not in exit_codes:
        lines = Path(log).read_text().splitlines()
        start = max((i for i, line in enumerate(lines) if line.startswith('Traceback')), default=-40)
        raise AssertionError('\n'.join(lines[start:][:40]))
    return process.exitcode


def _run_as_tool(tool, arguments, threads):
    import torch

    from mmpose_tskd.apis import export

    torch.set_num_threads(threads)
    export.to_onnx = functools.partial(export.to_onnx, legacy=True)  # which takes a tenth of the time
    sys.argv = [tool, *arguments]
    runpy.run_path(tool, run_name='__main__')


class ForkedTool:
    """In place of what starts a command of a distillation in a Python that has to import everything."""

    def __init__(self, command, environment, log):
        self.process = start(_run_as_tool, command[1], command[2:], int(environment['OMP_NUM_THREADS']), log=log)

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        return self.process.exitcode

    def send_signal(self, number):
        os.kill(self.process.pid, number)

    def wait(self):
        self.process.join()
