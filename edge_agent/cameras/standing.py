"""How a camera stands: its state, its counts, its fault, and which of that is news."""

from __future__ import annotations

import logging

from edge_agent.cameras.pace import Rate
from edge_agent.cameras.settings import CameraState

STEADY_NS = 5_000_000_000
"""A source that was online for less than this has not recovered: the backoff and the log go on."""


class Standing:
    """Not locked: its camera's lock guards it."""

    def __init__(self) -> None:
        self.state: CameraState = "connecting"
        self.fault: str | None = None
        self.frozen: str | None = None
        """The fault of one that is online, and gives the same picture again and again."""
        self.captured = 0
        self.unreadable = 0
        """Of connections that are over."""
        self.rate = Rate()
        self.latest_ns: int | None = None
        """When the latest frame was captured."""
        self._connections = 0
        self._online_since_ns = 0
        self._told: set[str] = set()
        self._recovery_is_news = True

    @property
    def reconnects(self) -> int:
        """How often the source came back."""
        return max(self._connections - 1, 0)

    def age_s(self, now_ns: int) -> float | None:
        """Of the latest frame, to the tenth of a second; None before the first."""
        return None if self.latest_ns is None else round((now_ns - self.latest_ns) / 1e9, 1)

    def count(self, captured_ns: int) -> bool:
        """A frame was captured; True when the camera is online with it."""
        self.captured += 1
        self.latest_ns = captured_ns
        self.rate.count(captured_ns)
        if self.state == "online":
            return False
        self.state, self.fault = "online", None
        self._connections += 1
        self._online_since_ns = captured_ns
        return True

    def online_level(self) -> int:
        """At which level of the log it is told that the camera is online."""
        level = logging.INFO if self._recovery_is_news else logging.DEBUG
        self._recovery_is_news = False
        return level

    def lose(self, fault: str, now_ns: int) -> tuple[int, bool]:
        """The source failed: the level of the log, and whether it had been online steadily until now."""
        self.frozen = None
        steady = self.state == "online" and now_ns - self._online_since_ns > STEADY_NS
        if steady:
            self._told.clear()
        self.state, self.fault = "offline", fault
        is_news = fault not in self._told
        self._told.add(fault)
        self._recovery_is_news |= is_news
        return logging.WARNING if is_news else logging.DEBUG, steady

    def end(self) -> None:
        """The source is at its end for good."""
        self.state, self.fault, self.frozen = "ended", None, None
