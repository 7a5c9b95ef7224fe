"""Which predictions arrived, by their ``sequence``, and whether the agent has counted those that did not."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import datetime
from threading import Lock
from typing import NamedTuple

SLACK_S = 2.0
"""From the capture of the next one that arrives until the agent has surely counted those before it."""


class Gap(NamedTuple):
    """So many numbers that are missing in a row; the Unix times at which their neighbours were captured."""

    missing: int
    after_s: float
    before_s: float


class Count(NamedTuple):
    """What the agent had counted as dropped, some time between question and answer: Unix time."""

    asked_s: float
    answered_s: float
    dropped: int


class Window(NamedTuple):
    """What is missing between two times at which the agent was asked, and what it counted meanwhile."""

    missing: int
    counted: int


class Arrivals:
    """The predictions of each session and camera that reached the broker; from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._captured: dict[tuple[str, str], array[float]] = {}

    def add(self, payload: bytes) -> None:
        """One message; whatever is no prediction, and what came before, changes nothing."""
        if b'"edge-agent/prediction/' not in payload:
            return
        told = json.loads(payload)
        with self._lock:
            captured = self._captured.setdefault((told["session"], told["camera"]), array("d"))
            missing = told["sequence"] - len(captured)
            if missing > 0:
                captured.extend([0.0] * missing)
            captured[told["sequence"] - 1] = datetime.fromisoformat(told["captured_at"]).timestamp()

    def runs(self) -> list[tuple[str, str]]:
        """The sessions and cameras."""
        with self._lock:
            return sorted(self._captured)

    def last(self, run: tuple[str, str]) -> int:
        """The highest sequence that arrived."""
        with self._lock:
            return len(self._captured[run])

    def gaps(self, run: tuple[str, str]) -> list[Gap]:
        """What is missing of one session and camera, in order."""
        with self._lock:
            captured = self._captured[run]
            gaps, previous, previous_s = [], 0, 0.0
            for number, at_s in enumerate(captured, start=1):
                if at_s:
                    if number > previous + 1:
                        gaps.append(Gap(number - previous - 1, previous_s, at_s))
                    previous, previous_s = number, at_s
            return gaps


def windows(gaps: Sequence[Gap], counts: Sequence[Count]) -> list[Window]:
    """The gaps of all cameras, those that fall between the same two counts together; ``counts`` are in order,
    the last one is from after all gaps.
    """
    asked, answered = [each.asked_s for each in counts], [each.answered_s for each in counts]
    spans: list[tuple[int, int, int]] = []
    bounds = sorted(
        (bisect_right(answered, gap.after_s) - 1, bisect_left(asked, gap.before_s + SLACK_S), gap.missing)
        for gap in gaps
    )
    for first, last, missing in bounds:
        if spans and first < spans[-1][1]:
            begun, ended, before = spans.pop()
            spans.append((begun, max(ended, last), before + missing))
        else:
            spans.append((first, last, missing))
    last_count = len(counts) - 1
    return [
        Window(missing, counts[min(last, last_count)].dropped - (counts[first].dropped if first >= 0 else 0))
        for first, last, missing in spans
    ]


def unexplained(found: Sequence[Window]) -> int:
    """How many are missing that the agent has not counted where they were."""
    return sum(max(0, each.missing - each.counted) for each in found)
