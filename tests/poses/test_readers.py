from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmpose.registry import KEYPOINT_CODECS, MODELS

from mmpose_tskd.errors import UserError
from mmpose_tskd.models.losses import pose_l1_loss
from mmpose_tskd.poses import RescaledView, build_reader, simcc_scores

SIZE = (192, 256)
STANDARD = dict(type='SimCCLabel', input_size=SIZE, smoothing_type='standard', label_smooth_weight=0.1, use_dark=False)
GAUSSIAN = dict(type='SimCCLabel', input_size=SIZE, sigma=4.0, use_dark=False)
UNNORMALIZED = dict(GAUSSIAN, normalize=False, sigma=(4.9, 5.66))
MSRA = dict(type='MSRAHeatmap', input_size=SIZE, heatmap_size=(48, 64), sigma=2)
DARK = dict(MSRA, unbiased=True, blur_kernel_size=11)
UDP = dict(type='UDPHeatmap', input_size=SIZE, heatmap_size=(48, 64), sigma=2)
MEGVII = dict(type='MegviiHeatmap', input_size=SIZE, heatmap_size=(48, 64), kernel_size=11)
COMBINED = dict(UDP, heatmap_type='combined')
REGRESSION = dict(type='RegressionLabel', input_size=SIZE)
INTEGRAL = dict(type='IntegralRegressionLabel', input_size=SIZE, heatmap_size=(48, 64), sigma=2)
RTM_LOSS = dict(type='KLDiscretLoss', use_target_weight=True, beta=10.0, label_softmax=True)


class Head(torch.nn.Module):
    """What a reader looks at in a head."""

    def __init__(self, codec, loss=None):
        super().__init__()
        self.decoder = KEYPOINT_CODECS.build(codec)
        self.loss_module = MODELS.build(loss or dict(type='SimCCKLLoss'))
        self.level_indices = [-1]

    def perfect_output(self, x, y):
        """What a network answers for a keypoint at (x, y) that has learned its target exactly."""
        encoded = self.decoder.encode(np.array([[[x, y]]], dtype=np.float32), np.ones((1, 1), dtype=np.float32))
        if 'keypoint_labels' in encoded:
            return torch.from_numpy(encoded['keypoint_labels'])
        if 'heatmaps' in encoded:
            return torch.from_numpy(encoded['heatmaps'])[None]
        loss, logits = self.loss_module, []
        for axis in 'xy':
            target = torch.from_numpy(encoded[f'keypoint_{axis}_labels'])
            if getattr(loss, 'label_softmax', False):
                target = (target * loss.label_beta).softmax(-1)
            logits.append(target.clamp(min=1e-30).log() / getattr(loss, 'beta', 1.0))
        return tuple(logits)


CODECS = {
    'label smoothing': (STANDARD, None),
    'gaussian': (GAUSSIAN, None),
    'soft-maxed gaussian': (UNNORMALIZED, RTM_LOSS),
    'heatmap': (MSRA, None),
    'dark heatmap': (DARK, None),
    'udp heatmap': (UDP, None),
    'megvii heatmap': (MEGVII, None),
    'udp combined': (COMBINED, None),
    'regression': (REGRESSION, None),
    'integral regression': (INTEGRAL, None),
}


@pytest.mark.parametrize('name', CODECS)
@pytest.mark.parametrize('x, y', [(10, 10), (181, 245), (96, 128), (10, 200)])
def test_coords_are_unbiased_for_the_codecs_target(name, x, y):
    head = Head(*CODECS[name])
    if name == 'heatmap':  # this codec rounds the keypoint to a heatmap pixel, which is 4 input pixels
        x, y = round(x / 4) * 4, round(y / 4) * 4
    if name == 'megvii heatmap':  # this one draws the pixel that it lies in, and at the border folds the Gaussian back
        x, y = (min(max(value, 24), side - 24) // 4 * 4 + 2 for value, side in zip((x, y), SIZE))
    outputs = build_reader(head)((), head.perfect_output(x, y))
    assert (outputs.coords - torch.tensor([x, y])).abs().max() < 0.5


def test_plain_expectation_would_be_biased():
    """The keypoint at x = 10 of 192 that reads as 18.6 when label smoothing's floor is left in."""
    head = Head(STANDARD)
    output = head.perfect_output(10, 10)
    assert (output[0].softmax(-1) * torch.arange(384)).sum().item() / 2 == pytest.approx(18.6, abs=0.1)
    assert build_reader(head)((), output).coords[0, 0, 0].item() == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize('temperature', [0.5, 2.0])
def test_coords_are_unbiased_at_any_temperature(temperature):
    head = Head(STANDARD)
    outputs = build_reader(head, temperature)((), head.perfect_output(10, 200))
    assert (outputs.coords - torch.tensor([10, 200])).abs().max() < 0.5


@pytest.mark.parametrize(
    'name',
    [
        'label smoothing',
        'gaussian',
        'soft-maxed gaussian',
        'heatmap',
        'megvii heatmap',
        'udp combined',
        'regression',
        'integral regression',
    ],
)
def test_peaks_are_the_codecs_decode(name):
    head = Head(*CODECS[name])
    output = head.perfect_output(33, 101)
    reader = build_reader(head)
    if 'regression' in name:
        expected, _ = head.decoder.decode(output.numpy())
    elif 'simcc_split_ratio' not in vars(head.decoder):
        expected, _ = head.decoder.decode(output[0].numpy())
    else:  # the stock decode drops a keypoint whose highest bin is not positive
        expected, _ = head.decoder.decode(*(logits.exp().numpy() for logits in output))
    peaks = reader((), output).peaks
    # the even sides of a perfect peak are a tie, by which Megvii's quarter of a pixel goes either way
    atol = 1.01 if name == 'megvii heatmap' else 1e-3
    assert np.allclose(reader.decoded(peaks).numpy(), expected, atol=atol)
    assert not peaks.requires_grad


def blurred_heatmaps(codec, seed=0):
    """Gaussians between the pixels, of several widths, with noise: N×K×h×w."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :48]
    maps = []
    for _ in range(40):
        cx, cy, sigma = rng.uniform(0, 47), rng.uniform(0, 63), rng.uniform(1.5, 3)
        maps.append(np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2)) + rng.uniform(0, 0.02, x.shape))
    return torch.tensor(np.array(maps), dtype=torch.float32).reshape(2, 20, 64, 48)


@pytest.mark.parametrize('codec', [DARK, UDP], ids=['dark', 'udp'])
def test_heatmap_peaks_are_refined_as_the_codec_does(codec):
    head, heatmaps = Head(codec), blurred_heatmaps(codec)
    expected = np.stack([head.decoder.decode(person.numpy().copy())[0][0] for person in heatmaps])
    if codec is UDP:  # whose decode takes W/(w-1) where its encode takes (W-1)/(w-1)
        expected = expected * (np.array(SIZE) - 1) / np.array(SIZE)
    peaks = build_reader(head)((), heatmaps).peaks.numpy()
    assert np.allclose(peaks, expected, atol=0.05)


@pytest.mark.parametrize('name', CODECS)
def test_confidence_is_1_for_the_heads_own_target(name):
    outputs = build_reader(head := Head(*CODECS[name]))((), head.perfect_output(96, 128))
    expected = 0.9 if name == 'label smoothing' else 1  # a network may be surer than a smoothed label
    assert outputs.confidence.item() == pytest.approx(expected, abs=0.04)  # a heatmap's pixels may miss the top


@pytest.mark.parametrize('name', CODECS)
def test_labels_are_read_as_an_output(name):
    head = Head(*CODECS[name])
    encoded = head.decoder.encode(np.array([[[33, 101]]], dtype=np.float32), np.ones((1, 1), dtype=np.float32))
    sample = SimpleNamespace(gt_instance_labels=SimpleNamespace(), gt_fields=SimpleNamespace())
    for key, value in encoded.items():
        setattr(sample.gt_fields if key == 'heatmaps' else sample.gt_instance_labels, key, torch.from_numpy(value))
    if name == 'megvii heatmap':  # of which there is one a level
        sample.gt_fields = [sample.gt_fields]
    peaks = build_reader(head).labels([sample]).peaks
    assert (peaks - torch.tensor([33.0, 101.0])).abs().max() < 2.1


@pytest.mark.parametrize('name', CODECS)
def test_a_flipped_output_is_merged_into_the_same_pose(name):
    """What a head says of the mirrored image, when it is right, changes nothing but the bin that is rounded away."""
    head = Head(*CODECS[name])
    reader = build_reader(head)
    output, mirrored = head.perfect_output(40, 100), head.perfect_output(SIZE[0] - 1 - 40, 100)
    merged = reader.merge_flipped(reader((), output), reader((), mirrored), [0])
    rounds = 2.1 if name == 'megvii heatmap' else 1.1 if 'heatmap' in name else 0.1
    assert (merged.coords - torch.tensor([40.0, 100.0])).abs().max() < rounds


@pytest.mark.parametrize('split_ratio', [1.0, 2.0, 3.0])
def test_a_flipped_output_is_moved_by_the_split_ratios_bins(split_ratio):
    head = Head(dict(GAUSSIAN, simcc_split_ratio=split_ratio))
    reader = build_reader(head)
    output, mirrored = head.perfect_output(40, 100), head.perfect_output(SIZE[0] - 1 - 40, 100)
    merged = reader.merge_flipped(reader((), output), reader((), mirrored), [0])
    assert (merged.coords - torch.tensor([40.0, 100.0])).abs().max() < 0.05


@pytest.mark.parametrize('codec', [DARK, UDP, MSRA, GAUSSIAN])
def test_peaks_in_the_codecs_own_pixels_are_its_decode(codec):
    head = Head(codec)
    output = head.perfect_output(180, 240)
    decoded = head.decoder.decode(
        *((output[0].numpy(),) if codec is not GAUSSIAN else [v.exp().numpy() for v in output])
    )
    reader = build_reader(head)
    assert np.allclose(reader.decoded(reader((), output).peaks).numpy(), decoded[0], atol=1e-3)


def test_refined_peaks_are_the_same_under_autocast():
    heatmaps = blurred_heatmaps(UDP)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        peaks = build_reader(Head(UDP))((), heatmaps).peaks
    assert torch.equal(peaks, build_reader(Head(UDP))((), heatmaps).peaks)


def test_a_rescaled_reader_answers_in_the_pixels_of_the_other_input():
    head = Head(GAUSSIAN)
    outputs = build_reader(head)((), head.perfect_output(95.5, 127.5))
    rescaled = replace(outputs, reader=RescaledView(outputs.reader, (384, 512)))
    for pose in (rescaled.coords, rescaled.peaks):
        assert (pose - torch.tensor([191.5, 255.5])).abs().max() < 1.1
    assert rescaled.input_size == (384, 512) and rescaled.confidence.item() == outputs.confidence.item()


def test_joints_are_selected_in_every_representation():
    x, y = torch.randn(2, 3, 384), torch.randn(2, 3, 512)
    outputs = build_reader(Head(GAUSSIAN))((), (x, y))
    assert torch.equal(outputs.select_joints(torch.tensor([2, 0])).coords, outputs.coords[:, [2, 0]])
    heatmaps = torch.rand(2, 3, 64, 48)
    outputs = build_reader(Head(MSRA))((), heatmaps)
    assert torch.equal(outputs.select_joints(torch.tensor([2, 0])).peaks, outputs.peaks[:, [2, 0]])


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_coords_stay_finite_and_in_the_image_for_extreme_logits(dtype):
    reader = build_reader(Head(STANDARD))
    x, y = torch.full((1, 2, 384), -3e4, dtype=dtype), torch.zeros(1, 2, 512, dtype=dtype)
    x[..., 7] = 3e4
    coords = reader((), (x, y)).coords
    assert coords.dtype == torch.float32
    assert torch.allclose(coords, torch.tensor([3.5, 511 / 4]), atol=1e-3)


def test_coords_pass_a_gradient_and_are_computed_once():
    logits = (torch.randn(2, 3, 384, requires_grad=True), torch.randn(2, 3, 512, requires_grad=True))
    outputs = build_reader(Head(GAUSSIAN))((), logits)
    assert outputs.coords is outputs.coords
    outputs.coords.sum().backward()
    assert all(t.grad.abs().sum() > 0 and t.grad.isfinite().all() for t in logits)


def test_scores_follow_the_two_official_rules():
    x, y = torch.tensor([[[0.2, 0.8]]]), torch.tensor([[[0.6, 0.4]]])
    assert simcc_scores(x, y, 'standard').item() == pytest.approx(0.8)
    assert simcc_scores(x, y, 'gaussian').item() == pytest.approx(0.6)


@pytest.mark.parametrize('name', CODECS)
def test_a_known_shift_costs_what_it_is(name):
    """Of (4, -8) pixels, which are whole pixels of the heatmaps too: 12 a keypoint."""
    head = Head(*CODECS[name])
    reader = build_reader(head)
    student, teacher = (reader((), head.perfect_output(x, y)) for x, y in ((62, 102), (66, 94)))
    assert pose_l1_loss(student.coords, teacher.coords).item() == pytest.approx(12, abs=0.1)
    assert pose_l1_loss(student.coords, student.coords).item() == 0


def test_a_combined_head_votes_with_a_gradient_all_over_its_disc():
    head = Head(COMBINED)
    maps = head.perfect_output(33, 101).requires_grad_()
    outputs = build_reader(head)((), maps)
    outputs.coords.sum().backward()
    disc = maps[:, 0] > 0
    assert all((maps.grad[:, axis] != 0)[disc].float().mean() > 0.8 for axis in (1, 2))
    noisy = maps.detach().clone()
    noisy[:, 1:] += torch.where(disc, 0.0, 5.0)  # what pixels outside of the disc say is not asked
    assert torch.allclose(build_reader(head)((), noisy).coords, outputs.coords, atol=0.3)


@pytest.mark.parametrize('codec', [MEGVII, COMBINED], ids=['megvii', 'combined'])
def test_scores_and_peaks_of_noisy_maps_are_the_codecs(codec):
    head = Head(codec)
    maps = torch.cat([head.perfect_output(x, y) for x, y in ((33, 101), (90, 20), (150, 200))])
    maps = maps + 0.1 * maps.abs().amax() * torch.rand(maps.shape)
    outputs = build_reader(head)((), maps)
    decoded = [head.decoder.decode(person.numpy()) for person in maps]
    peaks = outputs.reader.decoded(outputs.peaks).numpy()
    assert np.allclose(peaks, np.concatenate([pose for pose, _ in decoded]), atol=1e-2)
    assert np.allclose(outputs.scores.numpy(), np.concatenate([score for _, score in decoded]), atol=1e-4)


def test_a_head_that_tells_its_uncertainty_is_as_confident_as_its_codec_says():
    head = Head(REGRESSION)
    raw = torch.randn(2, 3, 4)
    outputs = build_reader(head)((), raw)
    coords, scores = head.decoder.decode(torch.cat([raw[..., :2], raw[..., 2:].sigmoid()], dim=-1).numpy())
    assert np.allclose(outputs.coords.numpy(), coords, atol=1e-4) and np.allclose(outputs.scores.numpy(), scores)


def test_maps_of_several_stages_and_pooled_ones_stand_in_one_row():
    outputs = build_reader(Head(REGRESSION))([[torch.rand(2, 8, 4, 3)], (torch.rand(2, 5),)], torch.rand(2, 3, 2))
    assert [tuple(feat.shape) for feat in outputs.feats] == [(2, 8, 4, 3), (2, 5, 1, 1)]


def test_a_head_without_a_reader_is_named():
    head = Head(GAUSSIAN)
    head.decoder = object()
    with pytest.raises(UserError, match='model.head.decoder: no reader knows the codec object of the head Head'):
        build_reader(head)
