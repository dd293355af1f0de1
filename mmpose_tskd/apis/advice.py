"""What a machine or an environment lacks, where a library's own message does not say what to do about it."""

import re
from importlib.util import find_spec
from typing import Optional

OF_PACKAGE = re.compile(r'(\w+)\.\w+ is not in the .* registry')
ADVICE = {
    '``AmpOptimizerWrapper`` is only available': (
        '--amp and AmpOptimWrapper need an accelerator: on a CPU leave them out, or train in bfloat16 by '
        '--cfg-options optim_wrapper.type=BF16OptimWrapper'
    ),
    'albumentations is not installed': (
        'the training pipeline has an Albumentation transform: pip install "mmpose_tskd[rtmpose]", or leave it out'
    ),
    'SyncBatchNorm expected input tensor to be on': (
        "SyncBN needs accelerators: on a CPU set type='BN' in every norm_cfg of the model, which has the same weights"
    ),
}


def environment_advice(error: Exception) -> Optional[str]:
    """What to do about an exception that is due to the machine or to a package that is not there; None for others."""
    message = str(error.args[0]) if error.args else ''
    found = OF_PACKAGE.search(message)
    if found is not None and find_spec(found[1]) is None:
        return f'{found[0]}: it is one of {found[1]}, which is not installed: mim install {found[1]}'
    return next((f'{message}: {advice}' for text, advice in ADVICE.items() if text in message), None)
