from pathlib import Path
from typing import Sequence

import cv2
import numpy as np

from ..errors import UserError


def write_image(path: Path, image: np.ndarray, options: Sequence[int] = ()) -> None:
    """:func:`cv2.imwrite`, which tells by a return value alone that a file cannot be written.

    Raises:
        UserError: It cannot.
    """
    if not cv2.imwrite(str(path), image, options):
        raise UserError(f'{path} cannot be written: check that folder, its permissions and the space on its disk')
