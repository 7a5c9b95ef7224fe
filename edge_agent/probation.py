"""Whether a model that has just taken over may stay."""

from __future__ import annotations

import collections
import statistics
import threading
from dataclasses import dataclass

SLOW_FACTOR = 5.0
"""So many times the inference that vetting saw is far slower: a board that throttles itself halves its clock,
and a camera's burst doubles what the cores have to do.
"""

SLOW_SAMPLE = 20
"""Inferences whose median is looked at."""


@dataclass(frozen=True)
class ProbationRules:
    """A model stays that has answered so many ``frames`` and served for so long."""

    frames: int = 100
    seconds: float = 60.0


class Probation:
    """One model's trial. ``observe`` may be called from any thread, the rest belongs to one."""

    def __init__(
        self,
        digest: str,
        rules: ProbationRules,
        vetted_ms: float,
        losses: int,
        now_s: float,
        *,
        frames: int = 0,
        served_s: float = 0.0,
    ) -> None:
        """``vetted_ms``: its inference on the CPU (0: not known); ``losses``: what was counted before;
        ``frames``, ``served_s``: what it has behind it.
        """
        self.digest = digest
        self.frames = frames
        self._rules = rules
        self._slow_ms = SLOW_FACTOR * vetted_ms
        self._losses = losses
        self._since_s = now_s - served_s
        self._counting = threading.Lock()
        self._recent_ms: collections.deque[float] = collections.deque(maxlen=SLOW_SAMPLE)

    def observe(self, inference_ms: float) -> None:
        """It has answered a frame."""
        with self._counting:
            self.frames += 1
            self._recent_ms.append(inference_ms)

    def served_s(self, now_s: float) -> float:
        """How long it has served."""
        return now_s - self._since_s

    def verdict(self, losses: int, reason: str | None, now_s: float) -> str | bool:
        """True: it has passed. A text: it has failed, and why. False: it goes on.

        ``losses`` counts workers lost since the start of the agent, ``reason`` is the last one's.
        """
        if losses > self._losses:
            return f"its worker was lost on probation: {reason or 'it came back since'}"
        with self._counting:
            recent = list(self._recent_ms)
        took_ms = statistics.median(recent) if len(recent) == SLOW_SAMPLE else 0.0
        if 0 < self._slow_ms < took_ms:
            vetted_ms = self._slow_ms / SLOW_FACTOR
            return f"far slower than vetted: {took_ms:.1f} ms an inference instead of {vetted_ms:.1f} ms"
        return self.frames >= self._rules.frames and self.served_s(now_s) >= self._rules.seconds
