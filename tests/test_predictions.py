"""Raw outputs to scores, scores to ranked labels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import InferenceError
from edge_agent.predictions import Score, rank, scores_of
from edge_agent.tensors import Array, Quantization, TensorSpec


def scores(*values: float) -> npt.NDArray[np.float32]:
    """A row of scores."""
    return np.array(values, dtype=np.float32)


@pytest.mark.parametrize(
    ("codes", "quantization", "expected"),
    [
        (np.array([[0, 128, 255]], np.uint8), Quantization(1 / 256, 0), [0.0, 0.5, 255 / 256]),
        (np.array([[-128, 0, 127]], np.int8), Quantization(1 / 256, -128), [0.0, 0.5, 255 / 256]),
        (np.array([[0.25, 0.75, 0.0]], np.float32), None, [0.25, 0.75, 0.0]),
        (np.array([[1, 2, 3]], np.uint8), None, [1.0, 2.0, 3.0]),
    ],
)
def test_scores_are_the_reals_behind_the_codes(
    codes: Array, quantization: Quantization | None, expected: list[float]
) -> None:
    """(code - zero_point) * scale for both integer kinds; reals stay as they are."""
    spec = TensorSpec("output", (1, 3), codes.dtype.name, quantization)
    actual = scores_of(codes, spec)
    assert (expected, "float32", 1) == (actual.tolist(), actual.dtype.name, actual.ndim)


def test_scores_are_a_copy() -> None:
    """The next inference may overwrite the output tensor; the scores stay."""
    raw = np.array([[0.5, 0.5]], np.float32)
    actual = scores_of(raw, TensorSpec("output", (1, 2), "float32"))
    raw[:] = 0
    assert actual.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    "raw", [np.zeros((1, 2), np.uint8), np.zeros((3,), np.uint8), np.zeros((1, 3), np.int8)]
)
def test_another_output_than_described_is_an_error(raw: Array) -> None:
    """Scores of a tensor that is not the model's would be nonsense with a label."""
    with pytest.raises(InferenceError, match="the output is"):
        scores_of(raw, TensorSpec("output", (1, 3), "uint8", Quantization(1 / 256, 0)))


def test_the_best_comes_first() -> None:
    """Descending, at most top_k, each with its label and index."""
    expected = (Score("c", 2, 0.75), Score("a", 0, 0.25))
    assert expected == rank(scores(0.25, 0.0, 0.75, 0.125), "abcd", top_k=2, threshold=0.0)


def test_equals_keep_the_order_of_the_labels() -> None:
    """A tie is settled by the index, on the edge of top_k too."""
    ranking = rank(scores(0.5, 1.0, 0.5, 0.5, 1.0), "abcde", top_k=3, threshold=0.0)
    assert [score.label for score in ranking] == ["b", "e", "a"]


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0.5, "ab"), (0.51, "a"), (0.75, "a"), (0.76, ""), (0.0, "abc")]
)
def test_the_threshold_is_inclusive(threshold: float, expected: str) -> None:
    """Score >= threshold; an empty ranking where nothing reaches it."""
    ranking = rank(scores(0.75, 0.5, 0.25), "abc", top_k=9, threshold=threshold)
    assert expected == "".join(score.label for score in ranking)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_are_an_error(wrong: float) -> None:
    """A network that overflowed has no answer, not even a last place."""
    with pytest.raises(InferenceError, match="no finite numbers"):
        rank(scores(0.5, wrong), "ab", top_k=1, threshold=0.0)


@pytest.mark.parametrize("values", [scores(0.5), scores(0.5, 0.5, 0.5), scores(0.5, 0.5)[np.newaxis]])
def test_a_score_per_label_or_an_error(values: npt.NDArray[np.float32]) -> None:
    """A label must never be given to another class's score."""
    with pytest.raises(InferenceError, match="2 labels"):
        rank(values, ("a", "b"), top_k=1, threshold=0.0)


@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0]) | st.floats(0, 1, width=32), max_size=40),
    st.integers(-1, 45),
    st.sampled_from([-1.0, 0.0, 0.1, 0.5, 0.7, 1.0, 2.0]),
)
def test_rank_is_the_sorted_list_cut(values: list[float], top_k: int, threshold: float) -> None:
    """The same as sorting everything by (-score, index), whatever the ties, the cut and the threshold."""
    row = scores(*values)
    order = sorted(range(len(values)), key=lambda index: (-float(row[index]), index))[: max(0, top_k)]
    expected = [(index, float(row[index])) for index in order if float(row[index]) >= threshold]
    labels = [f"label {index}" for index in range(len(values))]
    ranking = rank(row, labels, top_k=top_k, threshold=threshold)
    assert expected == [(score.index, score.score) for score in ranking]
    assert all(labels[score.index] == score.label for score in ranking)
