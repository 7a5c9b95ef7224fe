"""What one label's scores are worth at every threshold that they allow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.int64]
Real = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BestThreshold:
    """``score >= threshold`` gives the highest F1 that the label can have."""

    threshold: float
    precision: float
    recall: float
    f1: float


def average_precision(truth: Flags, scores: npt.NDArray[np.floating]) -> float:
    """Sum over the thresholds, highest first, of (R_n - R_n-1) x P_n; both (pictures,), of one label.

    Every distinct score is a threshold: pictures of the same score come together. There is no
    interpolation. 0 where the label is true of no picture.
    """
    if not truth.any():
        return 0.0
    steps = _Steps.of(truth, scores)
    gained = np.diff(steps.hits, prepend=0) / steps.positives
    return float(np.sum(gained * steps.hits / steps.named))


def best_threshold(truth: Flags, scores: npt.NDArray[np.floating]) -> BestThreshold | None:
    """Of all scores met the one with the highest F1 as the threshold, of equals the highest.

    None where the label is true of no picture.
    """
    if not truth.any():
        return None
    steps = _Steps.of(truth, scores)
    f1 = 2 * steps.hits / (steps.named + steps.positives)
    best = int(np.argmax(f1))  # the first of equals, and the thresholds descend
    return BestThreshold(
        threshold=float(steps.thresholds[best]),
        precision=float(steps.hits[best] / steps.named[best]),
        recall=float(steps.hits[best] / steps.positives),
        f1=float(f1[best]),
    )


@dataclass(frozen=True)
class _Steps:
    """The distinct scores, descending, (steps,): how many pictures reach each, and how many rightly."""

    thresholds: Real
    named: Whole
    hits: Whole
    positives: int

    @classmethod
    def of(cls, truth: Flags, scores: npt.NDArray[np.floating]) -> _Steps:
        order = np.argsort(-scores, kind="stable")
        descending = scores[order].astype(float)
        last_of_its_score = np.flatnonzero(np.diff(descending, append=-np.inf))
        hits = np.cumsum(truth[order], dtype=np.int64)[last_of_its_score]
        positives = int(np.count_nonzero(truth))
        return cls(descending[last_of_its_score], last_of_its_score + 1, hits, positives)
