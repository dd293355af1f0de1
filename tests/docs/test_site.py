"""The site builds without a warning, and its reference has all that configs can name."""

import re
import subprocess
import sys

import pytest
from conftest import REPO
from mmengine.registry import HOOKS, OPTIM_WRAPPERS
from mmpose.registry import METRICS, MODELS, TRANSFORMS

pytest.importorskip('myst_parser')


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp('site')
    command = [
        sys.executable,
        '-m',
        'sphinx',
        '-q',
        '-W',
        '--keep-going',
        '-d',
        str(folder / 'trees'),
        'docs',
        str(folder),
    ]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_registered_type_is_in_the_reference(site):
    pages = ''.join(page.read_text() for page in (site / 'reference').glob('*.html'))
    listed = {name.rsplit('.', 1)[1] for name in re.findall(r'id="(mmpose_tskd\.[\w.]+)"', pages)}
    for registry in (HOOKS, METRICS, MODELS, OPTIM_WRAPPERS, TRANSFORMS):
        for name, kind in registry.module_dict.items():
            if kind.__module__.startswith('mmpose_tskd.') and '.lab' not in kind.__module__:
                assert name in listed, f'docs/reference lacks {kind.__module__}.{name}'


def test_equations_are_rendered_and_nothing_is_loaded_from_elsewhere(site):
    page = (site / 'reference' / 'losses.html').read_text()
    assert page.count('<math') >= 8
    for file in site.rglob('*.html'):
        text = file.read_text()
        assert 'src="http' not in text and '<link href="http' not in text, file
