"""From truths and scores to the figures of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge_agent.workbench.metrics import (
    BestThreshold,
    Calibration,
    Counts,
    average,
    average_precision,
    best_threshold,
    brier_score,
    calibration,
    confusion_matrix,
    rates,
)

Flags = npt.NDArray[np.bool_]
Method = Literal["multiclass", "multilabel"]

MULTILABEL_THRESHOLD = 0.5
"""Of a label that may be true beside others, where nobody says otherwise."""


@dataclass(frozen=True)
class Averages:
    """Of all labels together."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class LabelScore:
    """One label's figures; it is true of ``support`` images and was answered ``answered`` times.

    ``average_precision`` and ``best_threshold`` are None where the label is true of no image.
    """

    label: str
    support: int
    answered: int
    precision: float
    recall: float
    f1: float
    average_precision: float | None
    best_threshold: BestThreshold | None


@dataclass(frozen=True)
class Scorecard:
    """How right a model is. ``failed`` are all images whose answer is not the truth; of these ``nothing`` are
    the ones for which no label reached the ``threshold``.

    ``labels`` are all of the model's; ``confusion`` is (labels, labels + 1), the last column nothing, and
    None for several labels per image; ``calibration`` and ``brier`` are None for scores outside 0..1.
    """

    threshold: float
    correct: int
    failed: int
    nothing: int
    accuracy: float
    macro: Averages
    micro: Averages
    weighted: Averages
    average_precision: float
    calibration: Calibration | None
    brier: float | None
    labels: tuple[LabelScore, ...]
    confusion: npt.NDArray[np.int64] | None

    @property
    def met(self) -> tuple[int, ...]:
        """The places of the labels that some image has or that were answered: those worth showing."""
        return tuple(place for place, each in enumerate(self.labels) if each.support or each.answered)

    def met_confusion(self) -> tuple[list[str], list[list[int]]]:
        """The part of the matrix that may hold something: the labels met, and a row for each of them."""
        names = [self.labels[place].label for place in self.met]
        if self.confusion is None:
            return names, []
        return names, self.confusion[np.ix_(self.met, [*self.met, len(self.labels)])].tolist()


def threshold_for(method: Method, asked: float | None) -> float:
    """What a label must score to be answered: as asked, else 0, or 0.5 where several may be true."""
    if asked is not None:
        return asked
    return MULTILABEL_THRESHOLD if method == "multilabel" else 0.0


def answered_labels(scores: npt.NDArray[np.float32], method: Method, threshold: float) -> Flags:
    """Which labels a model with these scores (images, labels) names, as the agent does: of several of the
    best score the first, and nothing below the threshold.
    """
    reached: Flags = scores.astype(float) >= threshold
    if method == "multilabel":
        return reached
    best = np.zeros(scores.shape, np.bool_)
    best[np.arange(len(scores)), scores.argmax(axis=1)] = True
    return best & reached


def score(
    labels: tuple[str, ...],
    truth: Flags,
    scores: npt.NDArray[np.float32],
    method: Method,
    threshold: float,
) -> Scorecard:
    """The figures of at least one image: ``truth`` and ``scores`` are (images, labels)."""
    answered = answered_labels(scores, method, threshold)
    right = (truth == answered).all(axis=1)
    counts = Counts.of(truth, answered)
    each = _labels(labels, truth, scores, counts)
    precisions = [one.average_precision for one in each if one.average_precision is not None]
    confidence, confirmed = _confidence(truth, scores, method)
    calibrated = calibration(confidence, confirmed)
    return Scorecard(
        threshold=threshold,
        correct=int(right.sum()),
        failed=int((~right).sum()),
        nothing=int((~right & ~answered.any(axis=1)).sum()),
        accuracy=float(right.mean()),
        macro=Averages(*average(counts, "macro")),
        micro=Averages(*average(counts, "micro")),
        weighted=Averages(*average(counts, "weighted")),
        average_precision=float(np.mean(precisions)) if precisions else 0.0,
        calibration=calibrated,
        brier=None if calibrated is None else brier_score(truth, scores),
        labels=each,
        confusion=_confusion(truth, answered) if method == "multiclass" else None,
    )


def _labels(
    names: tuple[str, ...], truth: Flags, scores: npt.NDArray[np.float32], counts: Counts
) -> tuple[LabelScore, ...]:
    each, support = rates(counts), counts.support
    return tuple(
        LabelScore(
            label=name,
            support=int(support[place]),
            answered=int(counts.answered[place]),
            precision=float(each.precision[place]),
            recall=float(each.recall[place]),
            f1=float(each.f1[place]),
            average_precision=average_precision(truth[:, place], scores[:, place])
            if support[place]
            else None,
            best_threshold=best_threshold(truth[:, place], scores[:, place]),
        )
        for place, name in enumerate(names)
    )


def _confidence(
    truth: Flags, scores: npt.NDArray[np.float32], method: Method
) -> tuple[npt.NDArray[np.float32], Flags]:
    """What is held to be true how firmly, and whether it is: the best label of each image, or, where several
    may be true, every label of every image.
    """
    if method == "multilabel":
        return scores.reshape(-1), truth.reshape(-1)
    best = scores.argmax(axis=1)
    images = np.arange(len(scores))
    return scores[images, best], truth[images, best]


def _confusion(truth: Flags, answered: Flags) -> npt.NDArray[np.int64]:
    answers = np.where(answered.any(axis=1), answered.argmax(axis=1), -1)
    return confusion_matrix(truth.argmax(axis=1), answers, truth.shape[1])
