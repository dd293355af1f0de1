"""Both stages by two processes: what they do is what one does on the same images."""

import pytest
import torch
from conftest import free_port, toy_config, toy_teacher, write_toy_data
from mmengine.config import Config
from mmpose.registry import MODELS
from probe_hook import digest
from processes import finish, run_tool, start

STUDENT = 'simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py'


@pytest.fixture(scope='module')
def people(tmp_path_factory):
    """Six: the last of an epoch's batches is smaller."""
    return write_toy_data(tmp_path_factory.mktemp('people') / 'data', num_people=6)


@pytest.fixture
def write_config(people, tmp_path, teacher_checkpoint):
    """A config of two epochs with everything that has to be told to all processes, for the command line."""

    def write(stage, name, batch_size, average=True, **options):
        cfg = toy_config(stage, people, tmp_path / name)
        cfg.model.update(teacher=toy_teacher(), teacher_checkpoint=teacher_checkpoint)
        if 'stage2' in stage:
            torch.manual_seed(0)
            student = MODELS.build(toy_config(STUDENT, people, tmp_path / 'unused').model)
            torch.save(dict(state_dict=student.state_dict()), tmp_path / 'student.pth')
            cfg.model.student_checkpoint = str(tmp_path / 'student.pth')
        cfg.train_dataloader.batch_size = batch_size
        cfg.optim_wrapper.optimizer = dict(type='SGD', lr=0.01, momentum=0.9)  # proportional to the gradient
        cfg.val_evaluator = [cfg.val_evaluator, dict(type='EPE')]
        cfg.auto_scale_lr = dict(base_batch_size=16)
        cfg.custom_hooks += [
            dict(type='TeacherEvaluationHook'),
            dict(type='ProbeHook'),
        ]
        if average:
            cfg.custom_hooks.append(dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.5))
        cfg.custom_imports = dict(imports=['mmpose_tskd', 'probe_hook'])
        cfg.merge_from_dict(options)
        cfg.dump(tmp_path / f'{name}.py')
        return tmp_path / f'{name}.py'

    return write


def train(config, *flags, processes=1, exit_code=0):
    """``tools/train.py``, in as many processes; returns the last checkpoint of a run that ends well."""
    env = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port()))
    if processes > 1:
        flags = ('--launcher', 'pytorch', *flags)
    log, running = config.with_suffix('.log'), []
    for rank in range(processes):
        place = dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes)) if processes > 1 else {}
        running.append(start(run_tool, 'train', config, *flags, log=log, **env, **place))
    try:
        for process in running:
            finish(process, log, exit_codes=[exit_code])
    finally:
        for process in running:  # which would wait for the one that has failed
            process.kill()
    return None if exit_code else torch.load(config.with_suffix('') / 'epoch_2.pth', weights_only=True)


def assert_close(first, second):
    """Up to what the order of additions changes."""
    for entry in {'state_dict', 'ema_state_dict'} & set(first):
        assert list(first[entry]) == list(second[entry])
        for name, value in first[entry].items():
            torch.testing.assert_close(value, second[entry][name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize('stage', ['stage1_structure.py', 'stage2_igpgcn.py'])
def test_two_processes_learn_what_one_does(stage, write_config, teacher_checkpoint, survived):
    """No parameter is unused, or the second step would fail."""
    one = train(write_config(stage, 'one', batch_size=4), '--auto-scale-lr')
    two = train(config := write_config(stage, 'two', batch_size=2), '--auto-scale-lr', processes=2)
    assert_close(one, two)
    for name, value in one.get('distill', {}).get('adapters', {}).items():
        torch.testing.assert_close(value, two['distill']['adapters'][name], rtol=1e-4, atol=1e-6)
    folder = config.parent
    whole, *parts = (torch.load(folder / name) for name in ('one/rank0.pt', 'two/rank0.pt', 'two/rank1.pt'))
    for step, batch in enumerate(whole['images']):  # the same instances, augmented alike
        assert sorted(batch) == sorted(sample for part in parts for sample in part['images'][step])
    assert [len(batch) for batch in whole['images']] == [4, 2, 4, 2]
    teacher = MODELS.build(toy_teacher())
    teacher.load_state_dict(torch.load(teacher_checkpoint, weights_only=True)['state_dict'])
    for part in parts:
        assert part['gamma'] == whole['gamma'] == ([1, 1, 0.5, 0.5] if 'stage1' in stage else [1] * 4)
        assert part['teacher'] == whole['teacher'] == digest(teacher)
        assert part['lr'] == whole['lr'] == [pytest.approx(0.01 * 4 / 16 * 0.5)]  # scaled, then the schedule's half
        assert len(part['metrics']) == 2
        for first, second in zip(part['metrics'], whole['metrics']):
            assert first == pytest.approx(second, rel=1e-4) and {'EPE', 'val/teacher/EPE'} <= set(first)
    survived('two processes', stage)


def test_a_signal_that_reaches_one_process_within_a_validation_stops_both(write_config, survived):
    """Each of them has two of the three batches of a step by then."""
    options = {'batch_size': 2, 'optim_wrapper.accumulative_counts': 3}
    whole = train(write_config('stage1_structure.py', 'uncut', **options), processes=2)
    config = write_config('stage1_structure.py', 'cut', **options)
    hooks = [*Config.fromfile(config).custom_hooks, dict(type='StopSecondHook')]
    config = write_config('stage1_structure.py', 'cut', custom_hooks=hooks, **options)
    train(config, processes=2, exit_code=130)
    assert (config.with_suffix('') / 'last_checkpoint').read_text().endswith('interrupted.pth')
    resumed = train(config, '--resume', processes=2)
    assert resumed['meta']['epoch'] == 2
    assert_close(whole, resumed)
    survived('two processes', 'a signal to one within a validation')


def test_accumulated_gradients_are_those_of_the_whole_batch(write_config):
    stage = 'stage1_structure.py'
    options = {'train_dataloader.dataset.indices': 4, 'param_scheduler': [], 'average': False}
    whole = train(write_config(stage, 'whole', batch_size=4, **options))
    parts = train(write_config(stage, 'parts', batch_size=2, **options, **{'optim_wrapper.accumulative_counts': 2}))
    assert_close(whole, parts)
