"""Which parts of the package import which: arrows run one way."""

import ast

import pytest
from conftest import REPO

# Each room imports those below it, and what stands beside them all (errors, paths, mmcv_ops).
ROOMS = ['lab', 'apis', ('deploy', 'engine', 'evaluation', 'datasets'), 'models', 'checkpoints', 'poses']
PACKAGE = REPO / 'mmpose_tskd'


def level(room: str):
    for place, rooms in enumerate(ROOMS):
        if room == rooms or room in rooms and isinstance(rooms, tuple):
            return place
    return None


def imported_rooms(path):
    """The rooms that a file imports from, at the top or within a function."""
    package = ['mmpose_tskd', *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            full = [*base, *(node.module.split('.') if node.module else [])]
            names = [[*full, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.split('.') for alias in node.names]
        for name in names:
            if name[0] == 'mmpose_tskd' and len(name) > 1:
                yield name[1]


@pytest.mark.parametrize('path', sorted(PACKAGE.rglob('*.py')), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_below_it(path):
    own = level(path.relative_to(PACKAGE).parts[0])
    for room in imported_rooms(path):
        if own is None and path != PACKAGE / '__init__.py':
            assert level(room) is None, f'{path.name} stands below all rooms and imports {room}'
        elif own is not None and level(room) is not None:
            assert level(room) >= own, f'{ROOMS[own]} imports {room}'


def test_nothing_outside_the_laboratory_imports_it():
    files = [*PACKAGE.rglob('*.py'), *(REPO / 'tools').glob('*.py')]
    outside = [path for path in files if 'lab' not in path.relative_to(REPO).parts]
    text = {path: path.read_text() for path in outside}
    assert len(outside) > 50 and not [path for path in outside if 'mmpose_tskd.lab' in text[path]]
    assert not [path for path in outside if PACKAGE in path.parents and 'lab' in set(imported_rooms(path))]
