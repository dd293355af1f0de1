"""A page that shows what several models say of the same instances."""
# ruff: noqa: F811

import json
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest
import torch
from mmpose.apis import inference_topdown, init_model
from saved_estimators import save_estimator  # noqa: F401

from mmpose_tskd.apis import compare as comparing
from mmpose_tskd.apis.coco_results import coco_results
from mmpose_tskd.apis.compare import compare_models, open_column, sides
from mmpose_tskd.errors import UserError
from mmpose_tskd.poses import load_skeleton

BROWSER = shutil.which('chromium') or shutil.which('google-chrome') or shutil.which('chromium-browser')


def data_of(page):
    return json.loads(re.search(r'const data = (.*);\nconst SVG', page.read_text())[1])


@pytest.fixture
def hidden_data(toy_data, tmp_path):
    """The toy labels, of which the images' instances hide one keypoint more from image to image."""
    labels = json.loads((toy_data / 'labels.json').read_text())
    for number, person in enumerate(labels['annotations']):
        for k in range(1, 1 + number):
            person['keypoints'][3 * k + 2] = 1
    (tmp_path / 'hidden.json').write_text(json.dumps(labels))
    return str(tmp_path / 'hidden.json'), str(toy_data / 'images')


@pytest.mark.parametrize('kind', ['simcc', 'udp'])
def test_a_column_says_what_mmpose_says(kind, save_estimator, hidden_data):
    saved = save_estimator(kind)
    model = init_model(saved.config, saved.checkpoint, device='cpu')
    model.test_cfg['flip_test'] = False
    image = cv2.imread(f'{hidden_data[1]}/1.png')
    boxes = np.array([[12, 12, 84, 116], [5, 10, 60, 100]], dtype=np.float32)
    expected = [s.pred_instances for s in inference_topdown(model, image, boxes)]
    said = open_column((saved.config, saved.checkpoint))(image, boxes)
    assert len(said.poses) == 4 and (said.bins is not None) == (kind == 'simcc')
    assert said.poses[-1] == pytest.approx(np.concatenate([e.keypoints for e in expected]), abs=1e-2)
    assert said.scores == pytest.approx(np.concatenate([e.keypoint_scores for e in expected]), abs=1e-4)


def test_files_of_results_and_onnx_stand_beside_a_config(save_estimator, hidden_data, tracing, tmp_path):
    pytest.importorskip('onnxruntime')
    from mmpose_tskd.apis.export import export_onnx

    saved = save_estimator('simcc')
    labels, images = hidden_data
    exported = export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'p.onnx'))
    truth = json.loads(open(labels).read())['annotations']
    results = []
    for person in truth[:-1]:
        points = np.array(person['keypoints']).reshape(1, -1, 3)
        results += coco_results(person['image_id'], points[..., :2] + 3, np.full((1, 17), 0.5))
    (tmp_path / 'results.json').write_text(json.dumps(results))
    models = dict(torch=(saved.config, saved.checkpoint), onnx=exported.file, results=str(tmp_path / 'results.json'))
    page = compare_models(models, labels, images, str(tmp_path / 'out'))
    data = data_of(page)
    assert data['models'] == ['torch', 'onnx', 'results'] and len(data['rows']) == 6
    assert list(data['graphs']) == ['torch'] and len(data['graphs']['torch']) == 12
    assert np.allclose(np.sum(data['graphs']['torch'][0]['weights'], axis=1), 1, atol=0.02)
    for number, row in enumerate(sorted(data['rows'], key=lambda row: row['id'])):
        said = row['said']
        assert np.allclose(said['torch']['poses'][-1], said['onnx']['poses'][-1], atol=0.15)
        assert row['hidden'] == pytest.approx(number / 16, abs=1e-3)
        if number < 5:
            assert said['results']['errors'][0] == pytest.approx(100 * np.hypot(3, 3) / np.sqrt(72 * 104), abs=0.06)
        else:
            assert said['results']['errors'] == [None]
    assert cv2.imread(str(tmp_path / 'out' / 'comparison.png')).std() > 5
    assert 'http' not in re.sub(r'http://www.w3.org/2000/svg', '', page.read_text())  # it loads nothing


CRAFTED = dict(
    keypoints=['x', {}, [], [1], None],
    format=['other', ['coords'], {}],
    input_size=[[64], [64, -1], [1e9, 64], ['a', 'b'], [64, float('nan')], [10**400, 64]],
    mean=[[0, 0], [float('nan')] * 3, 'abc'],
    std=[[0, 0, 0]],
    rgb=['no'],
    padding=[0, 10**400, None],
    use_udp=[None],
    skeleton=[[[0, 99]], [[0]], [0], {'a': 1}],
    flip_indices=[[0], [0] * 17, [1.5] * 17],
    sigmas=[[1], [None] * 17],
)


def test_crafted_metadata_of_an_onnx_file_are_refused_by_name(save_estimator, tracing, tmp_path):
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    from mmpose_tskd.apis.export import export_onnx

    saved = save_estimator('simcc')
    file = export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'p.onnx')).file
    model = onnx.load(file)
    stored = {entry.key: entry.value for entry in model.metadata_props}
    crafted = [(key, json.dumps(value)) for key, values in CRAFTED.items() for value in values]
    for key, text in [*crafted, ('mean', '\x1b[2J'), ('sigmas', '[' * 100_000), ('format', None)]:
        left = {name: value for name, value in {**stored, key: text}.items() if value is not None}
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, left)
        onnx.save(model, file)
        with pytest.raises(UserError, match=f'p.onnx.* {key} in its metadata'):
            open_column(file)


def test_an_onnx_file_that_puts_out_something_else_is_refused(save_estimator, hidden_data, tracing, tmp_path):
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    from mmpose_tskd.apis.export import export_onnx

    saved = save_estimator('simcc')
    file = export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'p.onnx')).file
    model = onnx.load(file)
    for entry in model.metadata_props:
        if entry.key == 'format':
            entry.value = '"rtmlib"'
    onnx.save(model, file)
    with pytest.raises(UserError, match='puts out .* which is not what its metadata say'):
        compare_models(dict(a=file), *hidden_data, str(tmp_path / 'out'))


def test_numbers_of_a_page_are_json():
    assert comparing._rounded(np.array([np.nan, np.inf, 1.26]), 1) == [None, None, 1.3]


@pytest.mark.skipif(BROWSER is None, reason='needs Chromium')
def test_a_browser_draws_sorts_and_filters(save_estimator, hidden_data, tmp_path):
    saved, labels = save_estimator('simcc'), hidden_data
    page = compare_models(dict(ours=(saved.config, saved.checkpoint)), *labels, str(tmp_path / 'out'))

    def open_page(state):
        options = ['--headless', '--no-sandbox', '--disable-gpu', '--virtual-time-budget=5000', '--dump-dom']
        command = [BROWSER, *options, f'--user-data-dir={tmp_path}/profile', f'{page.as_uri()}#{state}']
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        return done.stdout

    shown = open_page('sort=hidden&joint=0,0,5')
    assert re.findall(r'data-id="(\d+)"', shown) == ['6', '5', '4', '3', '2', '1']
    assert shown.count('class="bins"') == 2 and shown.count('class="graph"') == 1
    assert shown.count('class="joint hidden"') == 2 * sum(range(6))  # in the truth and in the model's column
    assert 'class="path"' in shown
    filtered = open_page('sort=hidden&hidden=20&rising=1')
    assert re.findall(r'data-id="(\d+)"', filtered) == ['5', '6'] and '2 of 6 images' in filtered


def test_sides_come_from_names_and_mirror_pairs():
    skeleton = load_skeleton('CocoDataset')
    assert sides(skeleton)[:3] == ['middle', 'left', 'right']
    unnamed = skeleton._replace(names=tuple(str(k) for k in range(17)))
    assert sides(unnamed)[:3] == ['middle', 'left', 'right']


def test_mistakes_are_named(save_estimator, hidden_data, tmp_path):
    saved = save_estimator('msra', refined=False)
    labels, images = hidden_data
    ours = dict(ours=(saved.config, saved.checkpoint))
    (tmp_path / 'bad.json').write_text('{"a": 1}')
    bad = str(tmp_path / 'bad.json')
    for models, options, message in (
        (dict(a='model'), {}, "a model is CONFIG,CHECKPOINT .*, not 'model'"),
        (dict(a=bad), {}, 'bad.json holds no results in COCO format'),
        (dict(a='gone.onnx'), {}, 'there is no file gone.onnx'),
        (ours, dict(labels=bad), 'bad.json: COCO.s format has lists of images'),
        (ours, dict(labels='gone.json'), 'gone.json does not exist'),
        (ours, dict(images=str(tmp_path)), 'the image .*png is missing or damaged'),
        (ours, dict(out='/proc/no'), '--out /proc/no cannot be written to'),
    ):
        with pytest.raises(UserError, match=message):
            compare_models(models, **{**dict(labels=labels, images=images, out=str(tmp_path / 'o')), **options})


def test_results_in_coco_format_are_what_its_evaluation_reads(toy_data, tmp_path):
    from xtcocotools.coco import COCO
    from xtcocotools.cocoeval import COCOeval

    coco = COCO(str(toy_data / 'labels.json'))
    results = []
    for image_id in coco.getImgIds():
        people = coco.loadAnns(coco.getAnnIds(image_id))
        points = np.array([person['keypoints'] for person in people]).reshape(len(people), -1, 3)
        results += coco_results(image_id, points[..., :2], torch.full((len(people), 17), 0.9))
    (tmp_path / 'results.json').write_text(json.dumps(results))
    evaluation = COCOeval(coco, coco.loadRes(str(tmp_path / 'results.json')), 'keypoints', np.full(17, 0.05))
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)
