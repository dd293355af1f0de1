"""The notebook of the quickstart runs from top to bottom, at toy size."""

import re

import pytest
from conftest import REPO

nbformat = pytest.importorskip('nbformat')
nbclient = pytest.importorskip('nbclient')

NOTEBOOK = REPO / 'docs' / 'quickstart.ipynb'
FORKED = f"""
import sys
sys.path.insert(0, {str(REPO / 'tests')!r})
from mmpose_tskd.apis.distill import steps
from processes import ForkedTool
steps.launch = ForkedTool
"""


def test_it_is_stored_without_outputs():
    for cell in nbformat.read(NOTEBOOK, 4).cells:
        assert cell.cell_type == 'markdown' or (cell.outputs == [] and cell.execution_count is None)


def test_it_runs(tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime')
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    notebook = nbformat.read(NOTEBOOK, 4)
    sizes = dict(IMAGES='40', TEST_IMAGES='8', EPOCHS='(1, 1, 1)')
    for name, value in sizes.items():
        notebook.cells[1].source, count = re.subn(
            rf'^{name} = .*', f'{name} = {value}', notebook.cells[1].source, flags=re.M
        )
        assert count == 1
    notebook.cells.insert(0, nbformat.v4.new_code_cell(FORKED))
    nbclient.NotebookClient(notebook, timeout=1800, resources=dict(metadata=dict(path=str(tmp_path)))).execute()
    outputs = [text for cell in notebook.cells for text in (out.get('text', '') for out in cell.get('outputs', []))]
    assert any('M parameters' in text for text in outputs)
    assert (tmp_path / 'work_dirs/notebook/report.html').is_file()
