"""A stage-2 checkpoint with its plain config: keypoints on an image, with no teacher's file anywhere."""

import cv2
import numpy as np
import pytest
import torch
from conftest import train
from mmpose.apis import MMPoseInferencer, inference_topdown, init_model
from mmpose.registry import MODELS

from mmpose_tskd.apis.export import load_estimator
from mmpose_tskd.models.layers import SemGraphConv
from mmpose_tskd.poses import load_skeleton

PLAIN = 'tskd/coco/simcc_hrnet-w32-igpgcn_coco-256x192.py'


@pytest.fixture
def deployed(make_config, tmp_path):
    """The plain refined config as a file, and what a run of stage 2 saved."""
    student = MODELS.build(make_config('stage1_structure.py').model)
    torch.save(dict(state_dict=student.state_dict()), tmp_path / 'student.pth')
    options = {'train_cfg.max_epochs': 1, 'model.student_checkpoint': str(tmp_path / 'student.pth')}
    cfg = make_config('stage2_igpgcn.py', **options)
    cfg.custom_hooks.append(dict(type='EMAHook'))
    train(cfg)
    make_config(PLAIN).dump(tmp_path / 'plain.py')
    return str(tmp_path / 'plain.py'), str(tmp_path / 'work/epoch_1.pth')


@pytest.fixture
def image(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, size=(120, 80, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'image.jpg'), image)
    return str(tmp_path / 'image.jpg')


def test_init_model_and_inferencer_return_key_points(deployed, image, tmp_path):
    model = init_model(*deployed, device='cpu')
    assert type(model).__name__ == 'TopdownPoseEstimator'
    pred = inference_topdown(model, image)[0].pred_instances
    assert pred.keypoints.shape == (1, 17, 2)
    assert np.isfinite(pred.keypoints).all()
    inferencer = MMPoseInferencer(*deployed, device='cpu', det_model='whole_image')
    result = next(inferencer(image, vis_out_dir=str(tmp_path / 'out'), kpt_thr=0.0))
    person = result['predictions'][0][0]
    assert np.allclose(person['keypoints'], pred.keypoints[0], atol=1e-3)
    for network in (model, inferencer.inferencer.model, load_estimator(*deployed).model):  # the file has the graph
        graphs = [layer.adjacency for layer in network.modules() if isinstance(layer, SemGraphConv)]
        assert len(graphs) == 12 and all(torch.equal(g, load_skeleton('CocoDataset').adjacency()) for g in graphs)
    drawn = cv2.imread(str(tmp_path / 'out/image.jpg'))
    assert not np.allclose(drawn, cv2.imread(image), atol=100)
