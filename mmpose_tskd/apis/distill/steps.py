"""Runs commands that depend on one another, each in a process of its own, and none twice."""

import ctypes
import fcntl
import hashlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch

from ...errors import UserError
from ...paths import INSTALLED, PACKAGE
from ..records import read_record, write_record
from ..report import read_scalars

TOOLS = (INSTALLED if INSTALLED.is_dir() else PACKAGE.parent) / 'tools'
DIES = 1  # PR_SET_PDEATHSIG of Linux


class Step(NamedTuple):
    """One command.

    Args:
        name: Its name.
        tool: The file in ``tools/``.
        arguments: Of the command.
        output: What it leaves, a file.
        needs: The steps that come before.
        folder: The work folder of a training, to follow it.
        epochs: Of a training.
        gpus: Processes, one a GPU.
    """

    name: str
    tool: str
    arguments: List[str]
    output: Path
    needs: Sequence[str] = ()
    folder: Optional[Path] = None
    epochs: int = 0
    gpus: int = 1

    def command(self) -> List[str]:
        tool = str(TOOLS / f'{self.tool}.py')
        if self.gpus == 1:
            return [sys.executable, tool, *self.arguments]
        launcher = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={self.gpus}']
        return [sys.executable, *launcher, tool, *self.arguments, '--launcher', 'pytorch']

    def shown(self) -> str:
        """As one would type it."""
        command = self.command()
        return shlex.join(['python', *command[1:]])


class Outcome(NamedTuple):
    """What is known of a step that is done: its command, and how many seconds it took since its last start."""

    command: str
    seconds: float


def _digest(step: Step, done: Dict[str, str]) -> str:
    """Of a step's command, the configs that it names, and what came before."""
    digest = hashlib.sha256(repr((step.arguments, step.gpus, [done[name] for name in step.needs])).encode())
    for argument in step.arguments:
        if argument.endswith('.py'):
            digest.update(Path(argument).read_bytes() if Path(argument).is_file() else b'')
    return digest.hexdigest()[:12]


def run_steps(steps: Sequence[Step], out: Path, jobs: int) -> Dict[str, Outcome]:
    """Runs what is not done yet, up to ``jobs`` at a time; each one's output goes to ``out/logs``.

    Steps that run side by side share the CPU's threads, so that none waits for another's. A step that has nothing to
    run beside it has them all. A step is done where its record in ``out/steps`` says so, and its output is there.

    Raises:
        UserError: A step has failed, or one was done by another command or other configs.
    """
    digests: Dict[str, str] = {}
    for step in steps:
        digests[step.name] = _digest(step, digests)
    outcomes: Dict[str, Outcome] = {}
    for step in steps:
        outcome = _read(step, out, digests[step.name])
        if outcome is not None and all(name in outcomes for name in step.needs):
            outcomes[step.name] = outcome
            print(f'[{len(outcomes)}/{len(steps)}] {step.name}: finished before', flush=True)
    running: Dict[str, Tuple[Step, subprocess.Popen, float, _Follower]] = {}
    try:
        while len(outcomes) < len(steps):
            waiting = [step for step in steps if step.name not in outcomes and step.name not in running]
            ready = [step for step in waiting if all(name in outcomes for name in step.needs)]
            is_alone = not running and len(ready) == 1
            for step in ready[: jobs - len(running)]:
                number = len(outcomes) + len(running) + 1
                threads = max(1, torch.get_num_threads() // (1 if is_alone else jobs))
                follower = _Follower(step, f'[{number}/{len(steps)}] {step.name}')
                running[step.name] = (*_start(step, out, threads), follower)
            time.sleep(0.2)
            for name, (step, process, begin, follower) in list(running.items()):
                follower.look()
                if process.poll() is None:
                    continue
                follower.look(last=True)
                if process.returncode or not step.output.exists():
                    raise UserError(_failure(step, process.returncode, out))
                del running[name]
                outcomes[name] = Outcome(step.shown(), round(time.monotonic() - begin, 1))
                record = dict(digest_of_settings=digests[name], **outcomes[name]._asdict())
                write_record(record, out / 'steps' / f'{name}.json')
    finally:
        for _, process, _, _ in running.values():
            process.send_signal(signal.SIGTERM)
        for _, process, _, _ in running.values():
            process.wait()
    return {step.name: outcomes[step.name] for step in steps}


def _read(step: Step, out: Path, digest: str) -> Optional[Outcome]:
    path = out / 'steps' / f'{step.name}.json'
    record = read_record(path, digest_of_settings=str, command=str, seconds=(int, float))
    if record is None or not step.output.exists():
        return None
    if record['digest_of_settings'] != digest:
        raise UserError(
            f'{step.name} was done by another command, or configs were changed since: put {out}/configs back, or '
            f'delete {path} and {step.folder or step.output} to do it anew, or name another --out'
        )
    return Outcome(record['command'], record['seconds'])


def _start(step: Step, out: Path, threads: int) -> Tuple[Step, subprocess.Popen, float]:
    log = out / 'logs' / f'{step.name}.txt'
    log.parent.mkdir(parents=True, exist_ok=True)
    step.output.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    return step, launch(step.command(), environment, log), time.monotonic()


def launch(command: List[str], environment: Dict[str, str], log: Path) -> subprocess.Popen:
    """Starts a command, whose output goes to a file."""
    with log.open('a') as file:
        return subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            close_fds=False,  # it shares the lock of :func:`alone`
            preexec_fn=partial(_stop_with_parent, os.getpid()),
        )


def _stop_with_parent(parent: int) -> None:
    """Lets a training save itself and stop when the process that has started it is killed (on Linux)."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(DIES, signal.SIGTERM)
        if os.getppid() != parent:  # killed before the call
            os._exit(1)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Locks a folder, after waiting for commands that an earlier call has left running there."""
    with (folder / '.lock').open('a') as file:
        os.set_inheritable(file.fileno(), True)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f'another command works in {folder}: waiting for its end', flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _failure(step: Step, code: int, out: Path) -> str:
    log = out / 'logs' / f'{step.name}.txt'
    lines = [line for line in re.split(r'[\r\n]+', log.read_text(errors='replace')) if line.strip()]
    said = next((line for line in reversed(lines) if line.startswith('error: ')), None)
    return (
        f'{step.name} has failed (exit status {code}): {said[7:] if said else " / ".join(lines[-3:])}. Its output is '
        f'in {log}; the same command goes on from here'
    )


class _Follower:
    """Prints what a step does."""

    def __init__(self, step: Step, title: str) -> None:
        self.step, self.title, self.seen, self.time = step, title, -1, 0.0
        print(f'{title}: {"training" if step.folder else "running"}', flush=True)

    def look(self, last: bool = False) -> None:
        if self.step.folder is None or (not last and time.monotonic() - self.time < 2):
            return
        self.time = time.monotonic()
        entries = read_scalars(self.step.folder) if self.step.folder.is_dir() else []
        tested = [entry for entry in entries if 'coco/AP' in entry]
        for entry in [entry for entry in tested if entry['step'] > self.seen]:
            self.seen = entry['step']
            losses = [e['loss'] for e in entries if e.get('epoch') == self.seen]
            loss = f', loss {sum(losses) / len(losses):.3f}' if losses else ''
            where = f'epoch {self.seen}/{self.step.epochs}'
            print(f'{self.title}: {where}{loss}, AP {100 * entry["coco/AP"]:.1f}', flush=True)
