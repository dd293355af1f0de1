from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmpose_tskd.models.replay_forward import replay_forward
from mmpose_tskd.poses import labeled_joints


def test_replayed_forward_serves_what_is_known_and_is_taken_back():
    head = torch.nn.Linear(2, 2)
    feats = torch.ones(1, 2)
    with replay_forward(head, (feats, 'known')):
        assert head.forward(feats) == 'known'
    assert isinstance(head(feats), torch.Tensor)
    own = head.forward = lambda feats: 'compiled'
    with replay_forward(head, (feats, 'known')):
        assert head.forward(feats) == 'known'
    assert head.forward is own
    with replay_forward(head, (feats, 'known')), pytest.raises(RuntimeError, match='Linear asks its forward for other'):
        head.forward(feats + 1)
    for known in ([feats.bfloat16()], (feats.bfloat16(),)):  # a stack's heatmaps; SimCC's two axes
        with replay_forward(head, (feats, known)):
            (replayed,) = head.forward(feats)
        assert replayed.dtype == torch.float32


def test_labeled_joints_follow_the_label_and_not_the_codecs_weight():
    """A keypoint outside the crop, to which the codec gives no weight, counts; one without a label does not."""
    visible = np.ones((1, 17), dtype=np.float32)
    visible[0, 0] = 0
    samples = [
        SimpleNamespace(gt_instances=SimpleNamespace(keypoints_visible=v)) for v in (visible, visible[..., None])
    ]
    mask = labeled_joints(samples[:1], torch.device('cpu'))
    assert mask.tolist() == [[0.0] + [1.0] * 16]
    assert labeled_joints(samples[1:], torch.device('cpu')).tolist() == mask.tolist()
