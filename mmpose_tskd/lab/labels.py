import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple, Tuple

import numpy as np

from ..engine.atomic_backend import AtomicLocalBackend
from ..errors import UserError


class Labels(NamedTuple):
    """A labeled set in COCO format.

    Args:
        file: The annotations.
        images: The folder that their file names are in.
    """

    file: Path
    images: Path

    def read(self) -> dict:
        """The annotations.

        Raises:
            UserError: There are none.
        """
        if not self.file.is_file():
            raise UserError(
                f'there are no labels {self.file}; TSKD_DATA names the folder of the data sets, data/ where it is unset'
            )
        return json.loads(self.file.read_text())

    def digest(self) -> str:
        """12 hexadecimal digits of the SHA-256 of the annotations without their ``info``."""
        content = {key: value for key, value in self.read().items() if key != 'info'}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def into(self, dataset: Any) -> None:
        """Makes a dataset's config read this set, with the boxes of the labels, in place."""
        dataset.ann_file = str(self.file.absolute())
        dataset.data_prefix = dict(img=str(self.images.absolute()))
        dataset.pop('bbox_file', None)


def write_labels(content: dict, path: Path) -> None:
    """Writes annotations; the file is whole or not there."""
    AtomicLocalBackend().put_text(json.dumps(content), path)


def split_labels(labels: Labels, folder: Path, dev_images: int, seed: int = 0) -> Tuple[Labels, Labels]:
    """Sets images of a training set apart for decisions, drawn from the sorted image ids.

    Args:
        labels: The training set.
        folder: ``train.json`` and ``dev.json`` are written there; the images stay where they are.
        dev_images: How many images are set apart.
        seed: Of the draw.

    Returns:
        What remains to train on, and what was set apart.

    Raises:
        UserError: There are not as many images.
    """
    content = labels.read()
    ids = sorted(image['id'] for image in content['images'])
    if not 0 < dev_images < len(ids):
        raise UserError(f'{dev_images} images are to be drawn, but {labels.file} has {len(ids)} to draw from')
    dev = set(np.random.default_rng(seed).permutation(ids)[:dev_images].tolist())
    parts = []
    for name, wanted in (('train', False), ('dev', True)):
        part = dict(
            content,
            images=[image for image in content['images'] if (image['id'] in dev) is wanted],
            annotations=[person for person in content['annotations'] if (person['image_id'] in dev) is wanted],
        )
        write_labels(part, folder / f'{name}.json')
        parts.append(Labels(folder / f'{name}.json', labels.images))
    return parts[0], parts[1]
