"""What was answered rightly and wrongly, label by label, and the rates that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.int64]
Real = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """Per label, (labels,) each: named and true, named but not true, true but not named."""

    true_positives: Whole
    false_positives: Whole
    false_negatives: Whole

    @classmethod
    def of(cls, truth: Flags, answered: Flags) -> Counts:
        """Of two (pictures, labels)."""
        return cls(
            np.count_nonzero(truth & answered, axis=0).astype(np.int64),
            np.count_nonzero(~truth & answered, axis=0).astype(np.int64),
            np.count_nonzero(truth & ~answered, axis=0).astype(np.int64),
        )

    @property
    def support(self) -> Whole:
        """In how many pictures each label is true."""
        return self.true_positives + self.false_negatives

    @property
    def answered(self) -> Whole:
        """In how many pictures each label was named."""
        return self.true_positives + self.false_positives

    def total(self) -> Counts:
        """Of all labels together, (1,) each."""
        return Counts(*(np.array([part.sum()]) for part in vars(self).values()))


@dataclass(frozen=True)
class Rates:
    """Precision tp / (tp + fp), recall tp / (tp + fn) and F1 2tp / (2tp + fp + fn), (labels,) each."""

    precision: Real
    recall: Real
    f1: Real


def rates(counts: Counts) -> Rates:
    """Label by label."""
    hits = counts.true_positives
    return Rates(
        _ratio(hits, counts.answered),
        _ratio(hits, counts.support),
        _ratio(2 * hits, counts.answered + counts.support),
    )


def average(counts: Counts, kind: Literal["macro", "micro", "weighted"]) -> tuple[float, float, float]:
    """Precision, recall and F1 of all labels together.

    ``macro``: the mean over the labels that some picture has; ``weighted``: the same, each weighing as much
    as it has pictures; ``micro``: the rates of all labels' counts together. 0 where no picture has a label.
    """
    if kind == "micro":
        each, weights = rates(counts.total()), np.ones(1)
    else:
        each = rates(counts)
        weights = counts.support.astype(float) if kind == "weighted" else (counts.support > 0).astype(float)
    if not weights.any():
        return 0.0, 0.0, 0.0
    precision, recall, f1 = (
        float(np.average(values, weights=weights)) for values in (each.precision, each.recall, each.f1)
    )
    return precision, recall, f1


def confusion_matrix(truth: Whole, answers: Whole, labels: int) -> Whole:
    """(labels, labels + 1): row i counts the pictures of label i by the label answered, none in the last.

    ``truth`` and ``answers`` are one label per picture, (pictures,); -1 answers none.
    """
    columns = np.where(answers < 0, labels, answers)
    cells = np.bincount(truth * (labels + 1) + columns, minlength=labels * (labels + 1))
    return cells.reshape(labels, labels + 1).astype(np.int64)


def _ratio(part: Whole, whole: Whole) -> Real:
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)
