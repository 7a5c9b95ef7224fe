"""Time, as a part that is passed in: monotonic for intervals, wall clock for messages only."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What every room that measures time is given."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary start; never set back."""
        ...

    def wall_ns(self) -> int:
        """Unix time in nanoseconds; may jump."""
        ...


class SystemClock:
    """The machine's clocks."""

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """CLOCK_REALTIME."""
        return time.time_ns()
