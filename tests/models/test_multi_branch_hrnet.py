import pytest
import torch
from conftest import shrink_model
from mmengine.config import ConfigDict
from mmpose.registry import MODELS


@pytest.fixture(params=[1, 2], ids=['one module', 'two modules'])
def pair(request):
    """A stock HRNet and ours with the same weights."""
    cfg = ConfigDict(type='HRNet')
    shrink_model(cfg, 8)
    cfg.extra.stage4.num_modules = cfg.extra.stage3.num_modules = request.param
    stock = MODELS.build(cfg)
    ours = MODELS.build(dict(cfg, type='MultiBranchHRNet', branches=(2, 0)))
    ours.load_state_dict(stock.state_dict(), strict=True)
    return stock, ours


@pytest.mark.parametrize('training', [True, False])
def test_last_map_is_the_stock_output_to_the_bit(pair, training):
    stock, ours = pair
    inputs = torch.randn(2, 3, 96, 64)
    for model in pair:
        model.train(training)
    assert torch.equal(stock(inputs)[-1], ours(inputs)[-1])


def test_branches_come_before_the_fusion_in_the_order_asked_for(pair):
    stock, ours = (model.eval() or model for model in pair)
    seen = {}
    for b, branch in enumerate(stock.stage4[-1].branches):
        branch.register_forward_hook(lambda module, args, out, b=b: seen.__setitem__(b, out))
    inputs = torch.randn(1, 3, 96, 64)
    stock(inputs)
    coarse, fine, fused = ours(inputs)
    assert torch.equal(coarse, seen[2])
    assert torch.equal(fine, seen[0])
    assert fused.shape == (1, 8, 24, 16)
