"""COCO's average precision for resampled images, without matching detections and instances again."""

from typing import List, NamedTuple, Tuple

import numpy as np
from xtcocotools.cocoeval import COCOeval

THRESHOLDS = 10  # OKS 0.50, 0.55 ... 0.95
RECALLS = np.linspace(0, 1, 101)


class Matches(NamedTuple):
    """Which of D detections found an instance, the most confident detection first.

    Args:
        images: D, the row of each detection's image among the sorted image ids.
        found: D×10, bool: matched to an instance, by OKS threshold.
        ignored: D×10, bool: matched to an instance that does not count.
        positives: How many instances there are to find, by image.
    """

    images: np.ndarray
    found: np.ndarray
    ignored: np.ndarray
    positives: np.ndarray

    @classmethod
    def of(cls, evaluation: COCOeval) -> 'Matches':
        """From a COCO evaluation of one category and area range after ``evaluate()``."""
        rows, scores, found, ignored = [], [], [], []
        positives = np.zeros(len(evaluation.params.imgIds), int)
        for row, image in enumerate(evaluation.evalImgs):
            if image is None:
                continue
            positives[row] = np.sum(np.asarray(image['gtIgnore']) == 0)
            rows += [row] * len(image['dtScores'])
            scores += image['dtScores']
            ignored.append(np.asarray(image['dtIgnore'], bool).T)
            found.append((np.asarray(image['dtMatches']) >= 0).T & ~ignored[-1])
        order = np.argsort(-np.array(scores), kind='mergesort')
        none = np.zeros((0, THRESHOLDS), bool)
        return cls(
            np.array(rows, int)[order], np.concatenate([none, *found])[order], np.concatenate([none, *ignored])[order],
            positives,
        )  # fmt: skip

    def packed(self) -> dict:
        """The matches for JSON: the thresholds of a detection become the bits of one number."""
        bits = 1 << np.arange(THRESHOLDS)
        return dict(
            pictures=self.images.tolist(),
            found=(self.found @ bits).tolist(),
            ignored=(self.ignored @ bits).tolist(),
            positives=self.positives.tolist(),
        )

    @classmethod
    def unpacked(cls, content: dict) -> 'Matches':
        """The inverse of :meth:`packed`."""
        bits = np.arange(THRESHOLDS)
        found, ignored = (np.array(content[key], int)[:, None] >> bits & 1 == 1 for key in ('found', 'ignored'))
        return cls(np.array(content['pictures'], int), found, ignored, np.array(content['positives'], int))


def average_precision(matches: Matches, counts: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """AP and recall of B resamples at once, as the COCO evaluation defines them.

    Args:
        matches: Of the set.
        counts: B×images, how often each image is drawn; ones are the set itself.

    Returns:
        AP (mean precision at 101 recalls) and recall, B×10 each, in [0, 1]; NaN without an instance to find.
    """
    people = (counts @ matches.positives).astype(float)
    people[people == 0] = np.nan
    weights = counts[:, matches.images].astype(float)
    precisions: List[np.ndarray] = []
    recalls: List[np.ndarray] = []
    for t in range(THRESHOLDS):
        right = np.cumsum(weights * matches.found[:, t], axis=1)
        drawn = np.cumsum(weights * ~matches.ignored[:, t], axis=1)
        precision = right / np.maximum(drawn, 1)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = right / people[:, None]
        # each detection answers for the recalls that are reached with it
        reached = np.searchsorted(RECALLS, recall, side='right')
        new = np.diff(reached, axis=1, prepend=0)
        precisions.append((new * envelope).sum(axis=1) / len(RECALLS))
        recalls.append(recall[:, -1] if recall.shape[1] else np.zeros(len(counts)))
    unmeasured = np.where(np.isnan(people), np.nan, 1.0)[:, None]
    return np.stack(precisions, axis=1) * unmeasured, np.stack(recalls, axis=1) * unmeasured
