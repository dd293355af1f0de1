"""The form of the docs: links, lines, lengths and words."""

import re

import pytest
from test_commands import PAGES as COMMAND_PAGES
from test_commands import REPO

PAGES = [*COMMAND_PAGES, REPO / 'SECURITY.md', REPO / 'CHANGELOG.md']
GUIDES = sorted((REPO / 'docs').glob('*.md'))
CODE = re.compile(r'^ *```.*?^ *```$|`[^`\n]*`', re.M | re.S)
AVOIDED = {
    r'key points?': 'keypoint',
    r'colour\w*|grey|labell\w+|licence|neighbour\w*': 'the American word',
    r'(?:optim|normal|quant|initial|recogn)is(?!m|t)\w+': 'the American word',
    r'distil\b|distils\b': 'distill',
    r'twin': 'copy',
    r'not told apart|told apart from': 'no difference was found',
    r'mended|mends': 'fixed, fixes',
}


def prose(page):
    return re.sub(r'<!--.*?-->', '', CODE.sub('', page.read_text()))


def names(pages):
    return [str(page.relative_to(REPO)) for page in pages]


def anchors(page):
    """As GitHub and MyST make them of headings."""
    headings = re.findall(
        r'^#+ (.+)$', CODE.sub(lambda match: match[0] if '\n' not in match[0] else '', page.read_text()), re.M
    )
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('page', GUIDES, ids=names(GUIDES))
def test_a_guide_is_short(page):
    words = [word for word in prose(page).split() if re.search(r'\w', word)]
    assert len(words) <= 900


@pytest.mark.parametrize('page', PAGES, ids=names(PAGES))
def test_lines_are_short(page):
    assert [line for line in page.read_text().splitlines() if len(line) > 160] == []


@pytest.mark.parametrize('page', PAGES, ids=names(PAGES))
def test_words_are_the_project_s(page):
    text = prose(page)
    for avoided, better in AVOIDED.items():
        found = re.findall(rf'\b(?:{avoided})\b', text, re.I)
        assert not found, f'{found}: say {better}'


@pytest.mark.parametrize('page', PAGES, ids=names(PAGES))
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)\s]+)\)', prose(page)):
        if re.match(r'https?://', target):
            continue
        file, _, anchor = target.partition('#')
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), target
        if anchor and path.suffix == '.md':
            assert anchor in anchors(path), target
