"""So many at once, and so many a second: what bounds whoever may ask for something."""

from __future__ import annotations

from edge_agent.clock import Clock


class Allowance:
    """A bucket of ``burst`` tokens, full at first, that ``per_s`` more flow into each second.

    One thread uses it.
    """

    def __init__(self, burst: int, per_s: float, clock: Clock) -> None:
        self._burst = burst
        self._per_s = per_s
        self._clock = clock
        self._left = float(burst)
        self._at_ns = clock.monotonic_ns()

    def take(self) -> bool:
        """Whether there was one left."""
        now_ns = self._clock.monotonic_ns()
        self._left = min(self._burst, self._left + (now_ns - self._at_ns) * self._per_s / 1e9)
        self._at_ns = now_ns
        if self._left < 1:
            return False
        self._left -= 1
        return True
