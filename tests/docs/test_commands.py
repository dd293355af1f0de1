"""Command and code blocks of the docs: they run at toy size, or say what they need and are well formed."""

import argparse
import functools
import io
import os
import re
import runpy
import shlex
import shutil
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch
from conftest import REPO, toy_config
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils import digit_version
from mmpose.registry import MODELS

from mmpose_tskd.apis import export

PAGES = [REPO / name for name in ('README.md', 'CONTRIBUTING.md')] + sorted(
    page for page in (REPO / 'docs').rglob('*.md') if not {'_build', 'results'} & set(page.parts)
)
BLOCK = re.compile(r'^(?:( *)<!-- (needs: [^>]+|config) -->\n)?( *)```(bash|python)\n(.*?)^ *```$', re.M | re.S)
TARGETS = set(re.findall(r'^([\w-]+):', (REPO / 'Makefile').read_text(), re.M))
# what a block may call beside this package's tools
PROGRAMS = {'cd', 'git', 'ln', 'mim', 'pip', 'pre-commit', 'source', 'tar', 'tensorboard'}


class Parsed(BaseException):
    """A tool has read its command line."""


def blocks(page, language):
    """The marker and the text of each block of a page."""
    return [(match[2] or '', match[5]) for match in BLOCK.finditer(page.read_text()) if match[4] == language]


def commands(text):
    """The commands of a block, as words; variables that the block sets are filled in."""
    found, variables = [], {}
    for line in text.replace('\\\n', ' ').splitlines():
        line = re.sub(r'\$\([^)]*\)', 'FOUND', line)  # of another command
        line = re.sub(r'\$(\w+)', lambda match: variables.get(match[1], match[1]), line)
        words = [word for word in shlex.split(line, comments=True) if word != 'export']
        while words and re.fullmatch(r'\w+=.*', words[0]):
            name, _, value = words.pop(0).partition('=')
            variables[name] = value
        if words:
            found.append(words)
    return found


@contextmanager
def stopped_at_the_command_line():
    parse = argparse.ArgumentParser.parse_args

    def stop(parser, *args):
        parse(parser, *args)
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, 'parse_args', stop)
        yield


def run_tool(tool, args):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [str(tool), *args])
        runpy.run_path(str(REPO / tool), run_name='__main__')


def check_tool(tool, args):
    assert (REPO / tool).is_file(), f'there is no {tool}'
    output = io.StringIO()
    try:
        with stopped_at_the_command_line(), redirect_stdout(output), redirect_stderr(output):
            run_tool(tool, args)
    except Parsed:
        return
    except SystemExit:
        pass
    raise AssertionError(f'{tool} {" ".join(args)}: {output.getvalue()[-500:]}')


def find_config(name):
    """As mim does: by its path, or by its name alone."""
    return (REPO / name).is_file() or len(list((REPO / 'configs').rglob(name))) == 1


def check(words):
    """That a command names tools, options, targets and files that there are."""
    program, *args = words
    if program == 'make':
        folders = {'-C'} & set(args)
        assert folders or {arg for arg in args if '=' not in arg} <= TARGETS, words
    elif program == 'mim' and args[0] in ('train', 'test'):
        assert args[1] == 'mmpose_tskd' and (
            find_config(args[2]) or '/' not in args[2] or 'configs_table4' in args[2]
        ), words
    elif program == 'mim' and args[0] == 'run':
        check_tool(f'tools/{args[2]}.py', args[3:])
    elif program.endswith('python') and args[0] == '-c':
        compile(args[1], 'command', 'exec')
    elif program.endswith('python') and args[0] == '-m':
        assert args[1] in ('pytest', 'sphinx'), words
    elif program.endswith('python') and args[0].startswith('tests/'):
        assert (REPO / args[0]).is_file(), words
    elif program.endswith('python'):
        check_tool(args[0], args[1:])
    else:
        assert program in PROGRAMS, f'what is {program}?'
    for word in words:
        if re.match(r'(configs|tools|tests)/[^*{]*$', word):
            assert (REPO / word).exists(), f'there is no {word}'


MARKED = [page for page in PAGES if any(blocks(page, 'bash'))]


@pytest.mark.parametrize('page', MARKED, ids=lambda page: str(page.relative_to(REPO)))
def test_commands_name_tools_options_and_files_that_exist(page):
    for _, text in blocks(page, 'bash'):
        for words in commands(text):
            check(words)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_code_is_python(page):
    for _, text in blocks(page, 'python'):
        compile(text, str(page), 'exec')


@pytest.fixture(scope='module')
def files(toy_data, tmp_path_factory):
    """What the pages take for granted: a student and a teacher with their weights, labels, images, a run."""
    folder = tmp_path_factory.mktemp('files')
    init_default_scope('mmpose')
    torch.manual_seed(0)
    for name, config, width in (
        ('my_student', 'simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py', 8),
        ('my_teacher', 'simcc/coco/simcc_hrnet-w48_4xb32-210e_coco-256x192.py', 12),
    ):
        cfg = toy_config(config, toy_data, folder / 'work_dirs' / name, width=width)
        cfg.train_cfg.max_epochs = 1
        del cfg._cfg_dict['work_dir']
        cfg.dump(folder / f'{name}.py')
        model = MODELS.build(cfg.model)
        model.init_weights()
        torch.save(dict(state_dict=model.state_dict(), meta={}), folder / f'{name}.pth')
    for end in ('py', 'pth'):
        shutil.copy(folder / f'my_student.{end}', folder / f'student.{end}')
    run = folder / 'work_dirs' / 'my_run'
    run.mkdir(parents=True)
    shutil.copy(folder / 'student.py', run / 'student.py')
    shutil.copy(folder / 'student.pth', run / 'best_coco_AP_epoch_1.pth')
    shutil.copy(toy_data / 'labels.json', folder)
    shutil.copytree(toy_data / 'images', folder / 'images')
    shutil.copy(next((folder / 'images').iterdir()), folder / 'image.jpg')
    for name in ('configs', 'tools'):
        (folder / name).symlink_to(REPO / name)
    return folder


def runnable(page):
    return any(not marker and language == 'bash' for marker, language in kinds(page)) or any(
        marker == 'config' for marker, _ in kinds(page)
    )


def kinds(page):
    return [(match[2] or '', match[4]) for match in BLOCK.finditer(page.read_text())]


@pytest.mark.parametrize('page', filter(runnable, PAGES), ids=lambda page: str(page.relative_to(REPO)))
def test_blocks_run(page, files, tmp_path, monkeypatch):
    """In the page's order, in one folder: configs are built, commands and programs run."""
    pytest.importorskip('onnxruntime')
    monkeypatch.setattr(export, 'to_onnx', functools.partial(export.to_onnx, legacy=True))  # in a tenth of the time
    shutil.copytree(files, tmp_path / 'here', symlinks=True)
    monkeypatch.chdir(tmp_path / 'here')
    monkeypatch.setattr(sys, 'path', [*sys.path, os.getcwd()])
    for match in BLOCK.finditer(page.read_text()):
        marker, language, text = match[2] or '', match[4], match[5]
        if marker == 'config':
            name = re.match(r'# ([\w-]+\.py)\n', text)[1]
            Path(name).write_text(text)
            init_default_scope('mmpose')
            MODELS.build(Config.fromfile(name).model)
        elif language == 'python' and text.startswith('import'):
            exec(compile(text, str(page), 'exec'), {})
        elif language == 'bash' and not marker:
            for words in commands(text):
                if 'fp16' not in words or digit_version(torch.__version__) >= digit_version('2.2'):
                    run_tool(words[1], words[2:])
