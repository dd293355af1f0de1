"""Whose keypoints these are: the data sets of student and teacher say it, and nothing is taken for granted."""

import copy
import logging

import numpy as np
import pytest
import torch
from conftest import train
from mmengine.logging import MessageHub, MMLogger
from mmengine.structures import InstanceData
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS, MODELS
from mmpose.structures import PoseDataSample
from test_any_teacher import MSRA, SIMCC, estimator, labeled_batch

from mmpose_tskd.errors import UserError
from mmpose_tskd.models.layers import SemGraphConv
from mmpose_tskd.models.teachers import FrozenTeacher, LabeledCategories, TeacherCheck
from mmpose_tskd.poses import PoseOutputs, load_skeleton, match_joints


def tell(dataset):
    """As a Runner does before it trains."""
    metainfo = parse_pose_metainfo(dict(DATASETS.get(dataset).METAINFO))
    MessageHub.get_current_instance().update_info('dataset_meta', metainfo)


@pytest.fixture
def said():
    """What is logged."""
    records, handler = [], logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def distiller(folder, dataset=None, count=17, losses=None, students=None, **options):
    """A SimCC student; its teacher is a whole config with that data set, or the dict of a model alone."""
    teacher = estimator(MSRA, num_keypoints=count)
    torch.save(MODELS.build(copy.deepcopy(teacher)).state_dict(), folder / 'teacher.pth')
    if dataset is not None:
        part = dict(type='CombinedDataset', datasets=[dict(type=dataset)])
        teacher = dict(model=teacher, train_dataloader=dict(dataset=dict(type='RepeatDataset', dataset=part)))
    model = MODELS.build(
        dict(
            estimator(SIMCC, 'OfficialSimCCHead', num_keypoints=students or count),
            **dict(
                type='PoseDistiller',
                teacher=teacher,
                teacher_checkpoint=str(folder / 'teacher.pth'),
                distill_losses=losses or dict(loss_pose=dict(type='PoseL1Loss', loss_weight=1.0)),
                **options,
            ),
        )
    )
    model.init_weights()
    return model


def test_a_teacher_of_as_many_joints_is_matched_by_the_names_of_its_data_set(tmp_path, said):
    """PoseTrack18 and COCO have 17 keypoints each, of which 15 are the same, in part at other places."""
    tell('CocoDataset')
    model = distiller(tmp_path, 'PoseTrack18Dataset')
    inputs, samples = labeled_batch(SIMCC)
    model.loss(inputs, samples)
    coco, posetrack = load_skeleton('CocoDataset'), load_skeleton('PoseTrack18Dataset')
    outputs = model.teacher(inputs)
    own = model.teacher.reader(outputs.feats, model.teacher.model.head(outputs.feats)).coords
    for k, name in enumerate(coco.names):
        if name in posetrack.names:
            assert outputs.weights[0, k] == 1
            assert torch.allclose(outputs.coords[:, k], own[:, posetrack.names.index(name)]), name
        else:
            assert outputs.weights[0, k] == 0 and name in ('left_eye', 'right_eye')
    assert any('teaches 15 of 17 keypoints of coco' in record and 'left_eye' in record for record in said)


def test_joints_without_a_name_in_common_are_refused(tmp_path):
    tell('CocoDataset')
    model = distiller(tmp_path, 'AP10KDataset')
    with pytest.raises(UserError, match=r"\(ap10k\) and of the student \(coco\) have no keypoint's name in common"):
        model.loss(*labeled_batch(SIMCC))


def test_numbers_are_no_names_across_data_sets():
    wflw, w300, cofw = (load_skeleton(f'{name}Dataset') for name in ('WFLW', 'Face300W', 'COFW'))
    assert match_joints(wflw, wflw) is None
    assert (match_joints(w300, cofw) == -1).all() and (match_joints(wflw, w300) == -1).all()
    assert (match_joints(load_skeleton('CocoDataset'), load_skeleton('CrowdPoseDataset')) >= 0).sum() == 12


def test_a_face_without_links_is_taught_and_mirrored_but_has_no_limbs(tmp_path):
    tell('COFWDataset')
    model = distiller(tmp_path, 'COFWDataset', count=29, teacher_flip_test=True)
    assert model.loss(*labeled_batch(SIMCC, 29))['loss_pose'] > 0
    limbs = distiller(tmp_path, 'COFWDataset', count=29, losses=dict(loss_structure=dict(type='StructureLoss')))
    with pytest.raises(UserError, match='loss_structure: the metainfo of cofw has no skeleton links'):
        limbs.loss(*labeled_batch(SIMCC, 29))


def test_limbs_are_those_of_the_data_and_without_data_are_asked_for(tmp_path):
    losses = dict(loss_structure=dict(type='StructureLoss'))
    with pytest.raises(UserError, match='loss_structure compares limbs, .* set model.metainfo'):
        distiller(tmp_path, losses=losses).loss(*labeled_batch(SIMCC))
    tell('AP10KDataset')
    model = distiller(tmp_path, losses=losses)
    model.loss(*labeled_batch(SIMCC))
    assert model.distill_losses['loss_structure'].edges.T.tolist() == [
        list(link) for link in load_skeleton('AP10KDataset').links
    ]


def test_joints_that_the_pipeline_converts_are_asked_for(tmp_path):
    tell('CrowdPoseDataset')
    with pytest.raises(UserError, match=r'\(crowdpose\) have 14 keypoints, the student 17: .* set model.metainfo'):
        distiller(tmp_path).loss(*labeled_batch(SIMCC))
    assert distiller(tmp_path, metainfo='CocoDataset').loss(*labeled_batch(SIMCC))['loss_pose'] > 0


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(type='AP10KDataset'), r'model.metainfo \(coco\) has other keypoints than the data, such as nose and L_E'),
        (dict(links=[('nose', 'left_hip')]), r'model.metainfo \(coco\) has other limbs'),
        (dict(swap=True), r'model.metainfo \(coco\) has other mirror pairs'),
    ],
)
def test_a_skeleton_in_the_config_is_held_against_the_datas(change, message, make_config):
    """By a Runner, before its first step."""
    cfg = make_config('stage1_structure.py', **{'model.metainfo': 'CocoDataset'})
    dataset = cfg.train_dataloader.dataset
    if 'type' in change:
        dataset.type = change['type']
    else:
        metainfo = copy.deepcopy(dict(from_coco()))
        if 'links' in change:
            metainfo['skeleton_info'] = {0: dict(link=change['links'][0], id=0, color=[0, 0, 0])}
        else:
            for name in (1, 2):
                metainfo['keypoint_info'][name]['swap'] = ''
        dataset.metainfo = metainfo
    with pytest.raises(UserError, match=message):
        train(cfg)


def from_coco():
    import mmpose
    from mmengine.config import Config

    return Config.fromfile(f'{mmpose.__path__[0]}/.mim/configs/_base_/datasets/coco.py').dataset_info


def test_the_graph_of_a_refiner_is_held_against_the_datas(make_config):
    cfg = make_config('tskd/coco/simcc_hrnet-w32-igpgcn_coco-256x192.py', **{'model.head.metainfo': 'CocoDataset'})
    cfg.train_dataloader.dataset.type = 'AP10KDataset'
    with pytest.raises(UserError, match=r'model.head.metainfo \(coco\) has other keypoints than the data'):
        train(cfg)


REFINER = dict(
    type='IGPGCNHead', in_channels=(64,) * 3, in_indices=(-1,) * 3, feat_channels=(8,) * 3, hidden_channels=16
)


def refiner(**options):
    return MODELS.build(dict(REFINER, base_head=estimator(SIMCC, 'OfficialSimCCHead')['head'], **options))


def graph(head):
    graphs = [layer.adjacency for layer in head.modules() if isinstance(layer, SemGraphConv)]
    assert all(torch.equal(graph, graphs[0]) for graph in graphs)
    return graphs[0]


def test_a_refiner_takes_the_graph_of_its_data_and_a_checkpoint_has_it():
    head, feats = refiner(), (torch.randn(2, 64, 3, 2),)
    poses = head.eval()(feats).refined
    assert torch.allclose(poses[-1], head.base_reader(feats, head.base_head(feats)).peaks, atol=1e-4)
    tell('AP10KDataset')
    head.train()(feats)
    assert torch.equal(graph(head), load_skeleton('AP10KDataset').adjacency())
    tuned = refiner()
    tuned.load_state_dict(head.state_dict())
    assert torch.equal(graph(tuned), graph(head))
    tell('CocoDataset')
    tuned.train()(feats)
    assert torch.equal(graph(tuned), load_skeleton('CocoDataset').adjacency())


@pytest.mark.parametrize(
    'data, message',
    [
        (None, 'connects 17 keypoints by their limbs, and neither a Runner nor .* set model.head.metainfo'),
        ('CrowdPoseDataset', r'\(crowdpose\) have 14 keypoints, the student 17: .* set model.head.metainfo'),
        ('COFWDataset', 'have 29 keypoints'),
    ],
)
def test_a_refiner_asks_for_joints_that_its_data_do_not_say(data, message):
    if data is not None:
        tell(data)
    feats = (torch.randn(2, 64, 3, 2),)
    with pytest.raises(UserError, match=message):
        refiner().train()(feats)
    assert refiner(metainfo='CocoDataset').train()(feats).refined[-1].isfinite().all()


def test_a_distillers_joints_are_its_refiners(tmp_path):
    """Where the pipeline converts them it has to be said, once."""
    tell('CrowdPoseDataset')
    losses = dict(loss_refine=dict(type='ProgressivePoseLoss'))
    student = dict(REFINER, base_head=estimator(SIMCC, 'OfficialSimCCHead')['head'])
    model = distiller(tmp_path, losses=losses, metainfo='CocoDataset', head=student, task_loss=False)
    assert model.loss(*labeled_batch(SIMCC))['loss_refine'] > 0
    assert torch.equal(graph(model.head), load_skeleton('CocoDataset').adjacency())


def test_a_mirror_that_does_not_lead_back_is_said_once(tmp_path, said):
    assert load_skeleton('DeepFashion2Dataset').unmirrored()
    tell('DeepFashion2Dataset')
    model = distiller(tmp_path, 'DeepFashion2Dataset', count=294)
    for _ in range(2):
        model.loss(*labeled_batch(SIMCC, 294))
    assert len([record for record in said if 'deepfashion2 mirrors' in record]) == 1


# Keypoints that nobody was trained on


def sample(visible, category):
    made = PoseDataSample(metainfo=dict(category_id=category))
    made.gt_instances = InstanceData(keypoints_visible=np.array([visible], dtype=np.float32))
    return made


def test_a_joint_teaches_only_where_its_category_has_it():
    categories = LabeledCategories()
    first = categories([sample([1, 0, 0], 1), sample([0, 1, 1], 2)], torch.device('cpu'))
    assert first.tolist() == [[1, 0, 0], [0, 1, 1]]
    # of category 1 the second keypoint is known by now, and of an instance without it, too
    assert categories([sample([0, 2, 0], 1), sample([1, 0, 0], 1)], torch.device('cpu')).tolist() == [[1, 1, 0]] * 2
    other = LabeledCategories()
    other.load_state_dict(categories.state_dict())
    assert other([sample([0, 0, 0], 1)], torch.device('cpu')).tolist() == [[1, 1, 0]]


@pytest.mark.parametrize('kind', ['PoseL1Loss', 'StructureLoss'])
def test_what_a_teacher_says_of_joints_outside_of_the_category_is_not_followed(kind, tmp_path, monkeypatch):
    """Of 17 keypoints the labels of this category have five; the teacher's others are noise."""
    tell('CocoDataset')
    model = distiller(tmp_path, 'CocoDataset', losses=dict(loss_other=dict(type=kind))).eval()
    inputs, samples = labeled_batch(SIMCC)
    for person in samples:
        person.gt_instances.keypoints_visible[:, 5:] = 0
    loss = model.loss(inputs, samples)['loss_other']
    answer = model.teacher(inputs)
    answer.coords[:, 5:] += 1000
    monkeypatch.setattr(FrozenTeacher, '__call__', lambda self, inputs, data_samples: answer)
    assert model.loss(inputs, samples)['loss_other'] == loss > 0


def test_a_resumed_run_knows_the_categories(tmp_path):
    model, other = (distiller(tmp_path) for _ in range(2))
    model.loss(*labeled_batch(SIMCC))
    other.load_distill_state_dict(model.distill_state_dict())
    assert other.categories.state_dict() == model.categories.state_dict() == {0: [1] * 17}


# What a teacher knows of the data


def check(labels, poses, mask=None, names=None, **options):
    mask = torch.ones(labels.shape[:2], dtype=torch.bool) if mask is None else mask
    outputs = [PoseOutputs(feats=(), reader=None) for _ in range(2)]
    for made, pose in zip(outputs, (labels, poses)):
        vars(made)['peaks'] = pose
    return TeacherCheck(**options)(outputs[0], mask, outputs[1], names)


@pytest.fixture
def people():
    """40 instances of four keypoints, apart from one another, in an image of 200 pixels."""
    places = torch.tensor([[40.0, 40.0], [160.0, 40.0], [40.0, 160.0], [160.0, 160.0]])
    return places + 20 * torch.randn(40, 4, 2)


def test_a_permutation_shows_joint_by_joint(people):
    poses = (people + 3 * torch.randn_like(people))[:, [0, 2, 1, 3]]
    text = check(people, poses, names=('nose', 'hand', 'foot', 'knee'))
    assert '2 of 4 labeled keypoints' in text and 'nose' not in text
    assert 'hand (off by' in text and 'its keypoint foot is nearer' in text and 'its keypoint hand is nearer' in text


def test_a_teacher_is_judged_by_what_one_could_guess(people):
    assert check(people, people + 8 * torch.randn_like(people)) is None
    mean = people.mean(0, keepdim=True) + torch.zeros_like(people)
    assert '4 of 4 labeled keypoints' in check(people, mean + 6 * torch.randn_like(people))  # of no instance


def test_joints_with_few_labels_are_not_judged_and_few_people_waited_for(people):
    wrong = people + 60
    mask = torch.ones(40, 4, dtype=torch.bool)
    mask[7:, 1:] = False
    assert '1 of 1 labeled keypoints' in check(people, wrong, mask)
    assert check(people[:31], wrong[:31]) is None
