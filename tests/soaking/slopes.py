"""Whether a figure creeps: the slope of Theil and Sen with its band."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

BLOCKS = 30
"""Samples that follow each other closely are no news: the medians of so many equal parts are looked at."""

WARM_UP = 5
"""One part in so many is left out at the start."""

BAND_Z = 2.576
"""99 % of a normal distribution."""


class Slope(NamedTuple):
    """Per unit of time: the median of all slopes between two points, and the band that it is known within."""

    at: float
    low: float
    high: float

    @property
    def creeps(self) -> bool:
        """It is above zero by more than noise."""
        return self.low > 0


def slope(points: Sequence[tuple[float, float]]) -> Slope:
    """Of (time, figure) in the order of time; Sen's band by Kendall's variance."""
    settled = blocks(points)
    pairs = combinations(settled, 2)
    slopes = sorted((later - before) / (then - when) for (when, before), (then, later) in pairs)
    count, parts = len(slopes), len(settled)
    half = BAND_Z * math.sqrt(parts * (parts - 1) * (2 * parts + 5) / 18)
    low, high = int((count - half) // 2), math.ceil((count + half) / 2)
    return Slope(statistics.median(slopes), slopes[max(low, 0)], slopes[min(high, count - 1)])


def blocks(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The median of each part, behind the warm-up."""
    begun, ended = points[0][0], points[-1][0]
    parts: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        part = min(int((point[0] - begun) / (ended - begun) * BLOCKS), BLOCKS - 1)
        parts.setdefault(part, []).append(point)
    settled = [parts[part] for part in sorted(parts) if part >= BLOCKS // WARM_UP]
    return [
        (statistics.median(when for when, _ in part), statistics.median(figure for _, figure in part))
        for part in settled
    ]
