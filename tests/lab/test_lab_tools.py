"""The small tools behind a page of the research docs, at toy size."""

import json
import runpy
import sys

import pytest
import torch
from conftest import REPO, toy_config
from mmpose.registry import MODELS


@pytest.fixture
def run_tool(monkeypatch):
    def run(name, *args):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
        runpy.run_path(str(REPO / 'tools/lab' / name), run_name='__main__')

    return run


def test_labels_are_split_by_images(run_tool, toy_data, tmp_path):
    run_tool('split_labels.py', toy_data / 'labels.json', tmp_path, '--images', 2)
    drawn, rest, whole = (
        json.loads(path.read_text())
        for path in (tmp_path / 'labeled.json', tmp_path / 'rest.json', toy_data / 'labels.json')
    )
    assert len(drawn['images']) == len(drawn['annotations']) == 2
    assert {person['image_id'] for person in drawn['annotations']} == {image['id'] for image in drawn['images']}
    ids = [image['id'] for part in (drawn, rest) for image in part['images']]
    assert sorted(ids) == [image['id'] for image in whole['images']]


def test_flip_tests_are_compared(run_tool, toy_data, tmp_path):
    cfg = toy_config('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py', toy_data, tmp_path / 'work')
    cfg.dump(tmp_path / 'student.py')
    torch.save(MODELS.build(cfg.model).state_dict(), tmp_path / 'student.pth')
    run_tool('flip_test.py', tmp_path / 'student.py', tmp_path / 'student.pth', tmp_path / 'out.json')
    found = json.loads((tmp_path / 'out.json').read_text())
    assert list(found['rows']) == ['bins averaged', 'poses averaged', 'no flip test']
    assert all('coco/AP' in row for row in found['rows'].values())
    assert 0 <= found['share_of_joints_over_15_pixels_apart'] <= 1


def test_memory_formats_are_timed_beside_the_plain_backbone(run_tool, toy_data, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, 'compile', lambda network: network)  # takes minutes
    cfg = toy_config('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py', toy_data, tmp_path / 'work')
    cfg.dump(tmp_path / 'student.py')
    run_tool('memory_formats.py', tmp_path / 'out.json', '--config', tmp_path / 'student.py', '--rounds', 1)
    rows = json.loads((tmp_path / 'out.json').read_text())['rows']
    assert rows['as MMPose has it']['ratio']['median'] == 1
    assert len(rows) == 5 and all(row['median'] > 0 for row in rows.values())
