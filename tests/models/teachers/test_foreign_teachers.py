"""Teachers that are not MMPose's: what they put out is read, and taken into the student's frame."""

import sys

import numpy as np
import pytest
import torch
from mmpose.registry import MODELS

from mmpose_tskd.apis.record_teacher import open_teacher, record_teacher
from mmpose_tskd.errors import UserError
from mmpose_tskd.models.teachers import HFTeacher, OnnxTeacher
from mmpose_tskd.poses.record import load_record

SIZE = (48, 64)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of the user's, by name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(code, name='my_teacher_module'):
        (tmp_path / f'{name}.py').write_text(f'import torch\n\n\n{code}')
        sys.modules.pop(name, None)
        return f'{name}:find'

    yield write
    sys.modules.pop('my_teacher_module', None)


COORDS = """def find(inputs):
    n = len(inputs)
    index = inputs[:, 0].flatten(1).argmax(-1)
    xy = torch.stack([index % 48, index // 48], dim=-1).float()
    return xy[:, None].expand(n, 17, 2), torch.full((n, 17), 0.5)
"""
HEATMAPS = """def find(inputs):
    return torch.nn.functional.avg_pool2d(inputs[:, :1], 4).expand(-1, 17, -1, -1)
"""
SIMCC = """def find(inputs):
    n = len(inputs)
    x, y = inputs[:, 0].amax(-2), inputs[:, 0].amax(-1)
    x, y = (v.repeat_interleave(2, -1)[:, None].expand(n, 17, -1) for v in (x, y))
    return x, y
"""
RED = dict(mean=[0, 0, 0], std=[255, 255, 255])


def student(**options):
    """A toy student that sees BGR images twice as large, not normalized."""
    model = dict(
        type='PoseDistiller',
        data_preprocessor=dict(type='PoseDataPreprocessor', mean=[0.0], std=[255.0]),
        backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
        head=dict(
            type='HeatmapHead',
            in_channels=64,
            out_channels=17,
            deconv_out_channels=(8, 8, 8),
            loss=dict(type='KeypointMSELoss', use_target_weight=True),
            decoder=dict(type='MSRAHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=2),
        ),
        distill_losses=dict(loss_pose=dict(type='PoseL1Loss')),
    )
    built = MODELS.build({**model, **options})
    built.init_weights()
    built.learn_joints()
    return built


def red_spot(x, y, size=(96, 128)):
    """A BGR image, as the student's preprocessor hands it over, with a red spot."""
    image = torch.zeros(1, 3, size[1], size[0])
    image[:, 2, y - 1 : y + 2, x - 1 : x + 2] = 1.0
    return image


@pytest.mark.parametrize('code, within', [(COORDS, 1.0), (SIMCC, 1.5), (HEATMAPS, 4.0)])
def test_a_functions_answer_comes_back_in_the_students_pixels(module, code, within):
    """Half the size, the other order of colors, another normalization."""
    teacher = dict(type='CallableTeacher', function=module(code), input_size=SIZE, **RED)
    model = student(teacher=teacher)
    answer = model.teacher(red_spot(60, 90), [])
    assert (answer.coords - torch.tensor([60.0, 90.0])).abs().max() <= within
    assert answer.scores.shape == (1, 17) and answer.input_size == (96, 128)
    assert model.teacher.name not in str(model.state_dict().keys())


def test_a_function_teaches_with_flip_test(module):
    teacher = dict(type='CallableTeacher', function=module(COORDS), input_size=SIZE, **RED)
    model = student(teacher=teacher, teacher_flip_test=True, metainfo='CocoDataset')
    answer = model.teacher(red_spot(60, 90), [])
    assert (answer.coords - torch.tensor([60.0, 90.0])).abs().max() <= 1.5
    assert answer.scores.min() == pytest.approx(0.5)


@pytest.mark.parametrize(
    'code, message',
    [
        ('def find(inputs):\n    return inputs[:, 0]\n', 'which is no pose'),
        ('def other(inputs):\n    pass\n', 'is not to be found as module:function'),
        (COORDS.replace('17', '5'), 'has 5 keypoints, the student 17'),
    ],
)
def test_a_function_that_gives_no_pose_is_named(module, code, message):
    teacher = dict(type='CallableTeacher', function=module(code), input_size=SIZE)
    with pytest.raises(UserError, match=message):
        student(teacher=teacher)


def test_a_teacher_in_a_config_of_its_own_is_opened_with_its_joints(module, tmp_path):
    (tmp_path / 'mine.py').write_text(
        f"teacher = dict(type='CallableTeacher', function='{module(COORDS)}', input_size=(48, 64))\n"
        "metainfo = 'CocoDataset'\n"
    )
    teacher = open_teacher(str(tmp_path / 'mine.py'), flip_test=True)
    assert teacher.num_keypoints == 17 and teacher.reader.input_size == SIZE and len(teacher.digest()) == 12
    assert teacher.answer(torch.rand(2, 3, 64, 48)).peaks.shape == (2, 17, 2)


# Hugging Face


@pytest.fixture
def vitpose(tmp_path):
    """``vitpose(num_experts=1)``: the folder of a tiny ViTPose with random weights."""
    transformers = pytest.importorskip('transformers', reason='needs the extra hf')

    def make(num_experts=1, card=''):
        torch.manual_seed(0)
        backbone = transformers.VitPoseBackboneConfig(
            image_size=[64, 48],
            patch_size=[16, 16],
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            mlp_ratio=2,
            num_experts=num_experts,
            part_features=8,
            out_indices=[2],
        )
        config = transformers.VitPoseConfig(backbone_config=backbone, num_labels=17)
        model = transformers.VitPoseForPoseEstimation(config).eval()
        for parameter in model.head.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        folder = tmp_path / 'vitpose'
        model.save_pretrained(folder)
        if card:
            (folder / 'README.md').write_text(card)
        return str(folder), model

    return make


def test_a_vitpose_teaches_what_transformers_says(vitpose):
    folder, model = vitpose()
    taught = student(teacher=dict(type='HFTeacher', model=folder))
    image = torch.rand(2, 3, 128, 96)
    answer = taught.teacher(image, [])
    with torch.no_grad():
        heatmaps = model(taught.teacher.frame.inputs(image)).heatmaps
    assert torch.allclose(answer.heatmaps, heatmaps, atol=1e-5) and heatmaps.shape == (2, 17, 16, 12)
    assert answer.coords.shape == (2, 17, 2)
    assert not [name for name in taught.state_dict() if 'teacher' in name]


def test_the_expert_of_a_vitpose_plus_is_chosen(vitpose):
    folder, _ = vitpose(num_experts=3)
    with pytest.raises(UserError, match='has 3 experts: .*dataset_index'):
        student(teacher=dict(type='HFTeacher', model=folder))
    answers = []
    for index in (0, 2):
        teacher = student(teacher=dict(type='HFTeacher', model=folder, dataset_index=index)).teacher
        torch.manual_seed(1)
        answers.append(teacher(torch.rand(1, 3, 128, 96), []).heatmaps)
    assert not torch.allclose(*answers)


def test_the_license_of_a_model_is_told(vitpose):
    folder, _ = vitpose()
    assert HFTeacher(folder).license == 'not stated'
    folder, _ = vitpose(card='---\nlicense: apache-2.0\n---\nA model.\n')
    assert HFTeacher(folder).license == 'apache-2.0'


def test_a_folder_without_a_vitpose_is_named(tmp_path):
    pytest.importorskip('transformers', reason='needs the extra hf')
    with pytest.raises(UserError, match='cannot be loaded'):
        student(teacher=dict(type='HFTeacher', model=str(tmp_path)))


def test_a_vitpose_is_recorded(vitpose, toy_data, tmp_path):
    folder, _ = vitpose()
    teacher = open_teacher(f'hf:{folder}', metainfo='CocoDataset')
    out = str(tmp_path / 'record.json')
    info = record_teacher([teacher], str(toy_data / 'labels.json'), str(toy_data / 'images'), out)
    record = load_record(out)
    assert record.keypoints.shape == (6, 17, 3) and info['teachers'][0]['sha256'] == teacher.digest()
    inside = (record.keypoints[..., :2] > -40) & (record.keypoints[..., :2] < 170)
    assert inside.all()


# ONNX


@pytest.fixture
def onnx_file(tmp_path):
    onnx = pytest.importorskip('onnx', reason='needs the extra onnx')
    pytest.importorskip('onnxruntime', reason='needs the extra onnx')

    def export(kind, batch=None, license=None):
        file = tmp_path / f'{kind}.onnx'
        write_onnx(onnx, kind, file, batch, license)
        return str(file)

    return export


def write_onnx(onnx, kind, file, batch, license):
    """A network whose every keypoint is the brightest place of channel 0, put out in one of the three ways."""
    from onnx import TensorProto, helper, numpy_helper

    def constant(name, values, dtype=np.int64):
        return numpy_helper.from_array(np.array(values, dtype), name)

    width, height = SIZE
    inits = [constant('start', [0]), constant('end', [1]), constant('axis', [1]), constant('tiles', [1, 17, 1, 1])]
    nodes = [helper.make_node('Slice', ['input', 'start', 'end', 'axis'], ['red'])]
    if kind == 'heatmaps':
        nodes += [
            helper.make_node('AveragePool', ['red'], ['pooled'], kernel_shape=[4, 4], strides=[4, 4]),
            helper.make_node('Tile', ['pooled', 'tiles'], ['heatmaps']),
        ]
        outputs = [('heatmaps', ['n', 17, height // 4, width // 4])]
    else:
        inits += [constant('scales', [1, 1, 2, 2], np.float32)]
        nodes += [
            helper.make_node('Resize', ['red', '', 'scales'], ['wide'], mode='nearest'),
            helper.make_node('Tile', ['wide', 'tiles'], ['all']),
            helper.make_node('ReduceMax', ['all', 'rows'], ['simcc_x'], keepdims=0),
            helper.make_node('ReduceMax', ['all', 'columns'], ['simcc_y'], keepdims=0),
        ]
        inits += [constant('rows', [2]), constant('columns', [3])]
        outputs = [('simcc_x', ['n', 17, 2 * width]), ('simcc_y', ['n', 17, 2 * height])]
    if kind == 'poses':
        inits += [constant('last', [2]), constant('two', 2, np.float32)]
        for axis in 'xy':
            nodes += [
                helper.make_node('ArgMax', [f'simcc_{axis}'], [f'i{axis}'], axis=2, keepdims=1),
                helper.make_node('Cast', [f'i{axis}'], [f'f{axis}'], to=TensorProto.FLOAT),
                helper.make_node('Div', [f'f{axis}', 'two'], [axis]),
            ]
        nodes += [
            helper.make_node('Concat', ['x', 'y'], ['keypoints'], axis=2),
            helper.make_node('ReduceMax', ['simcc_x', 'last'], ['scores'], keepdims=0),
        ]
        outputs = [('keypoints', ['n', 17, 2]), ('scores', ['n', 17])]
    graph = helper.make_graph(
        nodes,
        'drawn',
        [helper.make_tensor_value_info('input', TensorProto.FLOAT, [batch or 'n', 3, height, width])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        inits,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    if license:
        helper.set_model_props(model, dict(license=license))
    onnx.checker.check_model(model)
    onnx.save(model, file)


@pytest.mark.parametrize('kind, within', [('poses', 1.0), ('simcc', 1.0), ('heatmaps', 4.0)])
@pytest.mark.parametrize('batch', [None, 1])
def test_an_onnx_file_teaches(onnx_file, kind, within, batch):
    model = student(teacher=dict(type='OnnxTeacher', file=onnx_file(kind, batch), **RED))
    image = torch.cat([red_spot(60, 90), red_spot(30, 40)])
    answer = model.teacher(image, [])
    expected = torch.tensor([[[60.0, 90.0]], [[30.0, 40.0]]])
    assert (answer.coords - expected).abs().max() <= within
    assert answer.scores.max() <= 1


def test_an_onnx_files_own_words_on_its_license_are_told(onnx_file):
    for license in ('apache-2.0', None):
        teacher = OnnxTeacher(onnx_file('poses', license=license))
        teacher.make(teacher.find_source())
        assert teacher.license == (license or 'not stated')


@pytest.mark.parametrize(
    'shape, batch, message',
    [
        ([], None, 'not one input N×3×H×W'),
        ([3], None, 'not one input N×3×H×W'),
        ([1, 3, 1 << 20, 1 << 20], None, 'a side has 1 to 4096'),
        ([1, 3, 0, 64], None, 'a side has 1 to 4096'),
        ([0, 3, 128, 96], None, 'cannot be run on crops'),
        ([64, 3, 128, 96], 64, 'cannot be run on crops'),
    ],
)
def test_an_onnx_file_with_a_crafted_input_is_refused(onnx_file, shape, batch, message):
    import onnx

    file = onnx_file('poses', batch)
    model = onnx.load(file)
    said = model.graph.input[0].type.tensor_type.shape
    del said.dim[:]
    for side in shape:
        said.dim.add().dim_value = side
    onnx.save(model, file)
    with pytest.raises(UserError, match=message + '|cannot be opened as an ONNX file'):
        student(teacher=dict(type='OnnxTeacher', file=file, **RED))


def test_a_license_is_one_short_line(onnx_file):
    teacher = OnnxTeacher(onnx_file('poses', license='MIT\nerror: pay ' + 'now ' * 1000))
    teacher.make(teacher.find_source())
    assert teacher.license.startswith('MIT error: pay') and len(teacher.license) <= 200


def test_a_file_that_is_no_onnx_is_named(tmp_path):
    pytest.importorskip('onnxruntime', reason='needs the extra onnx')
    (tmp_path / 'x.onnx').write_bytes(b'nothing')
    with pytest.raises(UserError, match='cannot be opened as an ONNX file'):
        student(teacher=dict(type='OnnxTeacher', file=str(tmp_path / 'x.onnx')))
    with pytest.raises(UserError, match='there is no .*gone.onnx'):
        student(teacher=dict(type='OnnxTeacher', file=str(tmp_path / 'gone.onnx')))


@pytest.mark.parametrize('teacher, package', [(HFTeacher, 'transformers'), (OnnxTeacher, 'onnxruntime')])
def test_a_missing_extra_is_named(monkeypatch, teacher, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf'{package} is not installed: pip install "mmpose_tskd\['):
        teacher('x')


def test_a_function_needs_a_size():
    with pytest.raises(UserError, match='model.teacher=CallableTeacher: .*input_size'):
        student(teacher=dict(type='CallableTeacher', function='x:y'))
