import pytest
import torch
from conftest import REPO, shrink_model
from mmengine.config import Config
from mmpose.registry import MODELS

from mmpose_tskd.apis.convert import convert_simcc_checkpoint
from mmpose_tskd.errors import UserError


@pytest.fixture
def configs(tmp_path):
    """The two baselines at toy size, as files."""
    paths = []
    for name, width in (('w32', 8), ('w48', 12)):
        cfg = Config.fromfile(REPO / f'configs/simcc/coco/simcc_hrnet-{name}_4xb32-210e_coco-256x192.py')
        shrink_model(cfg._cfg_dict, width)
        paths.append(str(tmp_path / f'{name}.py'))
        cfg.dump(paths[-1])
    return paths


def official_weights(config):
    """A model's weights by the names that the official code gives them, and the model."""
    model = MODELS.build(Config.fromfile(config).model)
    names = {name: name.split('.', 1)[1] for name in model.state_dict()}
    return {names[name]: value for name, value in model.state_dict().items()}, model.eval()


@pytest.mark.parametrize('layout', ['model_best', 'checkpoint'])
def test_a_converted_checkpoint_gives_the_same_outputs(configs, tmp_path, layout):
    weights, model = official_weights(configs[1])
    behind_ddp = {f'module.{name}': value for name, value in weights.items()}
    content = weights if layout == 'model_best' else dict(epoch=3, state_dict=behind_ddp, perf=0.5)
    torch.save(content, tmp_path / 'official.pth')
    out = tmp_path / 'new folder' / 'mmpose.pth'
    assert convert_simcc_checkpoint(str(tmp_path / 'official.pth'), str(out), configs) == configs[1]
    checkpoint = torch.load(out, weights_only=True)
    converted = MODELS.build(Config.fromfile(configs[1]).model)
    converted.load_state_dict(checkpoint['state_dict'], strict=True)
    inputs = torch.randn(1, 3, 96, 64)
    for a, b in zip(model._forward(inputs), (converted.eval() or converted)._forward(inputs)):
        assert torch.equal(a, b)


def test_a_checkpoint_that_fits_no_config_says_what_does_not_fit(configs, tmp_path):
    weights, _ = official_weights(configs[0])
    del weights['final_layer.bias']
    torch.save(weights, tmp_path / 'official.pth')
    with pytest.raises(UserError, match='1 missing: head.final_layer.bias'):
        convert_simcc_checkpoint(str(tmp_path / 'official.pth'), str(tmp_path / 'out.pth'), configs)
    assert not (tmp_path / 'out.pth').exists()


def test_an_existing_file_is_not_overwritten(configs, tmp_path):
    (tmp_path / 'out.pth').write_text('precious')
    with pytest.raises(UserError, match='out.pth exists'):
        convert_simcc_checkpoint('official.pth', str(tmp_path / 'out.pth'), configs)
    assert (tmp_path / 'out.pth').read_text() == 'precious'


class Payload:
    """Pickled code: loading it as Python objects would run it."""

    def __reduce__(self):
        return (print, ('PICKLED CODE HAS RUN',))


@pytest.fixture(scope='module')
def full_size():
    return official_weights(str(REPO / 'configs/simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py'))


def test_a_full_size_checkpoint_finds_its_config_by_its_shapes(full_size, tmp_path):
    weights, model = full_size
    assert len(weights) == 1758
    torch.save(dict(epoch=210, best_state_dict=weights, optimizer={}), tmp_path / 'checkpoint.pth')
    config = convert_simcc_checkpoint(str(tmp_path / 'checkpoint.pth'), str(tmp_path / 'out.pth'))
    assert config.endswith('simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py')
    converted = MODELS.build(Config.fromfile(config).model)
    converted.load_state_dict(torch.load(tmp_path / 'out.pth', weights_only=True)['state_dict'], strict=True)
    converted.eval()
    inputs = torch.randn(1, 3, 256, 192)
    with torch.no_grad():
        for ours, theirs in zip(converted._forward(inputs), model._forward(inputs)):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    'fault, message',
    [
        ('truncated', 'cannot be read .*get it again'),
        ('foreign', 'fits none of the configs tried:(.|\n)*left over: backbone.fc.weight'),
        ('code', 'is not loaded: it holds more than tensors'),
        ('w48 as w32', r'does not fit w32.py; .*of another shape: .*in the file.*in the model'),
        ('text', 'cannot be read|is not loaded'),
    ],
)
def test_what_is_no_checkpoint_of_these_networks_is_refused_by_name(configs, tmp_path, capfd, fault, message):
    source, candidates = tmp_path / 'official.pth', configs
    weights, _ = official_weights(configs[0])
    torch.save(weights, source)
    if fault == 'truncated':
        source.write_bytes(source.read_bytes()[:-1000])
    elif fault == 'foreign':
        torch.save({'fc.weight': torch.zeros(3)}, source)
    elif fault == 'code':
        torch.save(dict(state_dict=weights, args=Payload()), source)
    elif fault == 'w48 as w32':
        torch.save(official_weights(configs[1])[0], source)
        candidates = configs[:1]
    else:
        source.write_text('<html>404</html>')
    with pytest.raises(UserError, match=message):
        convert_simcc_checkpoint(str(source), str(tmp_path / 'out.pth'), candidates)
    assert 'PICKLED CODE HAS RUN' not in capfd.readouterr().out
    assert not (tmp_path / 'out.pth').exists()
