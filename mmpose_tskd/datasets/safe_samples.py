"""Draws and reads the samples of a run: alike in every run with the same seed, with damaged ones reported."""

import os
import random
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple, Union

import cv2
import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import get_dist_info
from mmpose.datasets import CombinedDataset
from PIL import Image
from torch.utils.data import Dataset, Sampler

from ..errors import UserError

WHAT_TO_DO = (
    "Get it again, or take it out of the labels; the data set's data_root and data_prefix say where images are. "
    "To train without damaged samples, set damaged='skip' in SafeSamplesHook (custom_hooks); validation needs them all"
)


class Draw(int):
    """The index of a sample, with the seed of its augmentation."""

    seed: Tuple[int, ...]


class SeededSampler(Sampler):
    """Gives each index that another sampler draws a seed of its own.

    The seed is made of the run's seed, the epoch and the place in the epoch's order over all processes, so it does not
    depend on the number of worker processes or GPUs, nor on what was drawn before.

    Args:
        sampler: The other sampler; without an ``epoch``, its epoch counts as 0.
        seed: The run's.
        start: How many of this process's samples to skip in the first epoch, since a stopped run has trained on them.
    """

    def __init__(self, sampler: Sampler, seed: int, start: int = 0):
        self.sampler = sampler
        self.seed = seed
        self.start = start

    def __iter__(self) -> Iterator[Draw]:
        rank, world_size = get_dist_info()
        epoch = getattr(self.sampler, 'epoch', 0)
        start, self.start = self.start, 0
        for place, index in enumerate(self.sampler):
            if place >= start:
                draw = Draw(index)
                draw.seed = (self.seed, epoch, place * world_size + rank)
                yield draw

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Damage:
    """A sample that cannot be used."""

    file: str
    reason: str


class SafeSamples(Dataset):
    """Wraps a data set: each sample is read with its own seed, and a damaged one is reported as :class:`Damage`.

    To :func:`isinstance` and by its attributes it is the wrapped data set, as samplers and hooks expect. Indices may be
    :class:`Draw`. A batch with a damaged sample is ``[Damage]``. With ``skip``, another sample takes its place, and the
    metainfo ``damage`` of that sample's ``data_samples`` holds the :class:`Damage`.

    Args:
        dataset: An MMEngine data set.
        skip: Draw another sample in place of a damaged one, up to 100 times.
    """

    max_tries = 100

    def __init__(self, dataset: BaseDataset, skip: bool = False):
        self.dataset = dataset
        self.skip = skip

    @property  # type: ignore[misc]
    def __class__(self):
        return type(self.dataset)

    def __reduce__(self) -> tuple:
        return SafeSamples, (self.dataset, self.skip)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)

    @property
    def pipeline(self) -> Callable[[dict], Any]:
        """The data set's own, which hooks such as ``PipelineSwitchHook`` replace."""
        return self.dataset.pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Callable[[dict], Any]) -> None:
        self.dataset.pipeline = pipeline

    def __deepcopy__(self, memo: dict) -> 'SafeSamples':
        return self  # MMEngine copies a data loader's config, and the labels are large

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        return self.dataset[index]

    def __getitems__(self, indices: Sequence[int]) -> Union[List[dict], List[Damage]]:
        samples: List[dict] = []
        for index in indices:
            with _seeded(getattr(index, 'seed', None)):
                sample = self._read(int(index))
            if isinstance(sample, Damage):
                return [sample]
            samples.append(sample)
        return samples

    def _read(self, index: int) -> Union[dict, Damage]:
        first = self._try(index)
        if not self.skip or not isinstance(first, Damage):
            return first
        for _ in range(self.max_tries):
            sample = self._try(np.random.randint(len(self)))
            if not isinstance(sample, Damage):
                sample['data_samples'].set_metainfo(dict(damage=first))
                return sample
        return replace(first, reason=f'{first.reason}; so are {self.max_tries} others drawn in its place')

    def _try(self, index: int) -> Union[dict, Damage]:
        file = f'sample {index}'
        try:
            if not isinstance(self.dataset, CombinedDataset):  # which would load the image to say its path
                file = str(self.dataset.get_data_info(index).get('img_path', file))
            check_whole(file)
            return self.dataset[index]
        except Exception as error:  # whatever a transform says of an image or a label
            return Damage(file, f'{type(error).__name__}: {error}'.strip())


def check_images(dataset: BaseDataset) -> None:
    """Checks that the images of a data set exist, a folder at a time; no image is opened.

    Args:
        dataset: A data set of MMPose that has read its labels, or a wrapper of such data sets.

    Raises:
        UserError: Some images are missing, or are not files.
    """
    there: Dict[str, Set[str]] = {}
    missing: Dict[str, None] = {}
    for path in _image_paths(dataset):
        folder, name = os.path.split(path)
        if folder not in there and '://' not in folder:
            there[folder] = _files_in(folder)
        if name not in there.get(folder, {name}):
            missing[path] = None
    if missing:
        more = f', and so are {len(missing) - 1:,} more' if len(missing) > 1 else ''
        raise UserError(f'{next(iter(missing))} cannot be used (it is missing, or no file{more}). {WHAT_TO_DO}')


def _image_paths(dataset: Any) -> Iterator[str]:
    parts = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    if parts != [None]:
        for part in parts:
            yield from _image_paths(part)
        return
    for index in range(len(dataset)):
        path = BaseDataset.get_data_info(dataset, index).get('img_path')
        if isinstance(path, str):  # else of a data set that has no images
            yield path


def _files_in(folder: str) -> Set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()


def check_whole(file: str) -> None:
    """Checks that an image's file is not cut off: OpenCV would fill the rest of such an image with gray.

    A missing file passes.

    Raises:
        OSError: The file is cut off, or it is a pipe or a folder.
    """
    if not os.path.isfile(file):
        if os.path.exists(file):
            raise OSError('it is no regular file')
        return
    with open(file, 'rb') as stream:
        head = stream.read(4)
        stream.seek(0, os.SEEK_END)
        stream.seek(max(stream.tell() - 12, 0))
        tail = stream.read()
    has_end = (head[:2] != b'\xff\xd8' or tail.endswith(b'\xff\xd9')) and (head != b'\x89PNG' or b'IEND' in tail)
    if not has_end:  # a JPEG or PNG; some are whole all the same, with something behind the end
        with Image.open(file) as image:
            image.load()


def read_image(file: str, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """An image as :func:`cv2.imread` gives it, BGR.

    Raises:
        UserError: It is missing, cut off, or no image.
    """
    try:
        check_whole(file)
        image = cv2.imread(file, flags)
    except Exception as error:  # OpenCV's and Pillow's readers raise all kinds
        raise UserError(f'the image {file} cannot be read ({error}): get it again, or take it out') from error
    if image is None:
        raise UserError(f'the image {file} is missing or damaged: get it again, or take it out')
    return image


@contextmanager
def _seeded(seed: Optional[Tuple[int, ...]]) -> Iterator[None]:
    """Seeds Python, NumPy and torch inside the block, and restores their states after it."""
    if seed is None:
        yield
        return
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed_cpu(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def seed_cpu(seed: Tuple[int, ...]) -> int:
    """Seeds Python, NumPy and torch on the CPU, and returns the number that they were seeded with.

    ``torch.manual_seed`` is not used: it seeds GPUs, too, and records the call stack for that, which would take a
    millisecond for each sample.
    """
    word = int(np.random.SeedSequence(seed).generate_state(1)[0])
    random.seed(word)
    np.random.seed(word)
    torch.default_generator.manual_seed(word)
    return word


def check_damage(batch: Union[dict, List[Damage]]) -> List[Damage]:
    """The damaged samples in a batch of :class:`SafeSamples` for which other samples were taken.

    Raises:
        UserError: No other sample was taken for a damaged one.
    """
    if isinstance(batch, list):
        raise UserError(f'{batch[0].file} cannot be used ({batch[0].reason}). {WHAT_TO_DO}')
    return [sample.damage for sample in batch['data_samples'] if hasattr(sample, 'damage')]
