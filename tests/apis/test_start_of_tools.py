"""Help without a wait."""

import subprocess
import sys

import pytest
from conftest import REPO

TOOLS = [*REPO.glob('tools/*.py'), *REPO.glob('tools/lab/*.py')]
PROGRAM = """
import runpy, sys
sys.argv = [sys.argv[1], '--help']
try:
    runpy.run_path(sys.argv[0], run_name='__main__')
except SystemExit as end:
    assert not end.code
loaded = {'torch', 'cv2', 'mmpose', 'mmpose_tskd'} & set(sys.modules)
sys.exit(f'has imported {", ".join(sorted(loaded))}' if loaded else 0)
"""


@pytest.mark.parametrize('tool', TOOLS, ids=lambda tool: tool.stem)
def test_a_tool_shows_its_help_before_it_imports_anything_large(tool, tmp_path):
    done = subprocess.run([sys.executable, '-c', PROGRAM, tool], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('usage: ') or '\nusage: ' in done.stdout
    if tool.stem in ('train', 'test'):
        assert '--trust-checkpoint' in done.stdout and '--cfg-options' in done.stdout
