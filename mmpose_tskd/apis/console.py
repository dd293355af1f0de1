"""What a run says on the console; its log file has all of it."""

import logging
import re
import shutil
from contextlib import ExitStack, contextmanager
from typing import Iterator, Optional
from unittest import mock

import xtcocotools.coco
import xtcocotools.cocoeval
from mmengine.runner import Runner

from ..errors import printable

# what MMEngine writes of a batch: 'Epoch(train)  [1][ 50/100]  lr: ...  eta: 0:01:00  ...', or 'Iter(train) ...'
BATCH = re.compile(r'(?P<where>(?P<epoch>(?:Epoch|Iter)\(\w+\)\s*(\[\s*\d+\])?)\[\s*\d+/\d+\]).*\seta: ')
# what it writes at each epoch about the config's name, and of its own parts that it will replace some day
IDLE = re.compile(r'Exp name: |"FileClient" will be deprecated|"HardDiskBackend" is the alias')
LONG = 10  # lines


class ShortConsole(logging.Filter):
    """Filters a console handler: drops idle messages, and long ones such as the config.

    On a terminal, an epoch's batches share one short line, which is rewritten. Control characters, which names in files
    may contain, are written as their codes.
    """

    def __init__(self, handler: logging.StreamHandler) -> None:
        super().__init__()
        self.stream = handler.stream
        self.epoch: Optional[str] = None  # whose line the cursor is on

    def filter(self, record: logging.LogRecord) -> bool:
        text = printable(record.getMessage())
        record.msg, record.args = text, ()
        if IDLE.match(text) or (record.levelno <= logging.INFO and text.count('\n') >= LONG):
            return False
        batch = BATCH.match(text) if self.stream.isatty() else None
        if self.epoch is not None:
            self.stream.write('\r\x1b[2K' if batch and batch['epoch'] == self.epoch else '\n')
        self.epoch = batch and batch['epoch']
        if batch is None:
            return True
        details = re.findall(r'(?<=\s)(?:eta|loss): .*?(?=\s\s|$)', text)
        self.stream.write('  '.join([batch['where'], *details])[: shutil.get_terminal_size().columns - 1])
        self.stream.flush()
        return False


@contextmanager
def quiet_coco_tools() -> Iterator[None]:
    """Suppresses what the COCO tools print: their progress, and the table whose values MMPose's metrics log."""
    with ExitStack() as stack:
        for module in (xtcocotools.coco, xtcocotools.cocoeval):
            stack.enter_context(mock.patch.object(module, 'print', lambda *values: None, create=True))
        yield


@contextmanager
def short_console() -> Iterator[None]:
    """Puts :class:`ShortConsole` on the logger of every Runner that is built."""
    build_logger = Runner.build_logger
    filtered = []

    def build(self, *args, **kwargs):
        logger = build_logger(self, *args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                filtered.append((handler, ShortConsole(handler)))
                handler.addFilter(filtered[-1][1])
        logger.info(f'The log, with config and environment: {logger.log_file}')
        return logger

    try:
        with mock.patch.object(Runner, 'build_logger', build):
            yield
    finally:  # MMEngine keeps the loggers
        for handler, short in filtered:
            handler.removeFilter(short)
