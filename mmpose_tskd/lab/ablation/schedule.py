"""Runs what is not done yet, several at once."""

import multiprocessing
import os
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Union

import torch
from rich.console import Console

from ...errors import UserError
from .plan import Plan, Run, make_plan
from .report import write_report
from .worker import Task, is_trained, missing_sets, read_run, work

DEV_SETS, TEST_SETS = ['dev', 'dev_occluded'], ['test', 'test_occluded']


def run_ablation(
    spec: Union[str, Path], jobs: int = 1, test: bool = False, report_only: bool = False, **options
) -> Dict[str, Dict[str, Any]]:
    """Trains and measures every run of an ablation that is not finished, and reports on those that are.

    A run is finished if its JSON is in the results folder and holds all sets. It is not started again, even if the JSON
    was made on another machine. But it is trained again if a run that has to be trained builds on it and its checkpoint
    is not in the work folder. A stopped run goes on from its last epoch.

    Args:
        spec: See :func:`make_plan`.
        jobs: Runs at once. Each has a process of its own, its share of the CPU's threads, and one of the GPUs, which
            several may share.
        test: Measure on the test set and its occluded copy, too, and report on it.
        report_only: Start nothing.
        options: Of :func:`make_plan`.

    Returns:
        The summaries by family, see :func:`write_report`: on the test set if ``test``, else on dev.

    Raises:
        UserError: An argument is wrong, or runs have failed.
    """
    if jobs < 1:
        raise UserError(f'--jobs must be 1 or more, not {jobs}')
    plan = make_plan(spec, test=test, **options)
    failed: List[str] = []
    if not report_only:
        tasks = _tasks(plan, DEV_SETS + (TEST_SETS if test else []), max(1, (os.cpu_count() or 1) // jobs))
        failed = _Pool(plan, tasks, jobs).run()
    summaries: Dict[str, Dict[str, Any]] = {}
    for family in dict.fromkeys(plan.runs[name].family for name in plan.chosen):
        for part in ['dev', 'test'] if test else ['dev']:
            summaries[family] = write_report(plan, family, part)
        for warning in summaries[family].get('warnings', []):
            print(f'note: {warning}')
    if failed:
        logs = '\n'.join(f'    {plan.folder(name) / "console.log"}' for name in failed)
        raise UserError(f'{len(failed)} runs have failed or build on one that has. Their output:\n{logs}')
    return summaries


def _tasks(plan: Plan, sets: List[str], threads: int) -> Dict[str, Task]:
    """What is to be done, each after what it needs."""
    tasks: Dict[str, Task] = {}

    def add(run: Run, to_measure: List[str]) -> None:
        folder, record = plan.folder(run.name), plan.record(run.name)
        if not is_trained(run, folder, record):
            for name in run.needs.values():
                if name not in tasks and not is_trained(plan.runs[name], plan.folder(name), plan.record(name)):
                    add(plan.runs[name], [])
        tasks[run.name] = Task(run, folder, record, to_measure, threads)

    for run in [plan.runs[name] for name in plan.chosen]:
        to_measure = [name for name in sets if name in run.sets]
        if missing_sets(run, read_run(run, plan.record(run.name)), to_measure):
            add(run, to_measure)
    return tasks


class _Running(NamedTuple):
    name: str
    process: Any
    place: int
    started: float


class _Pool:
    def __init__(self, plan: Plan, tasks: Dict[str, Task], jobs: int) -> None:
        self.plan, self.waiting, self.jobs = plan, dict(tasks), jobs
        self.running: List[_Running] = []
        self.failed: List[str] = []
        self.done, self.total = 0, len(tasks)
        self.console = Console(highlight=False, soft_wrap=True)
        # A server that has everything imported forks faster than an interpreter starts; CUDA cannot be forked.
        self.context: Any = multiprocessing.get_context('spawn' if torch.cuda.is_available() else 'forkserver')
        if not torch.cuda.is_available():
            self.context.set_forkserver_preload([work.__module__])

    def run(self) -> List[str]:
        """Works off the tasks; returns the names of those that failed."""
        before = len(self.plan.chosen) - len(set(self.waiting) & set(self.plan.chosen))
        self.console.print(f'{len(self.plan.chosen)} runs, {before} finished before')
        try:
            while self.waiting or self.running:
                for name in list(self.waiting):
                    if len(self.running) < self.jobs:
                        self._consider(name)
                if self.running:
                    wait([running.process.sentinel for running in self.running])
                    self._collect()
        finally:
            for running in self.running:
                running.process.terminate()
        return self.failed

    def _consider(self, name: str) -> None:
        """Starts a task if what it needs is there; drops it if that has failed."""
        needs = set(self.waiting[name].run.needs.values())
        if needs & (set(self.waiting) | {running.name for running in self.running}):
            return
        task = self.waiting.pop(name)
        if needs & set(self.failed):
            self.console.print(f'{name}: not started, since what it builds on has failed')
            self.failed.append(name)
            return
        place = min(set(range(self.jobs)) - {running.place for running in self.running})
        process = self.context.Process(target=work, args=(task,), name=name)
        with _gpu(place):
            process.start()
        self.running.append(_Running(name, process, place, time.perf_counter()))
        self.console.print(f'{name}: started')

    def _collect(self) -> None:
        for running in [running for running in self.running if running.process.exitcode is not None]:
            self.running.remove(running)
            self.done += 1
            minutes = (time.perf_counter() - running.started) / 60
            if running.process.exitcode:
                self.failed.append(running.name)
                said = f'FAILED, see {self.plan.folder(running.name) / "console.log"}'
            else:
                record = read_run(self.plan.runs[running.name], self.plan.record(running.name))
                measured = record['sets'] if record else {}
                said = ', '.join(f'{name} AP {content["metrics"]["AP"]:.1f}' for name, content in measured.items())
            self.console.print(f'{self.done}/{self.total} {running.name}: {minutes:.1f} min, {said}')


class _gpu:
    """Lets a process that is started inside see one GPU, by its place among the jobs; none where there is none."""

    def __init__(self, place: int) -> None:
        known = os.environ.get('CUDA_VISIBLE_DEVICES')
        self.known = known
        names = known.split(',') if known else [str(i) for i in range(torch.cuda.device_count())]
        self.name = names[place % len(names)] if names else None

    def __enter__(self) -> None:
        if self.name is not None:
            os.environ['CUDA_VISIBLE_DEVICES'] = self.name

    def __exit__(self, *args) -> None:
        if self.name is not None and self.known is None:
            del os.environ['CUDA_VISIBLE_DEVICES']
        elif self.known is not None:
            os.environ['CUDA_VISIBLE_DEVICES'] = self.known
