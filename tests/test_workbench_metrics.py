"""edge_agent.workbench.metrics: scikit-learn's figures, to the last digits."""

from __future__ import annotations

import warnings
from dataclasses import astuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from edge_agent.workbench.metrics import (
    Counts,
    average,
    average_precision,
    best_threshold,
    brier_score,
    calibration,
    confusion_matrix,
    rates,
)

EXACT = 1e-12
KINDS = ("macro", "micro", "weighted")

unhurried = settings(deadline=None)

Flags = npt.NDArray[np.bool_]


@st.composite
def flags(draw: st.DrawFn) -> tuple[Flags, Flags]:
    """Truths and answers of several labels per image, (images, labels); some met by none or all."""
    # Of a single column the oracle makes two classes: test_one_label_alone.
    images, labels = draw(st.integers(1, 30)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shares = rng.choice([0.0, 0.2, 0.8, 1.0], (2, labels))
    truth, answered = rng.random((2, images, labels)) < shares[:, None]
    return truth, answered


@st.composite
def classes(draw: st.DrawFn) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """One label per image, and one answer or none (-1); mostly some labels are met by neither."""
    labels = draw(st.integers(1, 6))
    pairs = draw(
        st.lists(st.tuples(st.integers(0, labels - 1), st.integers(-1, labels - 1)), min_size=1, max_size=40)
    )
    truth, answers = np.array(pairs, np.int64).T
    return truth, answers, labels


@st.composite
def scored(draw: st.DrawFn) -> tuple[Flags, npt.NDArray[np.float32]]:
    """One label's truths and scores, with many ties: an int8 model has 256 scores, here there are nine."""
    pairs = draw(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=1, max_size=60))
    truth, codes = np.array(pairs).T
    return truth.astype(bool), codes.astype(np.float32) / np.float32(8)


def indicators(values: npt.NDArray[np.int64], labels: int) -> Flags:
    """(images, labels); -1 is a row of False."""
    return np.equal.outer(values, np.arange(labels))


def near(expected: object) -> object:
    """Equal but for the order of additions."""
    return pytest.approx(expected, rel=0, abs=EXACT)


@unhurried
@given(flags())
def test_several_labels_per_image(both: tuple[Flags, Flags]) -> None:
    """Precision, recall, F1 and support of each label, where nothing can be divided, too."""
    truth, answered = both
    counts = Counts.of(truth, answered)
    expected = oracle.precision_recall_fscore_support(
        truth, answered, labels=range(truth.shape[1]), average=None, zero_division=0
    )
    assert [near(each) for each in expected[:3]] == list(map(np.ndarray.tolist, astuple(rates(counts))))
    assert expected[3].tolist() == counts.support.tolist()


@unhurried
@given(flags())
def test_one_label_alone(both: tuple[Flags, Flags]) -> None:
    """A model of one score per image: its averages are the label's own figures."""
    truth, answered = (each[:, :1] for each in both)
    counts = Counts.of(truth, answered)
    expected = oracle.precision_recall_fscore_support(
        truth[:, 0], answered[:, 0], labels=[True], average=None, zero_division=0
    )
    assert [near(each.tolist()) for each in expected[:3]] == [
        each.tolist() for each in astuple(rates(counts))
    ]
    for kind in KINDS:
        assert [near(each.item()) for each in expected[:3]] == list(average(counts, kind))  # type: ignore[arg-type]


@unhurried
@given(classes())
def test_one_label_per_image(case: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]) -> None:
    """The same of classes; an answer of none is wrong, and no label's false positive."""
    truth, answers, labels = case
    found = rates(Counts.of(indicators(truth, labels), indicators(answers, labels)))
    expected = oracle.precision_recall_fscore_support(
        truth, answers, labels=range(labels), average=None, zero_division=0
    )
    assert [near(each) for each in expected[:3]] == list(map(np.ndarray.tolist, astuple(found)))


@pytest.mark.parametrize("kind", KINDS)
@unhurried
@given(case=classes())
def test_averages(case: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int], kind: str) -> None:
    """Micro and weighted averages are of all labels, the macro average of the ones that images have."""
    truth, answers, labels = case
    counts = Counts.of(indicators(truth, labels), indicators(answers, labels))
    among = np.unique(truth) if kind == "macro" else range(labels)
    expected = oracle.precision_recall_fscore_support(
        truth, answers, labels=among, average=kind, zero_division=0
    )
    assert [near(each) for each in expected[:3]] == list(average(counts, kind))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@unhurried
@given(both=flags())
def test_averages_of_several_labels_per_image(both: tuple[Flags, Flags], kind: str) -> None:
    """The same where several labels are true of an image, or none of any."""
    truth, answered = both
    among = np.flatnonzero(truth.any(axis=0)) if kind == "macro" else range(truth.shape[1])
    expected: tuple[float, ...] = (0.0, 0.0, 0.0)
    if truth.any():
        expected = oracle.precision_recall_fscore_support(
            truth, answered, labels=among, average=kind, zero_division=0
        )
    found = average(Counts.of(truth, answered), kind)  # type: ignore[arg-type]
    assert [near(each) for each in expected[:3]] == list(found)


@unhurried
@given(classes())
def test_confusion(case: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]) -> None:
    """Rows are truths, columns answers, the last column none."""
    truth, answers, labels = case
    columns = np.where(answers < 0, labels, answers)
    expected = oracle.confusion_matrix(truth, columns, labels=range(labels + 1))[:labels]
    assert expected.tolist() == confusion_matrix(truth, answers, labels).tolist()


@unhurried
@given(scored())
def test_average_precision(case: tuple[Flags, npt.NDArray[np.float32]]) -> None:
    """Ties come together; 0 where the label is true of no image."""
    truth, scores = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of no positives; both say 0
        expected = oracle.average_precision_score(truth, scores)
    assert near(expected) == average_precision(truth, scores)


@unhurried
@given(scored())
def test_the_best_threshold(case: tuple[Flags, npt.NDArray[np.float32]]) -> None:
    """No score that is met gives a higher F1, and no higher one gives the same."""
    truth, scores = case
    best = best_threshold(truth, scores)
    if not truth.any():
        assert best is None
        return
    each = {
        float(threshold): oracle.f1_score(truth, scores >= threshold, zero_division=0)
        for threshold in np.unique(scores)
    }
    assert best is not None
    highest = max(threshold for threshold, f1 in each.items() if f1 >= max(each.values()) - EXACT)
    assert (highest, near(each[highest])) == (best.threshold, best.f1)
    answered = scores >= best.threshold
    assert near(oracle.precision_score(truth, answered, zero_division=0)) == best.precision
    assert near(oracle.recall_score(truth, answered, zero_division=0)) == best.recall


def test_of_equally_good_thresholds_the_highest() -> None:
    """One of one that is named, or two of four: both have an F1 of two thirds."""
    best = best_threshold(np.array([True, False, False, True]), np.array([0.9, 0.8, 0.7, 0.6]))
    assert best is not None
    assert (0.9, 1.0, 0.5) == (best.threshold, best.precision, best.recall)


@unhurried
@given(scored())
def test_the_brier_score(case: tuple[Flags, npt.NDArray[np.float32]]) -> None:
    """The mean squared distance; of several labels the mean of each one's."""
    truth, scores = case
    expected = oracle.brier_score_loss(truth, scores.astype(float), pos_label=True)
    assert near(expected) == brier_score(truth, scores)
    twice = np.stack([truth, ~truth], axis=1), np.stack([scores, scores], axis=1)
    other = oracle.brier_score_loss(~truth, scores.astype(float), pos_label=True)
    assert near((expected + other) / 2) == brier_score(*twice)


def test_calibration() -> None:
    """A bin holds what is above its lower end and up to its upper one; the first holds 0, too."""
    found = calibration(np.array([0, 0.1, 0.15, 0.9, 1.0]), np.array([False, True, False, True, True]))
    assert found is not None
    filled = {
        number: (each.count, each.confidence, each.accuracy)
        for number, each in enumerate(found.bins)
        if each.count
    }
    assert {0: (2, 0.05, 0.5), 1: (1, 0.15, 0.0), 8: (1, 0.9, 1.0), 9: (1, 1.0, 1.0)} == filled
    assert near((2 * 0.45 + 0.15 + 0.1 + 0) / 5) == found.error


@unhurried
@given(scored())
def test_calibration_by_its_definition(case: tuple[Flags, npt.NDArray[np.float32]]) -> None:
    """The distance of mean confidence and share of right ones, each bin weighing as much as it holds."""
    right, confidence = case
    found = calibration(confidence, right)
    expected = 0.0
    for number in range(10):
        low, high = np.linspace(0, 1, 11)[number : number + 2]
        inside = ((confidence > low) | (number == 0)) & (confidence <= high)
        if inside.any():
            gap = abs(float(confidence[inside].astype(float).mean()) - float(right[inside].mean()))
            expected += gap * inside.mean()
    assert found is not None
    assert near(expected) == found.error


def test_calibration_of_a_softmax_in_32_bits() -> None:
    """A hair above 1 is 1."""
    found = calibration(np.array([1 + 1e-7]), np.array([True]))
    assert found is not None
    assert 0.0 == found.error


@pytest.mark.parametrize("scores", [[], [0.5, 1.5], [-0.1]])
def test_no_calibration_of_what_is_no_probability(scores: list[float]) -> None:
    """Scores outside 0..1, or none at all, have none."""
    assert calibration(np.array(scores), np.ones(len(scores), bool)) is None
