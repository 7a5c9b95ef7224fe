"""So much in a second: of messages that are sent again, of bytes that are written."""

from __future__ import annotations

from edge_agent.clock import Clock


class Allowance:
    """Grows by ``per_s`` in a second, up to ``most``; begins with ``most``. Not for several threads."""

    def __init__(self, per_s: float, most: float, clock: Clock) -> None:
        self._per_s = per_s
        self._most = most
        self._clock = clock
        self._left = most
        self._seen_ns = clock.monotonic_ns()

    @property
    def left(self) -> float:
        """What may be spent now; below zero where more was spent than there was."""
        now_ns = self._clock.monotonic_ns()
        self._left = min(self._most, self._left + self._per_s * (now_ns - self._seen_ns) / 1e9)
        self._seen_ns = now_ns
        return self._left

    def spend(self, amount: float) -> None:
        """Take that off; a negative amount adds to it."""
        self._left = min(self._most, self.left - amount)
