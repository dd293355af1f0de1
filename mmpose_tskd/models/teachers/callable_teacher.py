import hashlib
import inspect
from importlib import import_module
from pathlib import Path
from typing import Callable, Optional, Sequence

from mmpose.registry import MODELS
from torch import Tensor

from ...errors import UserError
from .foreign_teacher import ForeignTeacher, Output


@MODELS.register_module()
class CallableTeacher(ForeignTeacher):
    """A function of your own: crops to a pose.

    Args:
        function: ``'module:function'``; the module is found as by ``import``. It is called with N×3×H×W, fp32, on the
            student's device, and returns what :class:`ForeignTeacher` reads.
        input_size: (W, H) in pixels.
        kwargs: Of :class:`ForeignTeacher`.
    """

    def __init__(self, function: str, input_size: Sequence[int], **kwargs):
        super().__init__(input_size=input_size, **kwargs)
        self.name = function
        self.function: Optional[Callable[[Tensor], Output]] = None

    def open(self) -> None:
        """Imports the function.

        Raises:
            UserError: There is no such module or function.
        """
        module, _, name = self.name.partition(':')
        try:
            self.function = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(
                f'model.teacher.function={self.name!r} is not to be found as module:function: {error}'
            ) from error

    def run(self, inputs: Tensor) -> Output:
        """What the function returns."""
        assert self.function is not None
        return self.function(inputs)

    def digest(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of the file that defines the function."""
        file = inspect.getsourcefile(self.function)  # type: ignore[arg-type]
        return hashlib.sha256(Path(str(file)).read_bytes()).hexdigest()[:12]
