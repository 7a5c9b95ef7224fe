"""So many at once, and so many a second: requests that are heard, messages that are sent again, bytes."""

from __future__ import annotations

from edge_agent.clock import Clock


class Allowance:
    """Holds ``burst`` at most, and as much at first; ``per_s`` more comes in each second.

    One thread uses it at a time.
    """

    def __init__(self, burst: float, per_s: float, clock: Clock) -> None:
        self._burst = burst
        self._per_s = per_s
        self._clock = clock
        self._left = float(burst)
        self._at_ns = clock.monotonic_ns()

    @property
    def left(self) -> float:
        """What may be spent now; below zero where more was spent than there was."""
        now_ns = self._clock.monotonic_ns()
        self._left = min(self._burst, self._left + (now_ns - self._at_ns) * self._per_s / 1e9)
        self._at_ns = now_ns
        return self._left

    def spend(self, amount: float) -> None:
        """Take that off, whether it is there or not; a negative amount adds to it."""
        self._left = min(self._burst, self.left - amount)

    def take(self) -> bool:
        """Whether there was one left."""
        if self.left < 1:
            return False
        self.spend(1)
        return True
