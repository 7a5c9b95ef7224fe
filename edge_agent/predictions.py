"""What a network answered: raw output to scores, scores to ranked labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_agent.errors import InferenceError
from edge_agent.frames import Frame
from edge_agent.tensors import Array, TensorSpec


@dataclass(frozen=True, slots=True)
class Score:
    """A label, its position in the network's output, and how sure the network is."""

    label: str
    index: int
    score: float


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model answered: its slot, name, digest (12 hex digits) and Custom Vision iteration, if known;
    ``multilabel``: several of its labels may be true of one picture.
    """

    slot: str
    name: str
    digest: str
    iteration: str | None
    multilabel: bool = False


@dataclass(frozen=True, slots=True)
class Prediction:
    """One frame's answer. An empty ``ranking``: no label reached the threshold.

    ``device`` is "cpu" or "edgetpu"; ``degraded``: it is not the device that was asked for. ``scores`` are
    all of them, dequantised, as they come from the network, (labels,); ``labels`` are their names.
    """

    frame: Frame
    model: ModelIdentity
    device: str
    degraded: bool
    ranking: tuple[Score, ...]
    preprocess_ms: float
    inference_ms: float
    total_ms: float
    scores: npt.NDArray[np.float32] = field(repr=False, compare=False)
    labels: tuple[str, ...] = field(repr=False)


def scores_of(raw: Array, spec: TensorSpec) -> npt.NDArray[np.float32]:
    """The output tensor as one row of float32 scores, dequantised where it is quantised.

    Raises InferenceError where ``raw`` is not what ``spec`` says.
    """
    if raw.shape != spec.shape or raw.dtype != np.dtype(spec.dtype):
        raise InferenceError(f"the output is {raw.shape} of {raw.dtype}, not {spec.shape} of {spec.dtype}")
    flat = raw.reshape(-1)
    if spec.quantization is None or flat.dtype.kind == "f":
        return flat.astype(np.float32)
    return spec.quantization.dequantize(flat)


def rank(
    scores: npt.NDArray[np.float32], labels: Sequence[str], *, top_k: int, threshold: float
) -> tuple[Score, ...]:
    """The ``top_k`` labels with ``score >= threshold``: best first, equals in the order of the labels.

    Raises InferenceError for scores that are no numbers, or not one per label.
    """
    count = len(labels)
    if scores.shape != (count,):
        raise InferenceError(f"the model gave {scores.size} scores for {count} labels")
    if not np.isfinite(scores).all():
        raise InferenceError("the model gave scores that are no finite numbers")
    best = _best_first(scores, top_k)
    # As Python floats, as they are published: whoever compares them with the threshold again agrees.
    values = scores[best].tolist()
    return tuple(
        Score(labels[index], index, value)
        for index, value in zip(best.tolist(), values, strict=True)
        if value >= threshold
    )


def _best_first(scores: npt.NDArray[np.float32], top_k: int) -> npt.NDArray[np.intp]:
    """Indices of the ``top_k`` highest scores; stable, so that equals never trade places."""
    if top_k <= 0 or scores.size == 0:
        return np.empty(0, dtype=np.intp)
    if top_k < scores.size:
        at_least = np.partition(scores, scores.size - top_k)[scores.size - top_k]
        candidates = np.flatnonzero(scores >= at_least)
    else:
        candidates = np.arange(scores.size)
    order = np.argsort(-scores[candidates], kind="stable")
    return candidates[order[:top_k]]
