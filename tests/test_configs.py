"""Every config: it loads, trains and predicts at toy size; the distinct networks are built at full size too."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from conftest import REPO, shrink_model, toy_config, train, write_toy_data, write_toy_mpii
from mmengine.config import Config
from mmpose.registry import MODELS
from test_recipes import published_weights

from mmpose_tskd.apis.complexity import model_complexity
from mmpose_tskd.models.teachers import load_model_config

CONFIGS = sorted(str(path.relative_to(REPO / 'configs')) for path in REPO.glob('configs/**/*.py'))
# recipes with MMPose's own models: test_recipes.py; from records: test_record_recipes.py
RUNNABLE = [
    name
    for name in CONFIGS
    if not name.startswith(('_base_', 'recipes/c', 'recipes/records')) or 'distill-init' in name
]

# Millions of parameters of the deployed model, counted once; those of COCO are the known sizes of SimCC HRNet.
PARAMETERS = {
    'simcc/coco/simcc_hrnet-w48-gaussian_4xb32-210e_coco-256x192.py': 66.349,
    'simcc/coco/simcc_hrnet-w48-gaussian_4xb32-210e_coco-384x288.py': 70.564,
    'simcc/crowdpose/simcc_hrnet-w32_4xb32-210e_crowdpose-256x192.py': 31.289,
    'tskd/crowdpose/tskd-stage2_simcc_hrnet-w48-to-w32-igpgcn_4xb32-30e_crowdpose-256x192.py': 33.583,
    'simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py': 31.290,
    'simcc/coco/simcc_hrnet-w48_4xb32-210e_coco-256x192.py': 66.349,
    'tskd/coco/simcc_hrnet-w32-igpgcn_coco-256x192.py': 33.586,
    'stage1_structure.py': 31.290,
    'stage2_igpgcn.py': 33.586,
    'simcc/lspet/simcc_hrnet-w16-small_8e_lspet-128x96.py': 1.647,
    'simcc/lspet/simcc_hrnet-w32-small_12e_lspet-128x96.py': 6.123,
    'tskd/lspet/simcc_hrnet-w16-small-igpgcn_lspet-128x96.py': 2.036,
    'tskd/lspet/tskd-stage1_simcc_hrnet-w32-small-to-w16-small_8e_lspet-128x96.py': 1.647,
    'tskd/lspet/tskd-stage2_simcc_hrnet-w32-small-to-w16-small-igpgcn_4e_lspet-128x96.py': 2.036,
    'simcc/lspet/simcc_hrnet-w32_100e_lspet-256x192.py': 31.289,
    'tskd/lspet/tskd-stage1_simcc_hrnet-w32-to-w16-small_60e_lspet-256x192.py': 4.056,
    'tskd/lspet/tskd-stage2_simcc_hrnet-w32-to-w16-small-igpgcn_20e_lspet-256x192.py': 4.445,
}


def test_file_names_are_unique():
    """mim finds configs by name alone."""
    names = [name.split('/')[-1] for name in CONFIGS]
    assert len(set(names)) == len(names)


FOLDERS = sorted({str(Path(name).parent) for name in CONFIGS if not name.startswith('_base_')} - {'.'})


@pytest.mark.parametrize('folder', FOLDERS)
def test_a_folder_of_configs_lists_them_in_its_readme_and_metafile(folder):
    names = {Path(name).stem for name in CONFIGS if str(Path(name).parent) == folder}
    readme = (REPO / 'configs' / folder / 'README.md').read_text()
    assert set(re.findall(r'\]\(([^/()]+)\.py\)', readme)) == names
    models = yaml.safe_load((REPO / 'configs' / folder / 'metafile.yml').read_text())['Models']
    assert {model['Name'] for model in models} == names
    assert {model['Config'] for model in models} == {f'configs/{folder}/{name}.py' for name in names}


def test_mim_finds_every_folder_of_configs():
    listed = yaml.safe_load((REPO / 'model-index.yml').read_text())['Import']
    assert sorted(listed) == [f'configs/{folder}/metafile.yml' for folder in FOLDERS]


@pytest.mark.parametrize('name', [name for name in CONFIGS if 'crowdpose' in name or 'lspet' in name])
def test_no_epoch_is_selected_by_the_test_set(name):
    cfg = Config.fromfile(REPO / 'configs' / name)
    assert cfg.val_dataloader.dataset.ann_file == cfg.test_dataloader.dataset.ann_file
    assert cfg.default_hooks.checkpoint.get('save_best') is None


@pytest.fixture(scope='session')
def toy_data_14(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp('data') / 'toy14', num_keypoints=14)


@pytest.fixture(scope='session')
def toy_mpii(tmp_path_factory):
    return write_toy_mpii(tmp_path_factory.mktemp('data') / 'toy_mpii')


def save_toy_model(model: dict, width: int, path) -> str:
    shrink_model(model, width)
    torch.save(MODELS.build(model).state_dict(), path)
    return str(path)


@pytest.mark.parametrize('name', RUNNABLE)
def test_a_config_trains_and_predicts_at_toy_size(name, toy_data, toy_data_14, toy_mpii, tmp_path):
    cfg = Config.fromfile(REPO / 'configs' / name)
    head = cfg.model.head
    num_keypoints = head.get('base_head', head).out_channels
    data = {17: toy_data, 16: toy_mpii, 14: toy_data_14}[num_keypoints]
    options = {'train_cfg.max_epochs': 1}
    if cfg.model.get('student_checkpoint'):
        plain = dict(
            cfg.model,
            type='TopdownPoseEstimator',
            head=head.base_head,
            backbone={**cfg.model.backbone, 'type': 'HRNet'},
        )
        for key in ('teacher', 'teacher_checkpoint', 'student_checkpoint', 'frozen', 'task_loss', 'distill_losses'):
            plain.pop(key, None)
        plain['backbone'].pop('branches')
        options['model.student_checkpoint'] = save_toy_model(plain, 8, tmp_path / 'student.pth')
    toy = toy_config(name, data, tmp_path / 'work', **options)
    if cfg.model.get('teacher'):
        toy.model.teacher = load_model_config(cfg.model.teacher)
        toy.model.teacher_checkpoint = save_toy_model(toy.model.teacher, 12, tmp_path / 'teacher.pth')
    runner = train(toy)
    loss = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(loss) == 3 and all(value > 0 for value in loss)
    metric, best = ('PCK', 100) if num_keypoints == 16 else ('coco/AP', 1)
    assert 0 <= runner.message_hub.get_scalar(f'val/{metric}').current() <= best


@pytest.mark.parametrize('name', PARAMETERS)
def test_a_config_builds_its_model_at_full_size(name):
    cfg = Config.fromfile(REPO / 'configs' / name)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model).eval()
    students = [p for n, p in model.named_parameters() if not n.startswith('distill_losses.')]
    assert sum(p.numel() for p in students) / 1e6 == pytest.approx(PARAMETERS[name], abs=5e-4)
    width, height = model.head.input_size
    with torch.no_grad():
        feats = model.extract_feat(torch.zeros(1, 3, height, width))
        output = model.head.forward(feats)
    if 'igpgcn' in name:
        assert [f.shape[-1] for f in feats] == [width // 16, width // 8, width // 4, width // 4]
        output = output.base
    ratio = cfg.codec.simcc_split_ratio
    assert [o.shape[-1] for o in output] == [ratio * width, ratio * height]
    assert any(hook['type'] == 'ReliableRunHook' for hook in cfg.custom_hooks)
    if 'stage1' in name:
        teacher = Config.fromfile(cfg.model.teacher).model
        adapter = model.distill_losses['loss_feat'].adapter
        assert (adapter.in_channels, adapter.out_channels) == (cfg.model.head.in_channels, teacher.head.in_channels)


@pytest.mark.parametrize('data', ['coco-256x192', 'mpii-256x256'])
def test_ikds_student_has_35_percent_of_its_teacher(data):
    folder = REPO / 'configs/ikd' / data.split('-')[0]
    cfg = Config.fromfile(folder / f'ikd_td-hm_res50-to-res18-small_8xb64-210e_{data}.py')
    student = model_complexity(cfg.model, cfg.codec.input_size)
    teacher = model_complexity(load_model_config(cfg.model.teacher), cfg.codec.input_size)
    assert (student.params_m, teacher.params_m) == pytest.approx((11.833, 34.0), abs=2e-3)
    assert student.params_m / teacher.params_m == pytest.approx(0.35, abs=5e-3)
    assert student.gmacs / teacher.gmacs == pytest.approx(0.35, abs=7e-3)
    plain = Config.fromfile(folder / f'td-hm_res18-small_8xb64-210e_{data}.py')
    assert plain.model.backbone == cfg.model.backbone and plain.model.head == cfg.model.head


@pytest.mark.parametrize('data', ['coco-256x192', 'mpii-256x256'])
def test_ikds_teacher_has_the_checkpoint_that_mmpose_publishes(data):
    folder = REPO / 'configs/ikd' / data.split('-')[0]
    model = Config.fromfile(folder / f'ikd_td-hm_res50-to-res18-small_8xb64-210e_{data}.py').model
    assert model.teacher_checkpoint == published_weights(model.teacher)


def test_ikds_ablation_holds_one_term_of_it_each():
    name = '_td-hm_res50-to-res18-small_8xb64-210e_coco-256x192.py'
    whole = Config.fromfile(REPO / f'configs/ikd/coco/ikd{name}').model.distill_losses
    for term in ('logit', 'feature', 'structure'):
        alone = Config.fromfile(REPO / f'configs/ikd/coco/ikd-{term}{name}').model.distill_losses
        assert alone == {f'loss_{term}': whole[f'loss_{term}']}
    assert len(whole) == 3
    mpii = Config.fromfile(REPO / f'configs/ikd/mpii/ikd{name.replace("coco-256x192", "mpii-256x256")}')
    assert mpii.model.distill_losses == whole


def test_the_small_family_trains_in_bfloat16_and_channels_last(tmp_path):
    """CrowdPose's keypoints, the Gaussian codec, and the options that make it fast on a CPU."""
    data = write_toy_data(tmp_path / 'data', num_keypoints=14)
    teacher = Config.fromfile(REPO / 'configs/simcc/lspet/simcc_hrnet-w32-small_12e_lspet-128x96.py').model
    shrink_model(teacher, 12)
    torch.save(MODELS.build(teacher).state_dict(), tmp_path / 'teacher.pth')
    options = {
        'model.teacher_checkpoint': str(tmp_path / 'teacher.pth'),
        'optim_wrapper.type': 'BF16OptimWrapper',
        'train_cfg.max_epochs': 1,
    }
    name = 'tskd/lspet/tskd-stage1_simcc_hrnet-w32-small-to-w16-small_8e_lspet-128x96.py'
    cfg = toy_config(name, data, tmp_path / 'work', **options)
    cfg.model.teacher = teacher
    runner = train(cfg)
    conv = runner.model.backbone.conv1.weight
    assert conv.is_contiguous(memory_format=torch.channels_last) and conv.dtype == torch.float32
    seen = []
    runner.model.backbone.layer1.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    data_batch = next(iter(runner.train_dataloader))
    with runner.optim_wrapper.optim_context(runner.model):
        losses = runner.model(**runner.model.data_preprocessor(data_batch, True), mode='loss')
    assert seen == [torch.bfloat16]
    assert all(value.isfinite() and value.dtype == torch.float32 for value in losses.values())


def test_the_papers_settings_are_in_the_configs():
    stage1, stage2 = (Config.fromfile(REPO / f'configs/{name}.py') for name in ('stage1_structure', 'stage2_igpgcn'))
    assert (stage1.train_cfg.max_epochs, stage2.train_cfg.max_epochs) == (210, 30)
    for cfg in (stage1, stage2):
        assert (cfg.optim_wrapper.optimizer.type, cfg.optim_wrapper.optimizer.lr) == ('Adam', 1e-3)
    assert (stage1.train_dataloader.batch_size, stage1.auto_scale_lr.base_batch_size) == (32, 128)
    assert stage1.param_scheduler[1].milestones == [170, 200]
    losses = stage1.model.distill_losses
    assert [losses[name].loss_weight for name in ('loss_feat', 'loss_pose', 'loss_structure')] == [5e-5, 0.1, 0.1]
    assert stage1.model.head.decoder.label_smooth_weight == 0.1
    assert stage2.model.distill_losses.loss_refine.stage_weights == (0.3, 0.5, 1.0)
    assert stage2.model.frozen == ('backbone', 'head.base_head') and not stage2.model.task_loss
