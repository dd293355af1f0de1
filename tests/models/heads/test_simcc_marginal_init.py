import pytest
import torch
from mmpose.registry import MODELS

CODEC = dict(type='SimCCLabel', input_size=(64, 96), sigma=4.0, normalize=True)


def make_head(**options):
    head = dict(
        type='OfficialSimCCHead',
        in_channels=2,
        out_channels=3,
        input_size=(64, 96),
        in_featuremap_size=(16, 24),
        deconv_out_channels=None,
        decoder=CODEC,
        **options,
    )
    return MODELS.build(head)


@pytest.mark.parametrize('row, column', [(0, 0), (5, 11), (23, 15)])
def test_a_peak_on_the_map_is_a_peak_at_its_cells_bins(row, column):
    """A cell is 4 pixels, so 8 bins; its center lies between the fourth and the fifth of them."""
    head = make_head(init_cfg=dict(type='SimCCMarginalInit', scale=1.0))
    head.init_weights()
    torch.nn.init.ones_(head.final_layer.weight)
    for layer in (head.mlp_head_x, head.mlp_head_y):
        torch.nn.init.zeros_(layer.bias)
    feats = torch.zeros(1, 2, 24, 16)
    feats[..., row, column] = 1
    x, y = head.forward((feats,))
    for logits, cell in ((x, column), (y, row)):
        assert ((logits.argmax(-1) - (8 * cell + 3.5)).abs() <= 0.5).all()


def test_it_is_set_when_a_model_is_initialized_and_changes_no_layer():
    stock, started = make_head(), make_head(init_cfg=dict(type='SimCCMarginalInit', scale=0.1, std=0.2))
    torch.manual_seed(0)
    started.init_weights()
    shapes = [{name: value.shape for name, value in head.state_dict().items()} for head in (stock, started)]
    assert shapes[0] == shapes[1]
    assert started.mlp_head_x.weight.max().item() == pytest.approx(0.1, rel=0.01)
    assert 0.05 < started.final_layer.weight.std() < 0.5 and (started.final_layer.bias == 0).all()
    assert all(parameter.requires_grad for parameter in started.parameters())
