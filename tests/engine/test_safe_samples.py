"""How samples are drawn and read in a run."""

import json
import logging
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import train, write_toy_data
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.runner import Runner
from mmpose.datasets import CocoDataset

from mmpose_tskd.datasets.safe_samples import SafeSamples, SeededSampler, check_damage
from mmpose_tskd.errors import UserError


class Noise:
    """A data set whose samples are what the random generators say."""

    def __len__(self):
        return 6

    def get_data_info(self, index):
        return {}

    def __getitem__(self, index):
        return index, random.random(), np.random.rand(), float(torch.rand(()))


def epoch(number, dataset, sampler, workers, start=0, batch_size=2):
    sampler.set_epoch(number)
    loader = torch.utils.data.DataLoader(
        SafeSamples(dataset),
        batch_size=batch_size,
        sampler=SeededSampler(sampler, seed=5, start=start),
        num_workers=workers,
        collate_fn=list,
    )
    return [sample for batch in loader for sample in batch]


def test_a_samples_noise_is_of_its_place_and_epoch_alone():
    dataset = Noise()
    sampler = DefaultSampler(dataset, seed=5)
    state = np.random.get_state()[1].copy()
    first, second = (epoch(number, dataset, sampler, workers=0) for number in (0, 1))
    assert np.array_equal(state, np.random.get_state()[1])  # of what else draws from the generators
    assert {index for index, *_ in first} == {index for index, *_ in second} == set(range(6))
    assert {noise for _, *noises in first for noise in noises}.isdisjoint(n for _, *noises in second for n in noises)
    assert second == epoch(1, dataset, sampler, workers=2, batch_size=1)
    assert second[4:] == epoch(1, dataset, sampler, workers=0, start=4)


def test_without_epochs_the_noise_goes_on():
    draws = iter(SeededSampler(InfiniteSampler(Noise(), seed=5), seed=5))
    seeds = [next(draws).seed for _ in range(13)]
    assert len(set(seeds)) == 13


@pytest.fixture
def damaged_data(tmp_path):
    """One image is missing, one is cut off, one is no image."""
    data = write_toy_data(tmp_path / 'data')
    images = data / 'images'
    (images / '1.png').unlink()
    whole = (images / '2.png').read_bytes()
    (images / '2.png').write_bytes(whole[: len(whole) // 2])
    (images / '3.png').write_text('<html>not found</html>')
    return data


def config(make_config, data, damaged, **options):
    cfg = make_config('stage1_structure.py', **options)
    for hook in cfg.custom_hooks:
        if hook['type'] == 'SafeSamplesHook':
            hook['damaged'] = damaged
    cfg.train_dataloader.dataset.data_root = str(data)
    return cfg


@pytest.mark.parametrize('workers', [0, 2])
def test_a_damaged_sample_stops_the_run_with_its_name(make_config, damaged_data, workers):
    cfg = config(make_config, damaged_data, 'stop')
    cfg.train_dataloader.num_workers = workers
    with pytest.raises(UserError, match=r'images/[123].png cannot be used \(.*SafeSamplesHook') as error:
        train(cfg)
    assert 'Traceback' not in str(error.value)


def test_damaged_samples_are_skipped_and_each_is_reported_once(make_config, damaged_data):
    cfg = config(make_config, damaged_data, 'skip')
    cfg.train_dataloader.update(num_workers=2, persistent_workers=True)
    records, handler = [], logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    runner = Runner.from_cfg(cfg)
    runner.logger.addHandler(handler)
    runner.train()
    assert runner.iter == 6
    reports = sorted(record.split('images/')[1][:5] for record in records if 'is skipped' in record)
    assert reports == ['1.png', '2.png', '3.png']


def test_validation_needs_every_image(make_config, damaged_data):
    cfg = config(make_config, damaged_data, 'skip')
    cfg.train_dataloader.dataset.data_root = cfg.test_dataloader.dataset.data_root
    cfg.val_dataloader.dataset.data_root = str(damaged_data)
    with pytest.raises(UserError, match=r'images/1.png cannot be used .* validation needs them all'):
        train(cfg)


def test_nothing_is_left_to_stand_in(make_config, damaged_data):
    labels = json.loads((damaged_data / 'labels.json').read_text())
    labels['annotations'] = [person for person in labels['annotations'] if person['image_id'] <= 3]
    (damaged_data / 'labels.json').write_text(json.dumps(labels))
    with pytest.raises(UserError, match='so are 100 others drawn in its place'):
        train(config(make_config, damaged_data, 'skip'))


def test_other_values_are_refused(make_config, damaged_data):
    with pytest.raises(UserError, match="not 'ignore'"):
        train(config(make_config, damaged_data, 'ignore'))


def test_a_pipeline_that_is_switched_is_used(make_config, damaged_data):
    """As mmdet's PipelineSwitchHook does towards the end of RTMPose's training."""
    samples = SafeSamples(Runner.from_cfg(config(make_config, damaged_data, 'skip')).train_dataloader.dataset)
    (before,) = samples.__getitems__([0])
    samples.pipeline = lambda info: 'switched'
    assert samples.__getitems__([0]) == ['switched'] and samples.dataset.pipeline is samples.pipeline
    assert before != 'switched'


def test_a_wrapped_data_set_passes_for_the_one_that_it_wraps(make_config):
    dataset = Runner.build_dataloader(make_config('stage1_structure.py').train_dataloader).dataset
    for samples in (SafeSamples(dataset), pickle.loads(pickle.dumps(SafeSamples(dataset, skip=True)))):
        assert isinstance(samples, SafeSamples) and isinstance(samples, CocoDataset)
        assert samples[1]['data_samples'].id == dataset.get_data_info(1)['id']
        assert samples.metainfo['num_keypoints'] == 17 and len(samples) == 6
    assert samples.skip


def test_a_sampler_that_asks_for_its_kind_of_data_set_finds_it(make_config, toy_data):
    cfg = make_config('stage1_structure.py', **{'train_cfg.max_epochs': 1})
    part = dict(cfg.train_dataloader.dataset, pipeline=[])
    cfg.train_dataloader.dataset = dict(
        type='CombinedDataset',
        metainfo=dict(from_file='configs/_base_/datasets/coco.py'),
        datasets=[part, part],
        pipeline=cfg.train_dataloader.dataset.pipeline,
    )
    cfg.train_dataloader.sampler = dict(type='MultiSourceSampler', batch_size=2, source_ratio=[1, 1])
    runner = train(cfg)
    assert runner.iter == 6 and isinstance(runner.train_dataloader.dataset, SafeSamples)


def test_people_who_are_left_out_are_counted_in_the_log(make_config, tmp_path):
    data = write_toy_data(tmp_path / 'data', num_people=6)
    labels = json.loads((data / 'labels.json').read_text())
    for person in labels['annotations'][:3]:
        person.update(keypoints=[0] * 51, num_keypoints=0)
    labels['annotations'][3]['iscrowd'] = 1
    (data / 'labels.json').write_text(json.dumps(labels))
    cfg = config(make_config, data, 'stop')
    runner = train(cfg)
    assert runner.iter == 2
    (log,) = Path(cfg.work_dir).glob('*/*.log')
    counted = '2 instances with keypoints; left out: 3 with no labeled keypoint (id 1, ...); 1 with iscrowd (id 4)'
    assert log.read_text().count(f'{data / "labels.json"}: {counted}') == 1


@pytest.mark.parametrize('packs', [True, False])
def test_the_pipeline_that_a_run_ends_with_is_looked_at_before_it_begins(make_config, packs):
    cfg = make_config('tskd/coco/simcc_hrnet-w32-igpgcn_coco-256x192.py')
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint.pop('save_best')
    last = [*cfg.train_dataloader.dataset.pipeline[:-1], dict(type='PackPoseInputs', pack_transformed=packs)]
    cfg.custom_hooks.append(dict(type='mmdet.PipelineSwitchHook', switch_epoch=1, switch_pipeline=last))
    runner = Runner.from_cfg(cfg)
    if packs:
        runner.train()
        assert runner.epoch == 2
    else:
        with pytest.raises(UserError, match='pack_transformed=True.* at the end of each training pipeline'):
            runner.train()
        assert runner.iter == 0


def test_a_batch_without_damage_has_none():
    assert check_damage(dict(data_samples=[])) == []
