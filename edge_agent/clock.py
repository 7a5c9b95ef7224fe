"""Time, as a part that is passed in: monotonic for intervals, wall clock for messages only."""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """What every room that measures time is given."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary start; never set back."""
        ...

    def wall_ns(self) -> int:
        """Unix time in nanoseconds; may jump."""
        ...

    def is_synced(self) -> bool:
        """Whether that time is set: a Pi has no battery clock."""
        ...


_TIME_ERROR = 5
"""What adjtimex(2) returns while the clock is not synchronised."""

_TIMESYNCD = Path("/run/systemd/timesync/synchronized")
"""Made by systemd-timesyncd when it has first set the clock."""

_LIBRARY = ctypes.CDLL(None)

_ASK_NS = 1_000_000_000
"""Between two questions to the kernel: each prediction wants to know, and adjtimex(2) takes 20 us or more."""


CLOCK_SET_NS = 1_000_000_000
"""Two clocks that drift apart by more than this between two moments: one of them was set."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment on both clocks, in ns: CLOCK_MONOTONIC for intervals, Unix time for messages."""

    monotonic_ns: int
    wall_ns: int

    def seen_from(self, now: Moment) -> Moment:
        """The same moment; where the wall clock was set since, by the clock as it goes ``now``."""
        counted_ns = now.wall_ns - (now.monotonic_ns - self.monotonic_ns)
        was_set = abs(counted_ns - self.wall_ns) > CLOCK_SET_NS
        return Moment(self.monotonic_ns, counted_ns) if was_set else self


class SystemClock:
    """The machine's clocks."""

    _is_synced = False
    _ask_ns = 0

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """CLOCK_REALTIME."""
        return time.time_ns()

    def is_synced(self) -> bool:
        """Whether the kernel holds CLOCK_REALTIME to be set by NTP (or a kin), as of a second ago at most.

        A service in a sandbox may not ask the kernel; what systemd-timesyncd says holds then.
        """
        now_ns = time.monotonic_ns()
        if now_ns >= self._ask_ns:
            state: int = _LIBRARY.adjtimex(ctypes.create_string_buffer(512))
            self._is_synced = _TIMESYNCD.exists() if state == -1 else state != _TIME_ERROR
            self._ask_ns = now_ns + _ASK_NS
        return self._is_synced
