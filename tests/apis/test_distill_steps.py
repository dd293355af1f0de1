"""Commands that depend on one another, with tiny tools in place of the real ones."""

import functools
import json
import os
import random
import subprocess
import time
from pathlib import Path

import pytest
from processes import finish, start

from mmpose_tskd.apis.distill import steps
from mmpose_tskd.apis.distill.steps import Step, run_steps
from mmpose_tskd.apis.records import write_record
from mmpose_tskd.apis.report import read_scalars, training_seconds
from mmpose_tskd.errors import UserError

TOOL = """
import os, sys, time
out, seconds = sys.argv[1], float(sys.argv[2])
with open(out + '.starts', 'a') as file:
    file.write(f'{os.getpid()}\\n')
time.sleep(seconds)
if 'fail' in sys.argv:
    sys.exit('error: the disk is full')
open(out, 'w').write(' '.join(sys.argv[3:]))
"""


@pytest.mark.parametrize(
    'record', [{}, dict(digest_of_settings=1), dict(digest_of_settings='', command=[], seconds='')]
)
def test_a_crafted_record_of_a_step_is_refused(record, tmp_path):
    step = make(tmp_path, 'a')
    step.output.touch()
    write_record(record, tmp_path / 'steps' / 'a.json')
    with pytest.raises(UserError, match='a.json is no such record, which has .*seconds: delete it'):
        steps._read(step, tmp_path, '')


def test_lines_of_a_log_that_are_none_are_passed_over(tmp_path):
    log = tmp_path / '1' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_bytes(b'[1]\n3\n{"a": 1}\n{"step": "a"}\n\xff\n' + 100_000 * b'[' + b'\n{"step": 2}\n{"st')
    assert read_scalars(tmp_path) == [dict(step=2)]


def test_the_time_of_a_training_counts_what_was_done_before_a_stop(tmp_path):
    assert training_seconds(tmp_path) is None
    pieces = [
        [dict(loss=1, time=2, step=10), dict(loss=1, time=1, step=20)],
        [dict(loss=1, time=3, step=20), dict(step=2)],
    ]
    for name, entries in zip('ab', pieces):  # the second one goes on from step 10
        log = tmp_path / name / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text('\n'.join(map(json.dumps, entries)))
    assert training_seconds(tmp_path) == 2 * 10 + 3 * 10


def make(out, name, *more, needs=(), seconds=0.0):
    return Step(name, 'tool', [str(out / name), str(seconds), *more], out / name, needs)


def chain(out, seconds=0.0):
    first = [make(out, 'teacher', seconds=seconds), make(out, 'student', seconds=seconds)]
    return [*first, make(out, 'stage1', needs=['teacher'], seconds=seconds), make(out, 'stage2', needs=['stage1'])]


def starts(out, name):
    return len((out / f'{name}.starts').read_text().splitlines())


def is_running(number):
    """Whether a process runs; one that has ended stays in the table where no init asks for its exit code."""
    stat = Path('/proc') / number / 'stat'
    return stat.exists() and stat.read_text().rpartition(')')[2].split()[0] != 'Z'


@pytest.fixture
def tools(tmp_path, monkeypatch):
    folder = tmp_path / 'tools'
    folder.mkdir()
    (folder / 'tool.py').write_text(TOOL)
    monkeypatch.setattr(steps, 'TOOLS', folder)
    return folder


@pytest.fixture
def out(tmp_path):
    (tmp_path / 'out').mkdir()
    return tmp_path / 'out'


def test_what_is_done_is_not_done_again(tools, out, capsys):
    outcomes = run_steps(chain(out), out, 2)
    assert list(outcomes) == ['teacher', 'student', 'stage1', 'stage2']
    assert run_steps(chain(out), out, 2) == outcomes
    assert [starts(out, name) for name in outcomes] == [1, 1, 1, 1]
    assert '[4/4] stage2: finished before' in capsys.readouterr().out
    (out / 'stage1').unlink()  # and what was made of it
    run_steps(chain(out), out, 2)
    assert [starts(out, name) for name in outcomes] == [1, 1, 2, 2]


def test_independent_steps_run_side_by_side_where_they_may(tools, out):
    pair = [make(out, 'a', seconds=1.0), make(out, 'b', seconds=1.0)]
    begun = []

    def launch(*args, original=steps.launch):
        begun.append(time.monotonic())
        return original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, 'launch', launch)
        run_steps(pair, out, 2)
        run_steps([step._replace(name=f'{step.name}2', output=out / step.name) for step in pair], out, 1)
    assert begun[1] - begun[0] < 0.9 < begun[3] - begun[2]


def test_steps_side_by_side_share_the_threads_and_one_alone_has_them_all(tools, out, monkeypatch):
    threads = []

    def launch(command, environment, log, original=steps.launch):
        threads.append((log.stem, environment['OMP_NUM_THREADS']))
        return original(command, environment, log)

    monkeypatch.setattr(steps, 'launch', launch)
    monkeypatch.setattr(steps.torch, 'get_num_threads', lambda: 8)
    run_steps([make(out, 'first'), make(out, 'a', needs=['first']), make(out, 'b', needs=['first'])], out, 2)
    assert threads == [('first', '8'), ('a', '4'), ('b', '4')]


def test_another_command_in_the_same_folder_is_refused(tools, out):
    run_steps(chain(out), out, 2)
    changed = [make(out, 'teacher', 'other'), *chain(out)[1:]]
    with pytest.raises(UserError, match='teacher was done by another command, or configs were changed since'):
        run_steps(changed, out, 2)
    config = out / 'config.py'
    config.write_text('a = 1')
    run_steps([make(out, 'x', str(config))], out, 1)
    config.write_text('a = 2')
    with pytest.raises(UserError, match='x was done by another command, or configs were changed since'):
        run_steps([make(out, 'x', str(config))], out, 1)


def test_a_failure_says_what_the_tool_said_and_stops_the_others(tools, out):
    pair = [make(out, 'bad', 'fail', seconds=0.2), make(out, 'long', seconds=60)]
    begin = time.monotonic()
    with pytest.raises(
        UserError, match=r'bad has failed \(exit status 1\): the disk is full. Its output is in .*bad.txt'
    ):
        run_steps(pair, out, 2)
    assert time.monotonic() - begin < 30
    assert not is_running((out / 'long.starts').read_text().strip())


def run_chain(tools, out):
    steps.TOOLS = tools
    with steps.alone(out):
        run_steps(chain(out, 0.3), out, 2)


def test_kills_at_random_moments_end_in_the_same_and_leave_nobody_behind(tools, out, tmp_path):
    rng, log = random.Random(0), tmp_path / 'log.txt'
    for _ in range(5):
        process = start(run_chain, tools, out, log=log)
        process.join(rng.uniform(0.1, 1.2))
        process.kill()
        process.join()
    assert finish(start(run_chain, tools, out, log=log), log) == 0
    assert [(out / name).is_file() for name in ('teacher', 'student', 'stage1', 'stage2')] == [True] * 4
    for file in out.glob('*.starts'):
        assert not any(is_running(number) for number in file.read_text().split())


def test_a_child_whose_parent_was_killed_before_it_could_tell_does_not_begin():
    for parent, code in ((os.getpid(), 0), (os.getpid() + 1, 1)):
        child = subprocess.Popen(['true'], preexec_fn=functools.partial(steps._stop_with_parent, parent))
        assert child.wait() == code


def test_several_gpus_go_through_torchs_launcher():
    step = Step('stage1', 'train', ['config.py'], None, gpus=4)
    assert '-m torch.distributed.run --standalone --nproc_per_node=4' in step.shown()
    assert step.shown().endswith('config.py --launcher pytorch')
