"""What is counted of predictions, for Prometheus: lanes count, whoever scrapes reads."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator

from edge_agent.predictions import Prediction

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds: from an inference on an Edge TPU to one of a large model on a Pi 3."""


class Histogram:
    """How many values were at most each of ``BOUNDS_S``, and their sum. One thread counts."""

    def __init__(self) -> None:
        self.total_s = 0.0
        self._counts = [0] * (len(BOUNDS_S) + 1)

    def count(self, seconds: float) -> None:
        """One more."""
        self._counts[bisect.bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Upper bound and how many were at most that, as Prometheus has them."""
        below = 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), list(self._counts), strict=True):
            below += count
            yield bound, below


class Tally:
    """By camera, slot and device. Slot and camera belong to one lane: no two threads count the same."""

    def __init__(self) -> None:
        self.predictions: Counter[tuple[str, str, str]] = Counter()
        """By camera, slot and device."""
        self.failures: Counter[str] = Counter()
        """By camera."""
        self.inference: dict[tuple[str, str], Histogram] = {}
        """By slot and device."""
        self.latency: dict[str, Histogram] = {}
        """From the capture to the labels, by camera."""

    def predicted(self, camera: str, prediction: Prediction) -> None:
        """On a lane's thread: a prediction was made."""
        slot, device = prediction.model.slot, prediction.device
        self.predictions[camera, slot, device] += 1
        self.inference.setdefault((slot, device), Histogram()).count(prediction.inference_ms / 1e3)
        self.latency.setdefault(camera, Histogram()).count(prediction.total_ms / 1e3)

    def failed(self, camera: str) -> None:
        """On a lane's thread: a frame could not be looked at."""
        self.failures[camera] += 1
