"""Means, deviations, paired differences and bootstrap intervals of an ablation's rows."""

from typing import Any, Dict, List, Sequence

import numpy as np

from .resampled import Matches, average_precision

Records = Dict[int, dict]  # what PersonRecordMetric wrote for one set, by seed
JOINTS = {'': [0, 1, 2, 3], '_seen': [0, 1], '_hidden': [2, 3]}  # columns of "correct"
KINDS = ('AP', 'AP50', 'AP75', 'AR')


def draw(items: int, resamples: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Resamples×items: how often each item comes up in ``draws`` draws with replacement."""
    return rng.multinomial(draws, np.full(items, 1 / items), size=resamples)


def resampled(record: dict, counts: np.ndarray) -> Dict[str, np.ndarray]:
    """Every metric of one run on each resample of the images, in 0-100.

    Args:
        record: What :class:`PersonRecordMetric` wrote.
        counts: B×images.
    """
    values: Dict[str, np.ndarray] = {}
    for joints, content in record['matches'].items():
        matches, chunks = Matches.unpacked(content), np.array_split(counts, len(counts) // 100 + 1)
        parts = [average_precision(matches, chunk) for chunk in chunks]
        precision, recall = (np.concatenate(part) for part in zip(*parts))
        columns = (precision.mean(axis=1), precision[:, 0], precision[:, 5], recall.mean(axis=1))
        values.update({f'{kind}{joints}': 100 * column for kind, column in zip(KINDS, columns)})
    correct = counts @ np.array(record['correct'])
    for joints, places in JOINTS.items():
        right, all_joints = correct[:, places[::2]].sum(axis=1), correct[:, places[1::2]].sum(axis=1)
        values[f'PCK{joints}'] = 100 * right / np.where(all_joints, all_joints, np.nan)
    return values


class Comparison:
    """Compares the rows of an ablation on one set, with bootstrap intervals.

    All numbers are computed from what each run found in each image, not taken from its record's ``metrics``.

    The interval of a difference is the 2.5th to the 97.5th percentile of a bootstrap over images and seeds. Each
    resample draws with replacement: as many images as there are, and n - 1 of the n seeds, since drawing n would make
    the mean's variance too small by the factor (n - 1) / n (Rao and Wu, JASA 83, 1988). With one seed, only images are
    drawn. Every row gets the same draws, so that what is common to all rows does not count as noise.

    Args:
        rows: By row, its records by seed.
        resamples: How many resamples the bootstrap draws.
        seed: The seed of its draws.
        left_out: Indices of images that do not count, in the order of the set's image ids.
    """

    def __init__(
        self, rows: Dict[str, Records], resamples: int = 1000, seed: int = 0, left_out: Sequence[int] = ()
    ) -> None:
        self.resamples, self.seed = resamples, seed
        images = next(record['pictures'] for records in rows.values() for record in records.values())
        counted = np.setdiff1d(np.arange(images), np.array(left_out, int))
        counts = np.zeros((1 + resamples, images), int)  # the set itself, and its resamples
        counts[0, counted] = 1
        counts[1:, counted] = draw(len(counted), resamples, len(counted), np.random.default_rng(seed))
        self.values = {row: {s: resampled(record, counts) for s, record in by.items()} for row, by in rows.items()}

    def against(self, baseline: str, alone: Sequence[str] = ()) -> Dict[str, Dict[str, dict]]:
        """Every metric of every row, by row and metric.

        Args:
            baseline: The row to compare with.
            alone: Rows that are not compared, since their seeds are not the others'.

        Returns:
            ``mean`` and ``std`` (n - 1 in the denominator; None from one seed) over ``n`` seeds, and
            :meth:`difference` to ``baseline``, all in 0-100. A metric that a row was not measured in is left out.
        """
        table = {row: {name: self._entry(row, name) for name in self._metrics(row)} for row in self.values}
        for row in set(table) - set(alone):
            for name, entry in table[row].items():
                entry.update(self.difference(row, baseline, name))
        return table

    def difference(self, row: str, other: str, metric: str) -> Dict[str, float]:
        """The paired difference row - other in 0-100, as the mean over the seeds that both have.

        Returns:
            ``delta``, ``ci_low`` and ``ci_high``; an empty dict where they have no seed in common.
        """
        mine, others = self.values[row], self.values.get(other, {})
        common = sorted(set(mine) & set(others))
        if not common:
            return {}
        gains = np.stack([mine[s][metric] - others[s][metric] for s in common], axis=1)
        shares = _seed_shares(len(common), self.resamples, self.seed)
        low, high = np.nanpercentile((shares * gains[1:]).sum(axis=1), [2.5, 97.5])
        return dict(delta=_rounded(gains[0].mean()), ci_low=_rounded(low), ci_high=_rounded(high))

    def _metrics(self, row: str) -> List[str]:
        first = next(iter(self.values[row].values()))
        return [name for name, values in first.items() if np.isfinite(values[0])]

    def _entry(self, row: str, metric: str) -> Dict[str, Any]:
        values = np.array([by_metric[metric][0] for by_metric in self.values[row].values()])
        std = _rounded(values.std(ddof=1)) if len(values) > 1 else None
        return dict(mean=_rounded(values.mean()), std=std, n=len(values))


def _rounded(value: Any) -> float:
    return round(float(value), 3)


def _seed_shares(seeds: int, resamples: int, seed: int) -> np.ndarray:
    """Resamples×seeds: the weight of each seed in the mean of a resample; the same for every row of as many seeds."""
    if seeds < 2:
        return np.ones((resamples, seeds))
    return draw(seeds, resamples, seeds - 1, np.random.default_rng([seed, seeds])) / (seeds - 1)
