"""How often something comes."""

from __future__ import annotations

from collections import deque

_OVER = 20
"""Arrivals that the rate is taken over: at 5 a second, the last four seconds."""


class Rate:
    """The arrivals of one kind of message; times are monotonic ns."""

    def __init__(self) -> None:
        self._arrivals: deque[int] = deque(maxlen=_OVER)

    def add(self, now_ns: int) -> None:
        """One more came."""
        self._arrivals.append(now_ns)

    @property
    def per_second(self) -> float | None:
        """None before the second one."""
        if len(self._arrivals) < 2 or self._arrivals[-1] == self._arrivals[0]:
            return None
        return (len(self._arrivals) - 1) * 1e9 / (self._arrivals[-1] - self._arrivals[0])

    def silence_s(self, now_ns: int) -> float | None:
        """Since the last one, if that is far longer than usual."""
        if not self._arrivals:
            return None
        silence_s = (now_ns - self._arrivals[-1]) / 1e9
        return silence_s if silence_s > max(3.0, 3.0 / (self.per_second or 1.0)) else None
