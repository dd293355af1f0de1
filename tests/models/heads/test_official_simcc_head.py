from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmpose.registry import MODELS

from mmpose_tskd.errors import UserError
from mmpose_tskd.poses import merge_flipped_simcc

STANDARD = dict(type='SimCCLabel', input_size=(4, 3), smoothing_type='standard', label_smooth_weight=0.1)
GAUSSIAN = dict(type='SimCCLabel', input_size=(4, 3), sigma=1.0)


def make_head(codec=STANDARD, **options):
    return MODELS.build(
        dict(
            type='OfficialSimCCHead',
            in_channels=2,
            out_channels=2,
            input_size=(4, 3),
            in_featuremap_size=(2, 2),
            deconv_out_channels=None,
            decoder=codec,
            **options,
        )
    )


def predict(head, *views, flip_indices=(0, 1)):
    """Keypoints and scores for SimCC logits that stand in for the features."""
    head.forward = lambda feats: feats
    samples = [SimpleNamespace(metainfo=dict(flip_indices=list(flip_indices)))] * len(views[0][0])
    feats = list(views) if len(views) == 2 else views[0]
    preds = head.predict(feats, samples, dict(flip_test=len(views) == 2))
    return np.concatenate([p.keypoints for p in preds]), np.concatenate([p.keypoint_scores for p in preds])


def logits(*peaks, size, height=2.0, base=0.0):
    out = torch.full((1, len(peaks), size), base)
    for k, peak in enumerate(peaks):
        out[0, k, peak] = height
    return out


def test_decode_is_the_argmax_over_the_split_ratio():
    keypoints, _ = predict(make_head(), (logits(3, 7, size=8), logits(0, 5, size=6)))
    assert keypoints.tolist() == [[[1.5, 0.0], [3.5, 2.5]]]


def test_a_joint_whose_best_logit_is_negative_is_kept():
    x, y = logits(3, 3, size=8, height=-1, base=-5), logits(1, 1, size=6, height=-1, base=-5)
    keypoints, scores = predict(make_head(), (x, y))
    assert keypoints.tolist() == [[[1.5, 0.5]] * 2]
    assert (scores > 0).all()
    stock, _ = predict(make_head(decode='mmpose'), (x, y))
    assert (stock < 0).all()


def test_ties_go_to_the_first_bin():
    keypoints, _ = predict(make_head(), (torch.zeros(1, 2, 8), torch.zeros(1, 2, 6)))
    assert keypoints.tolist() == [[[0.0, 0.0]] * 2]


def test_score_is_the_larger_maximum_with_label_smoothing_and_the_smaller_with_a_gaussian():
    x, y = logits(3, 3, size=8, height=5.0), logits(1, 1, size=6, height=1.0)
    high, low = x.softmax(-1).max().item(), y.softmax(-1).max().item()
    assert predict(make_head(STANDARD), (x, y))[1] == pytest.approx(high)
    gaussian = make_head(GAUSSIAN)
    assert predict(gaussian, (x, y))[1] == pytest.approx(low / gaussian.best_score)


def test_scores_of_all_forms_are_on_one_scale():
    """A perfect Gaussian of 4 bins has a probability of 0.1 at its top and is as sure as anyone can be."""
    head = make_head(dict(type='SimCCLabel', input_size=(40, 40), sigma=4.0, normalize=True))
    target = head.decoder.encode(np.full((1, 2, 2), 20.0))
    x, y = (torch.from_numpy(target[f'keypoint_{axis}_labels']).clamp(min=1e-20).log() for axis in 'xy')
    assert x.softmax(-1).max() < 0.11
    assert predict(head, (x, y))[1] == pytest.approx(1, abs=1e-4)
    unsure = (x.softmax(-1) + 1 / 80).log(), (y.softmax(-1) + 1 / 80).log()  # half of it is spread over the 80 bins
    assert predict(head, unsure)[1] == pytest.approx(0.5, abs=0.1)
    sharper = predict(head, (x * 4, y * 4))[1]
    assert (sharper == 1).all()


def test_label_smoothed_scores_rank_people_beyond_the_smoothed_label():
    """The published rule: a probability, of which 0.9 is the target and not the top."""
    scores = [predict(make_head(), (logits(3, size=8, height=h), logits(1, size=6)))[1].item() for h in (6.0, 8.0)]
    assert 0.9 < scores[0] < scores[1] < 1


@pytest.mark.parametrize('ratio', [1, 2, 3])
def test_the_mirrored_vector_moves_left_by_the_bins_of_a_pixel_less_one(ratio):
    """A keypoint at pixel 1 of 4 is at pixel 2 of the mirror image; with 2 bins a pixel, bin 4, mirrored back bin 3."""
    x, y = logits(ratio, size=4 * ratio), logits(1, size=6)
    mirrored_back = logits(2 * ratio, size=4 * ratio).flip(-1)
    assert mirrored_back.argmax().item() == 2 * ratio - 1
    prob_x, _ = merge_flipped_simcc((x, y), (mirrored_back, y), 'standard', ratio)
    assert torch.equal(prob_x, x.softmax(-1))
    head = make_head()
    head.simcc_split_ratio = ratio
    keypoints, _ = predict(head, (x, y), (logits(2 * ratio, size=4 * ratio), y), flip_indices=(0,))
    assert keypoints[0, 0, 0] == 1.0


def test_views_are_averaged_after_the_softmax_with_label_smoothing_and_before_it_with_a_gaussian():
    x, flipped = torch.randn(1, 1, 8), torch.randn(1, 1, 8)
    y, flipped_y = torch.randn(1, 1, 6), torch.randn(1, 1, 6)
    shifted = torch.cat([flipped[..., 1:], flipped[..., -1:]], -1)
    prob_x, prob_y = merge_flipped_simcc((x, y), (flipped, flipped_y), 'standard', 2.0)
    assert torch.allclose(prob_x, (x.softmax(-1) + shifted.softmax(-1)) / 2)
    assert torch.allclose(prob_y, (y.softmax(-1) + flipped_y.softmax(-1)) / 2)
    prob_x, prob_y = merge_flipped_simcc((x, y), (flipped, flipped_y), 'gaussian', 2.0)
    assert torch.allclose(prob_x, ((x + shifted) / 2).softmax(-1))
    assert torch.allclose(prob_y, ((y + flipped_y) / 2).softmax(-1))


def test_flip_test_swaps_left_and_right():
    """Keypoint 0 at bin 3 and keypoint 1 at bin 6; the mirror image shows them as each other's, at bins 3 and 0."""
    views = (logits(3, 6, size=8), logits(1, 1, size=6)), (logits(0, 3, size=8), logits(1, 1, size=6))
    keypoints, _ = predict(make_head(), *views, flip_indices=(1, 0))
    assert keypoints[0, :, 0].tolist() == [1.5, 3.0]


def test_loss_and_accuracy_of_a_batch():
    head = make_head()
    encoded = head.decoder.encode(np.array([[[1.5, 1.0], [3.0, 2.0]]]), np.array([[1.0, 0.0]]))
    labels = SimpleNamespace(**{k: torch.from_numpy(v).float() for k, v in encoded.items()})
    perfect = tuple(getattr(labels, f'keypoint_{axis}_labels').clamp(min=1e-20).log().requires_grad_() for axis in 'xy')
    head.forward = lambda feats: feats
    losses = head.loss(perfect, [SimpleNamespace(gt_instance_labels=labels)])
    assert losses['loss_kpt'].item() == pytest.approx(0, abs=1e-5)
    assert losses['acc_pose'].item() == 1
    wrong = tuple(p.detach().flip(-1) for p in perfect)
    assert head.loss(wrong, [SimpleNamespace(gt_instance_labels=labels)])['acc_pose'].item() == 0


def test_highest_bins_do_not_tie_under_autocast():
    """In bf16 the bins 99, 100 and 101 of this peak would be one number, and the argmax the first."""
    head = make_head()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        x, y = head.forward((torch.randn(1, 2, 2, 2, dtype=torch.bfloat16),))
    assert x.dtype == y.dtype == torch.float32
    assert not torch.equal(x, x.bfloat16().float())


def test_parameters_are_the_stock_heads():
    stock = MODELS.build(
        dict(
            type='SimCCHead',
            in_channels=2,
            out_channels=2,
            input_size=(4, 3),
            in_featuremap_size=(2, 2),
            deconv_out_channels=None,
        )
    )
    make_head().load_state_dict(stock.state_dict(), strict=True)


@pytest.mark.parametrize('options, message', [(dict(decode='best'), 'head.decode'), (dict(codec=None), 'head.decoder')])
def test_unknown_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        make_head(**options)
