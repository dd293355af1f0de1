"""What only a GPU has: half precision by loss scaling, NCCL, CUDA kernels in every step, memory and times.

Whoever has one runs `make test-gpu`. `pytest tests/gpu --gpu-tests-on-cpu` tries the tests themselves.
"""

import importlib
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import free_port, train
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import MODELS
from processes import finish, run_tool, start

from mmpose_tskd.lab.benchmark import Setting, benchmark_step

os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # without which cuBLAS is not deterministic
STUDENT = 'simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py'
STAGES = {1: 'stage1_structure.py', 2: 'stage2_igpgcn.py'}
# By precision, the optimizer wrapper and how far from fp32 the first step's loss may be
PRECISIONS = {
    'fp32': ({}, 0.0),
    'fp16': (dict(type='AmpOptimWrapper', loss_scale='dynamic'), 0.01),
    'bf16': (dict(type='BF16OptimWrapper'), 0.05),
}
COUNTED = 1.1  # times the cost of its parts, as docs/performance.md has it on a CPU


@pytest.fixture(scope='session')
def device(request):
    if torch.cuda.is_available():
        return torch.device('cuda')
    if not request.config.getoption('--gpu-tests-on-cpu'):
        pytest.skip('torch finds no GPU: what only a GPU has is not tested')
    return torch.device('cpu')


@pytest.fixture
def on_gpu(device):
    if device.type == 'cpu':
        pytest.skip('has no counterpart on a CPU')


@pytest.fixture
def make_stage(make_config, tmp_path, device):
    """``make_stage(1, name)``: a stage's config, with a student of random weights for the second."""

    def make(stage, name, **options):
        if stage == 2:
            torch.manual_seed(0)
            torch.save(MODELS.build(make_config(STUDENT).model).state_dict(), tmp_path / 'student.pth')
            options['model.student_checkpoint'] = str(tmp_path / 'student.pth')
        return make_config(STAGES[stage], name, **options)

    return make


def losses(runner):
    return runner.message_hub.get_scalar('train/loss').data[0]


def assert_same_weights(first, second):
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


@pytest.mark.parametrize('channels_last', [False, True], ids=['contiguous', 'channels-last'])
@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('stage', STAGES)
def test_a_run_with_validation(make_stage, device, stage, precision, channels_last, record_property):
    wrapper, tolerance = PRECISIONS[precision]
    if (device.type, precision) == ('cpu', 'fp16'):
        pytest.skip('AmpOptimWrapper refuses a CPU')
    expected = losses(train(make_stage(stage, 'fp32', **{'train_cfg.max_epochs': 1})))[0]
    cfg = make_stage(stage, precision)
    cfg.optim_wrapper.update(wrapper)
    if channels_last:
        cfg.custom_hooks.append(dict(type='ChannelsLastHook'))
    runner = train(cfg)
    assert len(losses(runner)) == 6 and np.isfinite(losses(runner)).all()
    assert losses(runner)[0] == pytest.approx(expected, rel=tolerance or 1e-3)
    networks = [runner.model, runner.model.teacher.model, runner.model.teacher.frame]
    tensors = [value for network in networks for value in (*network.parameters(), *network.buffers())]
    assert {value.device.type for value in tensors} == {device.type}
    assert all(value.isfinite().all() for value in runner.model.parameters())
    record_property('first loss by that of fp32', f'{losses(runner)[0] / expected:.4f}')


@pytest.mark.parametrize('stage', STAGES)
def test_a_deterministic_run_is_repeated_and_resumed_bit_by_bit(make_stage, tmp_path, stage):
    options = {'randomness.deterministic': True}
    whole = train(make_stage(stage, 'whole', **options))
    assert_same_weights(whole.model, train(make_stage(stage, 'again', **options)).model)
    options.update(load_from=str(tmp_path / 'whole/epoch_1.pth'), resume=True)
    assert_same_weights(whole.model, train(make_stage(stage, 'resumed', **options)).model)


class CompileHook(Hook):
    """The one that docs/reliability.md shows."""

    def before_train(self, runner):
        runner.model.backbone.compile()
        runner.model.teacher.model.backbone.compile()


@pytest.mark.parametrize('stage', STAGES)
def test_compiled_backbones(make_stage, on_gpu, stage, record_property):
    expected = losses(train(make_stage(stage, 'eager')))
    runner = Runner.from_cfg(make_stage(stage, 'compiled'))
    runner.register_hook(CompileHook())
    runner.train()
    np.testing.assert_allclose(losses(runner), expected, rtol=0.02)
    record_property('last loss by that of eager', f'{losses(runner)[-1] / expected[-1]:.4f}')


@pytest.mark.parametrize('stage', STAGES)
def test_two_processes(make_stage, device, tmp_path, stage, record_property):
    """By NCCL where there are two cards, else by gloo on one."""
    cards = torch.cuda.device_count()
    backend = 'nccl' if cards > 1 else 'gloo'
    cfg = make_stage(stage, 'two', **{'env_cfg.dist_cfg.backend': backend})
    cfg.custom_imports = dict(imports=['mmpose_tskd'])
    cfg.dump(tmp_path / 'two.py')
    env = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port()), WORLD_SIZE='2')
    flags, log = ['--launcher', 'pytorch'], tmp_path / 'two.log'
    running = []
    for rank in range(2):
        place = dict(RANK=str(rank), LOCAL_RANK=str(rank if cards > 1 else 0))
        running.append(start(run_tool, 'train', tmp_path / 'two.py', *flags, log=log, **env, **place))
    try:
        for process in running:
            finish(process, log)
    finally:
        for process in running:  # which would wait for the one that has failed
            process.kill()
    weights = torch.load(tmp_path / 'two/epoch_2.pth', weights_only=True)['state_dict']
    assert all(value.isfinite().all() for value in weights.values())
    record_property('by', backend)


def test_onnx_by_the_cuda_provider(make_config, on_gpu, tmp_path):
    export = importlib.import_module('mmpose_tskd.apis.export')
    onnxruntime = pytest.importorskip('onnxruntime')
    if 'CUDAExecutionProvider' not in onnxruntime.get_available_providers():
        pytest.skip('onnxruntime has no CUDA provider: pip install onnxruntime-gpu')
    cfg = make_config('tskd/coco/simcc_hrnet-w32-igpgcn_coco-256x192.py')
    cfg.dump(tmp_path / 'refined.py')
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'refined.pth')
    export.export_onnx(str(tmp_path / 'refined.py'), str(tmp_path / 'refined.pth'), str(tmp_path / 'refined.onnx'))
    answers = []
    for provider in ('CPUExecutionProvider', 'CUDAExecutionProvider'):
        session = onnxruntime.InferenceSession(tmp_path / 'refined.onnx', providers=[provider])
        assert session.get_providers()[0] == provider
        width, height = cfg.codec.input_size
        image = np.random.default_rng(0).normal(size=(2, 3, height, width)).astype(np.float32)
        answers.append(session.run(None, {session.get_inputs()[0].name: image}))
    for first, second in zip(*answers):
        np.testing.assert_allclose(first, second, atol=0.1)


@pytest.mark.parametrize('channels_last', [False, True], ids=['contiguous', 'channels-last'])
def test_steps_cost_what_their_parts_cost(device, channels_last, record_property, tmp_path):
    """At the size of the paper on a GPU, of the quickstart on a CPU."""
    configs = {}
    batch_size = 32
    if device.type == 'cpu':
        folder, batch_size = 'configs/tskd/synthetic_crowd', 2
        configs = dict(
            stage1=f'{folder}/tskd-stage1_simcc_hrnet-w32-tiny-to-w16-tiny_10e_synthetic-crowd-96x64.py',
            stage2=f'{folder}/tskd-stage2_simcc_hrnet-w32-tiny-to-w16-tiny-igpgcn_4e_synthetic-crowd-96x64.py',
        )
    setting = Setting(device, batch_size, channels_last=channels_last)
    result = SimpleNamespace(**benchmark_step(setting, 3, out=str(tmp_path / 'step.json'), **configs))
    for stage in ('stage1', 'stage2'):
        seconds, peak = np.median(result.seconds[f'{stage}_step']), result.memory_mib[f'{stage}_step']['peak']
        record_property(f'{stage}: ms', f'{1000 * seconds:.0f}')
        record_property('by its parts', f'{getattr(result, f"{stage}_over_limit"):.3f}')
        record_property('MiB', f'{peak:.0f} of {result.memory_of_limit_mib[stage]:.0f}')
        if device.type == 'cuda':
            assert getattr(result, f'{stage}_over_limit') < COUNTED
            assert peak < COUNTED * result.memory_of_limit_mib[stage]
