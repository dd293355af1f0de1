"""The benchmarks at toy size: what they time, add up and write down."""

import json
import runpy
import statistics
import sys

import pytest
import torch
from conftest import REPO
from mmengine.config import Config
from mmpose.registry import MODELS

from mmpose_tskd.errors import UserError
from mmpose_tskd.lab import benchmark
from mmpose_tskd.lab.benchmark import Setting, checkouts
from mmpose_tskd.lab.benchmark.measuring import peak_memory, ratio, take_turns

CPU = torch.device('cpu')
STUDENT = 'simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py'
REFINED = 'tskd/coco/simcc_hrnet-w32-igpgcn_coco-256x192.py'


@pytest.fixture
def config_file(make_config, tmp_path):
    """``config_file(name)``: the toy form of a config, written to a file."""

    def write(name):
        path = tmp_path / name.replace('/', '_')
        make_config(name).dump(path)
        return str(path)

    return write


@pytest.fixture
def stages(config_file):
    return dict(stage1=config_file('stage1_structure.py'), stage2=config_file('stage2_igpgcn.py'))


@pytest.fixture
def run_tool(monkeypatch, tmp_path):
    """Runs the tool in this process; returns what it wrote."""

    def run(kind, **options):
        args = [word for name, value in options.items() for word in (f'--{name.replace("_", "-")}', str(value))]
        out = tmp_path / 'out.json'
        monkeypatch.setattr(sys, 'argv', ['benchmark.py', kind, '--device', 'cpu', '--json', str(out), *args])
        runpy.run_path(str(REPO / 'tools/lab/benchmark.py'), run_name='__main__')
        return json.loads(out.read_text())

    return run


def test_calls_take_turns_and_their_ratio_is_that_of_each_round():
    order = []
    times = take_turns({name: lambda name=name: order.append(name) for name in 'abc'}, 3, CPU)
    assert ''.join(order) == 'cab' + 'abc' + 'bca' + 'cab'  # the first round does not count
    assert all(len(rounds) == 3 for rounds in times.values())
    spread = ratio(
        dict(step=[6.0, 20.0, 9.0], student=[1.0, 4.0, 2.0], teacher=[2.0, 6.0, 1.0]), 'step', ['student', 'teacher']
    )
    assert spread == dict(median=2.0, q1=2.0, q3=2.5)


@pytest.mark.parametrize('held, expected', [(False, 1), (True, 3)])
def test_peak_memory_is_what_is_held_at_once(held, expected):
    kept = []

    def call():
        for _ in range(3):
            block = torch.ones(1 << 20, dtype=torch.uint8)
            if held:
                kept.append(block)
            del block

    assert peak_memory(call, CPU) == expected << 20


def test_steps_are_timed_beside_their_limits_and_stage1_needs_no_more_memory(stages, run_tool, capsys):
    result = run_tool('step', batch_size=2, rounds=3, **stages)
    times = result['seconds']
    for name, limit in (('stage1', 'student_step'), ('dwpose', 'student_step'), ('stage2', 'student_forward')):
        rounds = zip(times[f'{name}_step'], times[limit], times['teacher_forward'])
        assert result[f'{name}_over_limit'] == pytest.approx(statistics.median(s / (a + b) for s, a, b in rounds))
    rounds = zip(times['record_step'], times['student_forward'])
    assert result['record_over_limit'] == pytest.approx(statistics.median(step / part for step, part in rounds))
    assert result['record_to_live'] < 1
    memory = result['memory_mib']
    assert memory['stage1_step']['peak'] <= result['memory_of_limit_mib']['stage1']
    assert memory['stage2_step']['peak'] < memory['stage1_step']['peak']  # a frozen student keeps no activations
    apart = memory['student_step']['held'] + memory['teacher_forward']['held']
    assert apart < memory['stage1_step']['held'] < apart + 0.1  # the adapter and its optimizer state
    assert (result['batch_size'], result['input_size'], result['num_keypoints']) == (2, [64, 96], 17)
    assert result['versions']['torch'] == torch.__version__
    assert 'DWPoseDistiller, a step' in capsys.readouterr().out


def test_steps_are_timed_in_bf16_and_with_a_folded_teacher(stages, run_tool):
    result = run_tool('step', batch_size=2, rounds=1, precision='bf16', teacher_pass='folded', **stages)
    assert (result['precision'], result['teacher_pass']) == ('bf16', 'folded')
    assert min(result[f'{name}_over_limit'] for name in ('stage1', 'dwpose', 'stage2', 'record', 'record_light')) > 0


def test_a_profile_writes_traces_and_counts_operators(stages, tmp_path):
    out = tmp_path / 'out.json'
    tables = benchmark.profile_steps(Setting(CPU, 2), str(tmp_path / 'traces'), top=3, out=str(out), **stages)
    assert json.loads(out.read_text())['operators'] == tables
    assert {path.name for path in (tmp_path / 'traces').iterdir()} >= {'stage1_step.json', 'stage2_step.json'}
    for rows in tables.values():
        assert len(rows) == 4 and rows[-1]['operator'] == 'all'
        assert rows[-1]['calls'] > rows[-1]['calls, limit'] > 0


def test_inference_of_a_student_and_of_its_refined_form(config_file, run_tool):
    student, refined = config_file(STUDENT), config_file(REFINED)
    result = run_tool('infer', student=student, refined=refined, rounds=1)
    assert [len(result['seconds'][batch]['refined']) for batch in ('b1', 'b32')] == [32, 1]
    for batch in ('b1', 'b32'):
        times = result['seconds'][batch]
        expected = statistics.median(a / b for a, b in zip(times['refined'], times['student']))
        assert result[f'refined_over_student_{batch}'] == pytest.approx(expected)
        parts = result['parts_ms'][batch]
        assert list(parts)[-1] == 'all' and sum(parts.values()) < 2 * parts['all'] and min(parts.values()) > 0
    assert result['refined_params_m'] > result['student_params_m']


@pytest.mark.parametrize('own_data', [True, False])
def test_data_by_transform_and_by_loader(config_file, own_data):
    with pytest.raises(UserError, match='2 instances are too few to time batches of 2 of them: give --people 6'):
        benchmark.benchmark_data(config_file('stage1_structure.py'), own_data, people=2)
    result = benchmark.benchmark_data(config_file('stage1_structure.py'), own_data, people=6, workers=(0, 1))
    assert list(result['transforms_ms'])[0] == 'LoadImage' and list(result['transforms_ms'])[-1] == 'PackPoseInputs'
    assert min(result['transforms_ms'].values()) > 0
    assert set(result['loader']) == {'0', '1'} and min(result['loader'].values()) > 0
    assert result['people'] == 6


def test_evaluation_of_every_metric(tmp_path):
    result = benchmark.benchmark_eval(200, out=str(tmp_path / 'out.json'))
    assert json.loads((tmp_path / 'out.json').read_text()) == result
    assert (result['detections'], result['images'], result['people']) == (200, 10, 20)
    assert min(seconds for metric in result['seconds'].values() for seconds in metric.values()) > 0
    assert list(result['profile'])[-1] == 'all' and len(result['profile']) == 7
    assert sum(result['profile'].values()) < 2 * result['profile']['all']


def test_exported_files_are_set_beside_pytorch_and_the_first_model(config_file, tmp_path, tracing):
    pytest.importorskip('onnxruntime')
    models = []
    for name, config in (('plain', STUDENT), ('refined', REFINED)):
        cfg = Config.fromfile(config_file(config))
        torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / f'{name}.pth')
        models.append(f'{name}={cfg.filename},{tmp_path / name}.pth')
    setting, files = Setting(CPU), ('coords', 'rtmlib')
    result = benchmark.benchmark_deploy(setting, models, people=4, rounds=2, files=files, batch_sizes=(1, 2))
    for row in result['models'].values():
        assert set(row['files']) == set(files) and set(row['over_pytorch']) == {'b1', 'b2'}
        assert row['files']['coords']['pixels'] < 0.05 and row['files']['rtmlib']['pixels'] < 0.3
        assert row['files']['coords']['onnx'] == pytest.approx(row['files']['coords']['pytorch'], abs=0.1)
    assert result['models']['plain']['over_first'] == dict(b1=1.0, b2=1.0)
    assert len(result['seconds']['b1']['refined: PyTorch']) == 4
    with pytest.raises(UserError, match="NAME=CONFIG,CHECKPOINT, not 'a.py'"):
        benchmark.benchmark_deploy(setting, ['a.py'])
    with pytest.raises(UserError, match="no file 'int4', but 'coords'"):
        benchmark.benchmark_deploy(setting, models, files=['int4'])


def test_scaling_varies_one_size_at_a_time(stages):
    sizes = dict(batch_sizes=(1, 2), input_sizes=((96, 128),), datasets=('CrowdPoseDataset',), processes=(1,))
    rows = benchmark.benchmark_scaling(Setting(CPU, 2), rounds=1, **sizes, **stages)['rows']
    seen = [(row['size'], row['is']) for row in rows if row['step'] == 'stage1']
    assert seen == [
        ('batch', '1'),
        ('batch', '2'),
        ('input', '96×128'),
        ('joints', '14 (CrowdPoseDataset)'),
        ('processes', '1'),
    ]
    for row in rows:
        people = 1 if (row['size'], row['is']) == ('batch', '1') else 2
        assert row['people/s'] == pytest.approx(people / row['seconds'][f'{row["step"]}_step'][0])


@pytest.mark.parametrize(
    'config, message',
    [
        ('nowhere.py', 'there is no config'),
        ('_base_/datasets/lspet_128x96.py', 'no model and train_pipeline'),
        (STUDENT, 'no model.teacher'),
        ('ikd/coco/ikd_td-hm_res50-to-res18-small_8xb64-210e_coco-256x192.py', 'HeatmapHead is none'),
    ],
)
def test_configs_that_cannot_be_compared_are_named(config, message):
    with pytest.raises(UserError, match=message):
        benchmark.benchmark_step(Setting(CPU), stage1=str(REPO / 'configs' / config))


def test_drawn_images_have_cocos_joints_alone():
    with pytest.raises(UserError, match='--own-data'):
        benchmark.benchmark_data(str(REPO / 'configs/simcc/crowdpose/simcc_hrnet-w32_4xb32-210e_crowdpose-256x192.py'))


def test_commands_of_two_checkouts_take_turns(tmp_path, capsys):
    """``python fake.py LETTER PART SECONDS --json FILE`` adds its letter to a list and says that it took so long."""
    fake = tmp_path / 'fake.py'
    fake.write_text(
        'import json, sys\n'
        'letter, part, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])\n'
        f'open({str(tmp_path / "order")!r}, "a").write(letter)\n'
        "times = dict(step=[seconds, 9.0, 1.0]) if part == 'seconds' else dict(read=dict(b1=seconds))\n"
        "open(sys.argv[5], 'w').write(json.dumps({part: times}))\n"
    )
    own = f'{sys.executable} {fake}'
    commands = [f'old={own} a seconds 4', f'new={own} b seconds 2', f'new={own} c transforms_ms 3']
    result = checkouts.compare_commands(commands, 2, str(tmp_path / 'out.json'))
    assert json.loads((tmp_path / 'out.json').read_text()) == result
    assert (tmp_path / 'order').read_text() == 'abc' + 'bca'
    new = {'seconds step': [2.0, 2.0], 'transforms_ms read b1': [3.0, 3.0]}
    assert result['times'] == dict(old={'seconds step': [4.0, 4.0]}, new=new)
    assert result['ratios'] == dict(new={'seconds step': dict(median=0.5, q1=0.5, q3=0.5)})
    assert 'new / old' in capsys.readouterr().out
    with pytest.raises(UserError, match="NAME=COMMAND, not 'python x'"):
        checkouts.compare_commands(['python x'], 1, 'out.json')
    with pytest.raises(UserError, match='(?s)status 1:.*ValueError'):
        checkouts.compare_commands([f'old={own} a seconds much'], 1, 'out.json')
