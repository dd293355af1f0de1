"""The site of the docs: ``make docs`` builds it into docs/_build."""

from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

import mmpose_tskd

project = 'mmpose_tskd'
author = 'The mmpose_tskd authors'
release = mmpose_tskd.__version__
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.viewcode']
exclude_patterns = ['_build', 'results']
nitpicky = False

html_theme = 'furo'
html_title = f'mmpose_tskd {release}'
html_math_renderer = 'mathml'
html_show_copyright = False

myst_enable_extensions = ['dollarmath', 'attrs_block']
myst_heading_anchors = 4

autodoc_member_order = 'groupwise'
autodoc_typehints = 'none'  # the docstrings say shapes, units and ranges
autodoc_mock_imports = ['onnxscript', 'transformers']
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# Files beside docs/ that are pages of the site: links to them stay inside it.
PAGES = {
    '../README.md': 'index.md',
    '../CONTRIBUTING.md': 'contributing.md',
    '../SECURITY.md': 'security.md',
    '../CHANGELOG.md': 'changelog.md',
}


def _stay_inside(app: Sphinx, name: str, source: list[str]) -> None:
    for file, page in PAGES.items():
        up = '../' * name.count('/')
        source[0] = source[0].replace(f']({up}{file}', f']({up}{page}')


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(_mathml(node, as_block=False))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="equation">{_mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def _mathml(node: nodes.Element, as_block: bool) -> str:
    """MathML, which browsers render by themselves: the site loads nothing from elsewhere."""
    return str(tex2mathml(node.astext(), as_block=as_block))


def setup(app: Sphinx) -> None:
    app.connect('source-read', _stay_inside)
    app.add_html_math_renderer('mathml', (_inline, None), (_block, None))
