"""Means, deviations, paired differences and bootstrap intervals of an ablation's rows."""

from typing import Dict

import numpy as np

from ...evaluation.resampled import Matches, average_precision

Records = Dict[int, dict]  # what PersonRecordMetric wrote for one set, by seed
JOINTS = {'': [0, 1, 2, 3], '_seen': [0, 1], '_hidden': [2, 3]}  # columns of "correct"
KINDS = ('AP', 'AP50', 'AP75', 'AR')


def draw(items: int, resamples: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Resamples×items: how often each item comes up in ``draws`` draws with replacement."""
    return rng.multinomial(draws, np.full(items, 1 / items), size=resamples)


def resampled(record: dict, counts: np.ndarray) -> Dict[str, np.ndarray]:
    """Every metric of one run on each resample of the pictures, in 0-100.

    Args:
        record: What :class:`PersonRecordMetric` wrote.
        counts: B×pictures.
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


def compare(
    rows: Dict[str, Records], baseline: str, resamples: int = 1000, seed: int = 0
) -> Dict[str, Dict[str, dict]]:
    """The statistics of every row and metric on one set.

    The interval is that of the difference to the baseline, the 2.5th to the 97.5th percentile of a bootstrap over
    pictures and seeds: each resample draws as many pictures as there are, and one seed less than there are, with
    replacement (drawing all n would make the mean's variance too small by (n - 1) / n: Rao and Wu, JASA 83, 1988; from
    one seed, it is of the pictures alone). Every row gets the same draws, so what pictures and seeds have in common is
    not counted as noise.

    Args:
        rows: Records by seed, of each row.
        baseline: The row to compare with, over the seeds that both have.
        resamples: Of the bootstrap.
        seed: Of its draws.

    Returns:
        By row and metric: ``mean`` and ``std`` (n - 1 in the denominator; None from one seed) over ``n`` seeds,
        ``delta``, ``ci_low`` and ``ci_high``, all in 0-100. A metric that a row was not measured in is left out.
    """
    rng = np.random.default_rng(seed)
    pictures = next(record['pictures'] for records in rows.values() for record in records.values())
    counts = draw(pictures, resamples, pictures, rng)
    drawn = {row: {s: resampled(record, counts) for s, record in records.items()} for row, records in rows.items()}
    out: Dict[str, Dict[str, dict]] = {}
    for row, records in rows.items():
        common = sorted(set(records) & set(rows.get(baseline, {})))
        shares = _seed_shares(len(common), resamples, seed)
        metrics = [name for name, value in next(iter(records.values()))['metrics'].items() if value is not None]
        out[row] = {}
        for name in metrics:
            values = np.array([record['metrics'][name] for record in records.values()])
            entry = dict(mean=values.mean(), std=values.std(ddof=1) if len(values) > 1 else None, n=len(values))
            if common:
                gains = [records[s]['metrics'][name] - rows[baseline][s]['metrics'][name] for s in common]
                resampled_gains = [drawn[row][s][name] - drawn[baseline][s][name] for s in common]
                low, high = np.nanpercentile((shares * np.stack(resampled_gains, axis=1)).sum(axis=1), [2.5, 97.5])
                entry.update(delta=np.mean(gains), ci_low=low, ci_high=high)
            out[row][name] = {k: v if v is None or k == 'n' else round(float(v), 3) for k, v in entry.items()}
    return out


def _seed_shares(seeds: int, resamples: int, seed: int) -> np.ndarray:
    """Resamples×seeds: the weight of each seed in the mean of a resample; the same for every row of as many seeds."""
    if seeds < 2:
        return np.ones((resamples, seeds))
    return draw(seeds, resamples, seeds - 1, np.random.default_rng([seed, seeds])) / (seeds - 1)
