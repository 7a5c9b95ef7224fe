"""Whether a score of 0.9 is right nine times in ten."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]

BINS = 10
"""Of equal width; with a few thousand pictures more of them would be mostly noise."""

_ROUNDING = 1e-6
"""How far a softmax in 32 bits may leave 0..1."""

_EDGES = np.linspace(0, 1, BINS + 1)


@dataclass(frozen=True)
class Bin:
    """The answers whose confidence is above ``low`` and at most ``high`` (the first holds 0, too): how many,
    their mean confidence, and the share of them that is right; both None where there is none.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """``error`` is the expected calibration error: the mean over all answers of the distance between their
    bin's mean confidence and its share of right ones.
    """

    error: float
    bins: tuple[Bin, ...]


def calibration(confidence: npt.NDArray[np.floating], right: Flags) -> Calibration | None:
    """Of answers, (answers,) both; None where there is none, or where the scores are no probabilities."""
    if confidence.size == 0 or confidence.min() < -_ROUNDING or confidence.max() > 1 + _ROUNDING:
        return None
    confidence = confidence.astype(float).clip(0, 1)
    places = np.digitize(confidence, _EDGES[1:-1], right=True)
    counts = np.bincount(places, minlength=BINS)
    sums = np.bincount(places, confidence, BINS)
    hits = np.bincount(places, right, BINS)
    bins = tuple(
        Bin(
            float(_EDGES[number]),
            float(_EDGES[number + 1]),
            int(counts[number]),
            float(sums[number] / counts[number]) if counts[number] else None,
            float(hits[number] / counts[number]) if counts[number] else None,
        )
        for number in range(BINS)
    )
    return Calibration(float(np.abs(sums - hits).sum() / confidence.size), bins)


def brier_score(truth: Flags, scores: npt.NDArray[np.floating]) -> float:
    """The mean squared distance between score and truth (1 or 0), over all pictures and labels."""
    return float(np.mean(np.square(scores.astype(float) - truth)))
