"""edge_agent.workbench.scorecard, and which mistakes are the worst."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.predictions import rank
from edge_agent.workbench.dataset import Sample
from edge_agent.workbench.images_csv import Said, worst_rows
from edge_agent.workbench.journal import Answers
from edge_agent.workbench.scorecard import (
    Method,
    Scorecard,
    answered_labels,
    score,
    threshold_for,
)

LABELS = ("a", "b", "c")

Scores = npt.NDArray[np.float32]


def scores(*rows: tuple[float, ...]) -> Scores:
    """(images, labels)."""
    return np.array(rows, np.float32)


def truths(*rows: str) -> npt.NDArray[np.bool_]:
    """(images, labels), of the names that are true of each."""
    return np.array([[label in row for label in LABELS] for row in rows])


def card(truth: npt.NDArray[np.bool_], given: Scores, method: Method, threshold: float) -> Scorecard:
    """Its figures."""
    return score(LABELS, truth, given, method, threshold)


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3, float(np.float32(0.3)), 0.5])
def test_answers_are_the_agents(threshold: float) -> None:
    """The first of the best, if it reaches the threshold: as rank() has it, ties and roundings included."""
    rng = np.random.default_rng(3)
    given = rng.choice(np.array([0.1, 0.3, 0.5], np.float32), (50, 3))
    for row, answered in zip(given, answered_labels(given, "multiclass", threshold), strict=True):
        best = rank(row, LABELS, top_k=1, threshold=threshold)
        assert [each.index for each in best] == np.flatnonzero(answered).tolist()


def test_nothing_above_the_threshold() -> None:
    """It is failed, and counted apart; the last column has it."""
    found = card(truths("a", "b", "c"), scores((0.6, 0, 0), (0, 0.4, 0), (0.9, 0, 0)), "multiclass", 0.5)
    assert (1, 2, 1) == (found.correct, found.failed, found.nothing)
    assert found.confusion is not None
    assert [[1, 0, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]] == found.confusion.tolist()


def test_several_labels() -> None:
    """An image is correct when its labels are answered and no other; none is right where none is true."""
    given = scores((0.9, 0.9, 0), (0.9, 0.9, 0), (0, 0, 0), (0, 0, 0.1))
    found = card(truths("ab", "a", "", "c"), given, "multilabel", 0.5)
    assert (2, 2, 1) == (found.correct, found.failed, found.nothing)
    assert found.confusion is None
    assert [(2, 2), (1, 2), (1, 0)] == [(each.support, each.answered) for each in found.labels]


def test_labels_that_no_image_has() -> None:
    """They have no average precision and no best threshold, and no part in means; all else of them is 0."""
    found = card(truths("a", "a"), scores((0.9, 0, 0), (0.1, 0.8, 0)), "multiclass", 0.0)
    absent = found.labels[1]
    assert (0, 1, 0.0, 0.0) == (absent.support, absent.answered, absent.precision, absent.recall)
    assert (None, None) == (absent.average_precision, absent.best_threshold)
    assert (1.0, 0.5) == (found.macro.precision, found.macro.recall)
    assert 0.5 == found.micro.precision == found.micro.recall
    assert found.labels[0].average_precision == found.average_precision
    assert (0, 1) == found.met
    assert (["a", "b"], [[1, 1, 0], [0, 0, 0]]) == found.met_confusion()


def test_scores_that_are_no_probabilities() -> None:
    """Logits have no calibration; all else is as it is."""
    found = card(truths("a", "b"), scores((7, -2, 0), (1, 3, 0)), "multiclass", 0.0)
    assert (None, None, 1.0) == (found.calibration, found.brier, found.accuracy)


def test_calibration_of_several_labels() -> None:
    """Every score of every image is a statement."""
    found = card(truths("ab", ""), scores((1, 1, 0), (0, 0, 1)), "multilabel", 0.5)
    assert found.calibration is not None
    assert 6 == sum(each.count for each in found.calibration.bins)
    assert pytest.approx(1 / 6) == found.calibration.error == found.brier


@pytest.mark.parametrize(
    ("method", "asked", "expected"),
    [
        ("multiclass", None, 0.0),
        ("multilabel", None, 0.5),
        ("multilabel", 0.0, 0.0),
        ("multiclass", 0.7, 0.7),
    ],
)
def test_the_threshold(method: Method, asked: float | None, expected: float) -> None:
    """What was asked for; else none, or a half where several labels may be true."""
    assert expected == threshold_for(method, asked)


def test_the_surest_mistakes_come_first() -> None:
    """By the distance from the highest wrong score to the lowest right one; equals as they stand."""
    given = scores((0.6, 0.4, 0), (0.9, 0.1, 0), (0, 1, 0), (0.6, 0.4, 0), (0.2, 0.3, 0.3))
    truth = truths("b", "b", "b", "b", "")
    answers = Answers(np.arange(5), np.ones(5), np.ones(5), given, ("cpu",))
    samples = tuple(Sample(Path("x"), str(number), ()) for number in range(5))
    said = Said(samples, LABELS, truth, answered_labels(given, "multiclass", 0.0), answers)
    assert [1, 4, 0, 3] == worst_rows(said, 9)
    assert [1, 4] == worst_rows(said, 2)
