"""The last words of an agent."""

from __future__ import annotations

from edge_agent.mqtt.backlog import Backlog, Outgoing

OFFLINE = b"offline"


class Farewell:
    """The last words: first what still waits, for half the time left, then ``offline``; ``is_heard``: it was
    acknowledged.
    """

    def __init__(self, availability: str, backlog: Backlog) -> None:
        self._availability = availability
        self._backlog = backlog
        self.is_heard = False
        self._half_ns: int | None = None
        self._said = False

    def done(self, left_ns: int) -> bool:
        """True when ``offline`` is acknowledged or the time is up."""
        if self._half_ns is None:
            self._half_ns = left_ns // 2
        if not self._said and (left_ns <= self._half_ns or self._backlog.wait_empty(0)):
            self._backlog.withdraw(Outgoing(self._availability, OFFLINE, retain=True, live=False))
            self._said = True
            return False
        self.is_heard = self._said and self._backlog.wait_empty(0)
        return left_ns <= 0 or self.is_heard
