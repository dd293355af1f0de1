"""Exported files say what PyTorch says, in every form, for every kind of estimator."""
# ruff: noqa: F811

import json
import runpy
import sys
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from conftest import INPUT_SIZE, REPO
from mmengine.utils import digit_version
from mmpose.apis import init_model
from mmpose.structures.bbox import get_warp_matrix
from saved_estimators import save_estimator  # noqa: F401

onnx = pytest.importorskip('onnx')
ort = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

from mmpose_tskd.apis.export import export_onnx  # noqa: E402
from mmpose_tskd.apis.record_teacher import open_teacher, record_teacher  # noqa: E402
from mmpose_tskd.deploy.check import Agreement, check, compare  # noqa: E402
from mmpose_tskd.deploy.formats import FORMATS  # noqa: E402
from mmpose_tskd.deploy.network import PIXELS, InputLayer, Normalization, PoseNetwork  # noqa: E402
from mmpose_tskd.deploy.onnx_file import OnnxSession  # noqa: E402
from mmpose_tskd.errors import UserError  # noqa: E402
from mmpose_tskd.poses import build_reader  # noqa: E402
from mmpose_tskd.poses.record import load_record  # noqa: E402

KINDS = ['simcc', 'official simcc', 'rtmcc', 'msra', 'udp']


def said_by(model, crops):
    """Keypoints in input pixels, and confidences, of BGR pixels N×3×H×W."""
    with torch.no_grad():
        feats = model.extract_feat(model.data_preprocessor(dict(inputs=list(crops), data_samples=[]), False)['inputs'])
        outputs = build_reader(model.head)(feats, model.head(feats))
    return outputs.peaks.numpy(), outputs.confidence.numpy()


def random_crops(people):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (people, 3, INPUT_SIZE[1], INPUT_SIZE[0]), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize('refined', [True, False])
@pytest.mark.parametrize('kind', KINDS)
def test_every_estimator_agrees_at_any_batch(kind, refined, save_estimator, tracing, tmp_path):
    saved = save_estimator(kind, refined)
    exported = export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'pose.onnx'), pixels=True)
    assert exported.real.people == 6 and exported.real.pixels < 0.05 and exported.random.pixels < 0.05
    session = ort.InferenceSession(exported.file)
    for people in (1, 3, 32):
        crops = random_crops(people)
        keypoints, scores = session.run(['keypoints', 'scores'], {'input': crops.numpy()})
        expected, confidence = said_by(saved.model, crops)
        assert np.abs(keypoints - expected).max() < 0.05 and np.abs(scores - confidence).max() < 1e-3
        assert np.ptp(keypoints) > 10


@pytest.mark.parametrize('kind, form, worst', [('udp', 'coords', 1e-2), ('official simcc', 'rtmlib', 0.3)])
def test_a_file_teaches_as_its_network_does(kind, form, worst, save_estimator, tracing, toy_data, tmp_path):
    """It says itself which keypoints it has, and how it takes its images: rtmlib feeds other colors than MMPose."""
    saved = save_estimator(kind)
    file = export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'pose.onnx'), form=form).file
    assert open_teacher(file).skeleton.names == open_teacher(saved.config, saved.checkpoint).skeleton.names
    answers = []
    for source in ([file], [saved.config, saved.checkpoint]):
        out = tmp_path / 'record.json'
        record_teacher([open_teacher(*source)], str(toy_data / 'labels.json'), str(toy_data / 'images'), str(out))
        answers.append(load_record(str(out)).keypoints[..., :2])
    off = np.quantile(np.abs(answers[0] - answers[1]), 0.95)  # some lie beyond the bins of rtmlib's form
    assert off < worst * 2  # an input pixel is less than two of the image


def test_a_file_that_does_not_answer_in_pixels_does_not_teach(save_estimator, tracing, tmp_path):
    saved = save_estimator('udp')
    export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'folder'), form='mmdeploy')
    with pytest.raises(UserError, match='answers as mmdeploy reads it, not in pixels: export it with --format coords'):
        open_teacher(str(tmp_path / 'folder' / 'end2end.onnx'))


@pytest.mark.parametrize('ratio', [1.5, 3.0])
def test_any_split_ratio(ratio, save_estimator, tracing, tmp_path):
    saved = save_estimator('simcc', simcc_split_ratio=ratio)
    for form, worst in (('coords', 0.05), ('rtmlib', 0.3)):
        exported = export_onnx(saved.config, saved.checkpoint, str(tmp_path / f'{form}.onnx'), form=form)
        assert exported.real.pixels < worst


@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.6'), reason='torch before 2.6 has only the exporter that traces'
)
def test_the_current_exporter_writes_one_file_of_plain_operators_with_its_metadata(save_estimator, tmp_path):
    saved = save_estimator('simcc')
    exported = export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'pose.onnx'), max_drop=0.0)
    assert [path.name for path in tmp_path.glob('*.onnx*')] == ['pose.onnx']
    assert exported.real.pixels < 0.05
    assert exported.metrics['onnx']['coco/AP'] == pytest.approx(exported.metrics['pytorch']['coco/AP'], abs=1e-3)
    model = onnx.load(exported.file)
    operators = Counter(node.op_type for node in model.graph.node)
    assert not {'GridSample', 'ScatterND', 'If', 'Loop'} & set(operators)
    assert operators['Softmax'] == 2  # those of the bins: none for the graph, whose weights are constants
    assert model.opset_import[0].version == 18
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert str(REPO).encode() not in model.SerializeToString()
    metadata = OnnxSession(exported.file).metadata
    assert metadata['input_size'] == list(INPUT_SIZE) and metadata['rgb'] and not metadata['flip_test']
    assert metadata['mean'] == pytest.approx([123.675, 116.28, 103.53])
    assert metadata['keypoints'][:2] == ['nose', 'left_eye'] and metadata['skeleton'][0] == [15, 13]
    assert len(metadata['sigmas']) == 17 and len(metadata['checkpoint_sha256']) == 12
    assert {'torch', 'onnxruntime', 'mmpose_tskd'} <= set(metadata['versions'])


def test_the_flip_test_inside_is_the_models_own(save_estimator, tracing, tmp_path):
    saved = save_estimator('official simcc')
    exported = export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'p.onnx'), flip_test=True, max_drop=0.0)
    once = export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'o.onnx'))
    crops = random_crops(2)
    with torch.no_grad():
        images = saved.model.data_preprocessor(dict(inputs=list(crops), data_samples=[]), False)['inputs']
        samples = [type('', (), dict(metainfo=dict(flip_indices=OnnxSession(exported.file).metadata['flip_indices'])))]
        views = [saved.model.extract_feat(view) for view in (images, images.flip(-1))]
        preds = saved.model.head.predict(views, samples * 2, dict(flip_test=True))
    expected = np.concatenate([p.keypoints for p in preds])
    keypoints, _ = (session := OnnxSession(exported.file))(session.prepare(crops))
    assert np.abs(keypoints - expected).max() < 0.05
    assert np.abs(OnnxSession(once.file)(session.prepare(crops))[0] - expected).max() > 0.1


# rtmlib


def colored_photograph(seed=0):
    """BGR: each channel has a gradient of its own, so that colors that are turned show."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:160, :120] / 160
    image = np.stack([255 * x, 200 * y, 120 * (1 - x)], axis=-1) + rng.normal(0, 20, (160, 120, 3))
    return image.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize('kind', ['official simcc', 'msra'])
def test_rtmlib_reads_the_pose_to_half_a_bin(kind, save_estimator, tracing, tmp_path):
    rtmlib = pytest.importorskip('rtmlib')
    saved = save_estimator(kind)
    exported = export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'rtmlib.onnx'), form='rtmlib')
    runner = rtmlib.RTMPose(exported.file, model_input_size=INPUT_SIZE)
    image = colored_photograph()
    boxes = [[10, 10, 90, 140], [0, 0, 120, 160]]
    keypoints, scores = runner(image, bboxes=boxes)
    width, height = INPUT_SIZE
    for box, points, confidences in zip(boxes, keypoints, scores):
        crop, center, scale = runner.preprocess(image, box)
        pixels = crop * np.array(runner.std) + np.array(runner.mean)
        expected, confidence = said_by(saved.model, torch.from_numpy(pixels.transpose(2, 0, 1))[None].float())
        expected = expected[0].clip(0, [width - 0.5, height - 0.5])
        at = (points - center + scale / 2) / scale * INPUT_SIZE
        found = confidence[0] > 0
        assert np.abs(at - expected)[found].max() < 0.3
        assert np.abs(confidences - confidence[0])[found].max() < 1e-3
    turned = runner(np.ascontiguousarray(image[..., ::-1]), bboxes=boxes)[0]
    assert np.abs(turned - keypoints).max() > 1  # the colors matter to this network


@pytest.mark.parametrize('given, wanted', [(False, True), (True, True), (False, False)])
def test_the_input_layer_is_exact(given, wanted):
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    other = Normalization((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), rgb=wanted)
    pixels = torch.randint(0, 256, (2, 3, 5, 4)).float()  # BGR
    incoming = pixels.flip(1) if given else pixels
    incoming = (incoming - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    expected = pixels.flip(1) if wanted else pixels
    expected = (expected - torch.tensor(other.mean).view(-1, 1, 1)) / torch.tensor(other.std).view(-1, 1, 1)
    layer = InputLayer(Normalization(mean, std, rgb=given), other)
    assert torch.allclose(layer(incoming), expected, atol=1e-4)
    assert torch.allclose(InputLayer(PIXELS, other)(pixels), expected, atol=1e-4)


# mmdeploy


def run_sdk(folder, pixels, box):
    """What mmdeploy's SDK does with the folder, step by step as its C++ sources have it; box is xywh."""
    (preprocess, network, decode) = json.loads((folder / 'pipeline.json').read_text())['pipeline']['tasks']
    steps = {step['type']: step for step in preprocess['transforms']}
    width, height = steps['TopDownAffine']['image_size']
    x, y, w, h = box
    center = np.array([x + w / 2, y + h / 2], dtype=np.float32)
    w, h = max(w, h * width / height), max(h, w * height / width)
    scale = np.array([w, h], dtype=np.float32) / 200 * steps['TopDownGetBboxCenterScale']['padding']
    if steps['TopDownAffine']['use_udp']:
        factor = (np.array([width, height]) - 1) / (scale * 200)
        matrix = np.array(
            [
                [factor[0], 0, factor[0] * (scale[0] * 100 - center[0])],
                [0, factor[1], factor[1] * (scale[1] * 100 - center[1])],
            ]
        )
    else:
        matrix = get_warp_matrix(center, scale * 200, 0, (width, height))
    image = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR).astype(np.float32)
    if steps['Normalize']['to_rgb']:
        image = image[..., ::-1]
    image = (image - np.array(steps['Normalize']['mean'])) / np.array(steps['Normalize']['std'])
    session = ort.InferenceSession(folder / json.loads((folder / 'deploy.json').read_text())['models'][0]['net'])
    feed = {network['input_map']['img']: image.transpose(2, 0, 1)[None].astype(np.float32)}
    outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, feed)))
    assert decode['component'] == 'SimCCLabelDecode' and decode['params']['export_postprocess']
    points = outputs['simcc_x'][0] / 1.0  # the split ratio with export_postprocess
    assert outputs['simcc_x'].ndim == 3 and outputs['simcc_x'].dtype == np.float32
    return points * scale * 200 / decode['params']['input_size'] + center - scale * 100, outputs['simcc_y'][0].ravel()


@pytest.mark.parametrize('kind', ['simcc', 'udp'])
def test_mmdeploys_sdk_comes_to_what_mmpose_comes_to(kind, save_estimator, tracing, tmp_path):
    saved = save_estimator(kind)
    exported = export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'deploy'), form='mmdeploy')
    assert {path.name for path in (tmp_path / 'deploy').iterdir()} == {
        'end2end.onnx',
        'deploy.json',
        'pipeline.json',
        'detail.json',
    }
    from mmpose.apis import inference_topdown

    model = init_model(saved.config, saved.checkpoint, device='cpu')
    model.test_cfg['flip_test'] = False
    image, box = colored_photograph(), [10, 10, 80, 130]
    expected = inference_topdown(model, image, np.array([box], dtype=np.float32), 'xywh')[0].pred_instances
    points, scores = run_sdk(tmp_path / 'deploy', image, box)
    assert np.abs(points - expected.keypoints[0]).max() < 0.1
    assert exported.real.pixels < 0.05


# smaller files


def test_half_precision_halves_the_backbone(save_estimator, tracing, tmp_path):
    saved = save_estimator('official simcc')
    try:
        torch.conv2d(*[torch.zeros(1, 1, 1, 1, dtype=torch.half)] * 2)
    except RuntimeError:  # torch 2.1
        with pytest.raises(UserError, match='no convolution in half precision'):
            export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'p.onnx'), precision='fp16')
        return
    sizes = {}
    for precision in ('fp32', 'fp16'):
        exported = export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'p.onnx'), precision=precision)
        sizes[precision] = exported.size_mb
        weights = Counter(tensor.data_type for tensor in onnx.load(exported.file).graph.initializer)
        assert (weights[onnx.TensorProto.FLOAT16] > 20) == (precision == 'fp16')
    assert sizes['fp16'] < 0.8 * sizes['fp32'] and exported.real.people == 6


def test_eight_bits_leave_out_what_loses_most_until_the_metric_holds(save_estimator, tracing, tmp_path, monkeypatch):
    from mmpose_tskd.apis import export

    saved = save_estimator('msra', refined=False)
    exported = export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'int8.onnx'), precision='int8')
    model = onnx.load(exported.file)
    quantized = sum(node.op_type == 'QuantizeLinear' for node in model.graph.node)
    assert quantized > 10 and exported.left_in_fp32 == 0
    assert any(tensor.data_type == onnx.TensorProto.INT8 for tensor in model.graph.initializer)
    answers = iter([dict(AP=0.5), dict(AP=0.4), dict(AP=0.45), dict(AP=0.498), dict(AP=0.498)])
    monkeypatch.setattr(export, 'evaluate', lambda *args: next(answers))
    options = dict(precision='int8', max_drop=0.3, metric='AP')
    exported = export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'i.onnx'), **options)
    assert exported.left_in_fp32 == round(0.25 * 20)  # ResNet-18's 20 convolutions, the third try


def test_a_file_that_loses_more_than_allowed_is_not_kept(save_estimator, tracing, tmp_path, monkeypatch):
    from mmpose_tskd.apis import export

    saved = save_estimator('msra', refined=False)
    answers = iter([dict(AP=0.5), dict(AP=0.4)])
    monkeypatch.setattr(export, 'evaluate', lambda *args: next(answers))
    with pytest.raises(UserError, match='its AP is 40.00, that of PyTorch 50.00; --max-drop allows 1'):
        export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'p.onnx'), max_drop=1.0, metric='AP')
    assert not (tmp_path / 'p.onnx').exists()


# mistakes


def test_a_file_that_differs_is_refused_with_the_figure(save_estimator, tracing, tmp_path, monkeypatch):
    from mmpose_tskd.deploy import network

    saved = save_estimator('simcc')
    monkeypatch.setattr(
        network.ConstantGraphConv, 'forward', lambda self, x: self.own * (x @ self.weight[0]) + self.bias
    )
    message = r'not kept: on 4 random images its keypoints differ from those of PyTorch by up to [\d.e+]+ input pixels'
    monkeypatch.setattr(network.PoseNetwork, 'read', _with_the_real_graph(network.PoseNetwork.read, saved.model))
    with pytest.raises(UserError, match=message):
        export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'p.onnx'))
    assert not (tmp_path / 'p.onnx').exists()


def _with_the_real_graph(read, model):
    """The reference, which is given pixels, reads with the model as it was trained."""

    def read_(self, images):
        if images.max() > 20:
            self.model.head = model.head
        return read(self, images)

    return read_


@pytest.mark.parametrize('wrong', [float('nan'), 7.0])
def test_a_single_wrong_joint_of_the_last_batch_is_noticed(wrong, save_estimator):
    saved = save_estimator('simcc', refined=False)
    crops, form = random_crops(3), FORMATS['coords']
    keypoints, scores = said_by(saved.model, crops)

    def session(images):
        people = slice(0, 2) if len(images) == 2 else slice(2, 3)
        said = keypoints[people].copy()
        if len(images) == 1:
            said[0, 3, 1] += wrong
        return said, scores[people]

    session.prepare = lambda people: people.numpy()
    agreement = compare(session, PoseNetwork(saved.model, form.answer, given=PIXELS), form, crops, batch=2)
    assert np.isnan(agreement.pixels) if np.isnan(wrong) else agreement.pixels == pytest.approx(7, abs=1e-3)
    with pytest.raises(UserError, match='not kept'):
        check(agreement, form.tolerance, 'people')


def test_the_figure_counts_pixels_and_confidences():
    check(Agreement(0.04, 0.001, 4), 0.05, 'people')
    for wrong in (Agreement(0.06, 0.001, 4), Agreement(0.04, 0.02, 4), Agreement(float('nan'), 0.0, 4)):
        with pytest.raises(UserError, match='not kept: on 4 people'):
            check(wrong, 0.05, 'people')


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(form='tflite'), '--format is one of coords, rtmlib, mmdeploy'),
        (dict(precision='fp8'), '--precision is one of fp32, fp16, int8'),
        (dict(form='rtmlib', pixels=True), '--input uint8 is for --format coords'),
        (dict(out='/proc/no/pose.onnx'), '--out /proc/no/pose.onnx cannot be written to'),
        (dict(out='.'), r'--out \. is a folder'),
        (dict(checkpoint='gone.pth'), 'there is no checkpoint or work folder gone.pth'),
    ],
)
def test_mistakes_are_named_before_anything_is_built(options, message, save_estimator, tmp_path):
    saved = save_estimator('msra', refined=False)
    arguments = dict(config=saved.config, checkpoint=saved.checkpoint, out=str(tmp_path / 'p.onnx'))
    with pytest.raises(UserError, match=message):
        export_onnx(**{**arguments, **options})


def test_a_head_that_no_reader_knows_and_a_damaged_checkpoint_are_named(save_estimator, tmp_path):
    saved = save_estimator('msra', refined=False)
    out = str(tmp_path / 'p.onnx')
    (tmp_path / 'damaged.pth').write_bytes(b'nothing')
    with pytest.raises(UserError, match='damaged.pth'):
        export_onnx(saved.config, str(tmp_path / 'damaged.pth'), out)
    bottom_up = dict(type='AssociativeEmbedding', input_size=INPUT_SIZE, heatmap_size=(16, 24), sigma=2)
    with pytest.raises(UserError, match='no reader knows the codec AssociativeEmbedding'):
        export_onnx(
            saved.config, saved.checkpoint, out, cfg_options={'model.head.decoder': {**bottom_up, '_delete_': True}}
        )


def test_a_missing_extra_is_named(save_estimator, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    saved = save_estimator('msra', refined=False)
    with pytest.raises(UserError, match=r'pip install "mmpose_tskd\[onnx\]"'):
        export_onnx(saved.config, saved.checkpoint, str(tmp_path / 'p.onnx'))


def test_the_tool_says_how_the_file_was_checked(save_estimator, tracing, tmp_path, monkeypatch, capsys):
    saved = save_estimator('msra', refined=False)
    out = str(tmp_path / 'p.onnx')

    def run(*options):
        monkeypatch.setattr(sys, 'argv', ['export_onnx.py', saved.config, saved.checkpoint, '--out', out, *options])
        runpy.run_path(str(REPO / 'tools/export_onnx.py'), run_name='__main__')

    run()
    printed = capsys.readouterr().out
    assert f'{out}: ' in printed and 'on 6 instances of the test set' in printed
    run('--cfg-options', 'test_dataloader.dataset.ann_file=gone.json')
    assert 'not checked on real images' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='error: --input uint8 is for --format coords'):
        run('--format', 'rtmlib', '--input', 'uint8')
