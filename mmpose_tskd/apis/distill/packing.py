"""The command that packs what a training has left."""

from .configs import DEPLOYED, Settings
from .steps import Step


def pack_step(settings: Settings, run: str) -> Step:
    """Packs and exports the model of a training, with its AP.

    Args:
        settings: What holds for every run.
        run: The training's name.
    """
    deploy = settings.deploy(run)
    form = 'rtmlib' if settings.data.dataset_type == 'CocoDataset' and settings.data.metainfo is None else 'coords'
    arguments = [str(settings.run(run)), '--config', str(settings.config(DEPLOYED[run])), '--out', str(deploy)]
    arguments += ['--results', str(settings.out / 'tests' / f'{run}.json'), '--formats', form]
    return Step('export', 'pack', arguments, deploy / 'README.md', [f'test_{run}'])
