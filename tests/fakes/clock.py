"""A clock that a test turns."""

from __future__ import annotations


class FakeClock:
    """Shaped like edge_agent.clock.Clock; stands still until it is advanced."""

    def __init__(self) -> None:
        self._now_ns = 1_000_000_000
        self._offset_ns = 1_700_000_000_000_000_000
        self.synced = True

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now_ns += int(seconds * 1e9)

    def set_wall(self, unix_ns: int) -> None:
        """Somebody sets the system clock; no time passes."""
        self._offset_ns = unix_ns - self._now_ns

    def monotonic_ns(self) -> int:
        """Nanoseconds."""
        return self._now_ns

    def wall_ns(self) -> int:
        """The same, counted from a day in 2023."""
        return self._offset_ns + self._now_ns

    def is_synced(self) -> bool:
        """What ``synced`` says."""
        return self.synced
