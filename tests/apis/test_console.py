"""What a run says on the console, beside its log file."""

import io
import logging
import sys
from pathlib import Path

import pytest
from conftest import train
from mmengine.runner import Runner

from mmpose_tskd.apis.console import ShortConsole, short_console
from mmpose_tskd.apis.tools import reporting_mistakes


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(params=[Terminal, io.StringIO])
def console(request):
    """A logger, and what it writes to: a terminal, and none."""
    logger, handler = logging.Logger('run'), logging.StreamHandler(request.param())
    handler.addFilter(ShortConsole(handler))
    logger.addHandler(handler)
    return logger, handler.stream


def test_batches_of_an_epoch_share_a_line_on_a_terminal_alone(console):
    logger, stream = console
    for epoch in (1, 2):
        for batch in (50, 100):
            details = f'lr: 5.0e-04  eta: 1 day, 0:01:00  time: 0.5  loss: 0.{batch}  acc_pose: 0.5'
            logger.info(f'Epoch(train)  [{epoch}][{batch:3d}/100]  {details}')
        logger.info(f'Epoch(val)  [{epoch}][9/9]    coco/AP: 0.7  time: 0.1')
    lines = stream.getvalue().split('\n')
    if not stream.isatty():
        assert len(lines) == 7 and 'acc_pose' in lines[0]
        return
    first, second = lines[0].split('\r\x1b[2K')
    assert first == 'Epoch(train)  [1][ 50/100]  eta: 1 day, 0:01:00  loss: 0.50'
    assert second == 'Epoch(train)  [1][100/100]  eta: 1 day, 0:01:00  loss: 0.100'
    assert lines[1] == 'Epoch(val)  [1][9/9]    coco/AP: 0.7  time: 0.1'
    assert len(lines) == 5 and lines[2].count('\r') == 1


def test_long_messages_are_for_the_log_file_but_warnings_are_not(console):
    logger, stream = console
    text = '\n'.join(map(str, range(20)))
    logger.info(text)
    assert stream.getvalue() == ''
    logger.warning(text)
    assert stream.getvalue() == f'{text}\n'


def test_a_runs_config_and_environment_stay_in_its_log_file(make_config, capsys):
    cfg = make_config('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py')
    with short_console():
        runner = Runner.from_cfg(cfg)
    runner.logger.info('ready')
    shown = capsys.readouterr().out
    log = runner.logger.log_file
    content = Path(log).read_text()
    assert 'System environment' in content and 'optim_wrapper' in content
    assert 'System environment' not in shown and 'optim_wrapper' not in shown
    assert log in shown and 'ready' in shown and shown.count('\n') < 10


def test_a_name_in_a_file_cannot_steer_the_terminal(make_config, capsys):
    """As a label's id, or the config in a checkpoint, which the log quotes."""
    cfg = make_config('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py')
    with short_console():
        runner = Runner.from_cfg(cfg)
        runner.logger.info('id %s', '\x1b]0;title\x07')
    shown = capsys.readouterr().out
    assert 'id \\x1b]0;title\\x07' in shown and '\x1b]0' not in shown


def test_a_run_in_a_terminal_is_a_line_an_epoch_and_what_it_found(make_config, monkeypatch, capsys):
    """MMEngine logs the run's name before each epoch's last batch, and the COCO tools print their progress."""
    monkeypatch.setattr(type(sys.stdout), 'isatty', lambda stream: True)
    with reporting_mistakes(), short_console():
        train(make_config('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py'))
    shown = capsys.readouterr().out
    lines = [line for line in shown.split('\n') if 'Epoch(train)' in line]
    assert len(lines) == 2 and all(line.count('\r') == 2 for line in lines)  # of three steps
    assert shown.count('coco/AP:') == 2
    for noise in ('Exp name', 'loading annotations', 'Average Precision', 'DONE', 'deprecated'):
        assert noise not in shown, noise
