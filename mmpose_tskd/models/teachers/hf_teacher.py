from pathlib import Path
from typing import Any, Optional

from mmpose.registry import MODELS
from torch import Tensor

from ...checkpoints import weights_digest
from ...errors import UserError
from .foreign_teacher import ForeignTeacher, import_optional


@MODELS.register_module()
class HFTeacher(ForeignTeacher):
    """A ViTPose or ViTPose++ of Hugging Face's transformers (``pip install mmpose_tskd[hf]``).

    Args:
        model: A model of the hub, such as ``'usyd-community/vitpose-plus-base'``, or a local folder. Its weights are
            read from safetensors alone, and no code of its own runs.
        dataset_index: Of ViTPose++: which of its experts answers, 0 for COCO's.
        kwargs: Of :class:`ForeignTeacher`.

    Raises:
        UserError: transformers is not installed.
    """

    model: Any  # of transformers

    def __init__(self, model: str, dataset_index: Optional[int] = None, **kwargs):
        super().__init__(**kwargs)
        self.name = model
        self.dataset_index = dataset_index
        self.transformers = import_optional('transformers', 'hf')

    def open(self) -> None:
        """Loads the model.

        Raises:
            UserError: There is no such model, it is no ViTPose, or it has experts and ``dataset_index`` is not set.
        """
        kind = self.transformers.VitPoseForPoseEstimation
        try:
            self.model, report = kind.from_pretrained(self.name, use_safetensors=True, output_loading_info=True)
        except (OSError, ValueError) as error:
            raise UserError(f'{self.name} cannot be loaded: {error}') from error
        if report['missing_keys'] or report['mismatched_keys']:
            raise UserError(f'{self.name} is no ViTPose of transformers: it lacks {sorted(report["missing_keys"])[:3]}')
        self.model.eval().requires_grad_(False)
        backbone = self.model.config.backbone_config
        if backbone.num_experts > 1 and self.dataset_index is None:
            raise UserError(
                f'{self.name} has {backbone.num_experts} experts: say which data set it is to answer for by '
                'model.teacher.dataset_index (0 is COCO)'
            )
        height, width = backbone.image_size
        self.input_size = (width, height)

    def run(self, inputs: Tensor) -> Tensor:
        """N×K×h×w, heatmaps."""
        index = None if self.dataset_index is None else inputs.new_full((len(inputs),), self.dataset_index).long()
        return self.model(inputs, dataset_index=index).heatmaps

    def digest(self) -> str:
        """See :func:`weights_digest`."""
        return weights_digest(self.model.state_dict())

    @property
    def license(self) -> str:
        """The license on the model card, or ``'not stated'``."""
        from huggingface_hub import ModelCard

        card = Path(self.name, 'README.md')
        try:
            return str(ModelCard.load(str(card) if Path(self.name).is_dir() else self.name).data.license)
        except (OSError, ValueError):  # no card, or none at hand
            return 'not stated'
