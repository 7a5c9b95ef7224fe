"""Whether a broker of 3.1.1 takes QoS 2, and keeps a session: it has no word for that, so it is tried."""

from __future__ import annotations

_DOUBTS = 2
"""Connections without an answer to QoS 2: one that is cut is chance. A third would look like a namesake's."""


class Once:
    """What the connections to one broker have shown. One thread only; times are monotonic ns.

    Some brokers end the connection at a message of QoS 2, or never answer it. Once one was answered, a
    connection that fails is the network's affair.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_ns = int(patience_s * 1e9)
        self._proven = False
        self._doubts = 0
        self._waits_since_ns: int | None = None

    @property
    def is_to_be_had(self) -> bool:
        """It is worth trying."""
        return self._proven or self._doubts < _DOUBTS

    def sent(self, now_ns: int) -> None:
        """A message of QoS 2 was handed over."""
        if self._waits_since_ns is None and not self._proven:
            self._waits_since_ns = now_ns

    def answered(self) -> None:
        """The broker has ended one."""
        self._proven = True
        self._waits_since_ns = None

    def is_missing(self, now_ns: int) -> bool:
        """The first one was not answered for longer than a broker takes."""
        return self._waits_since_ns is not None and now_ns - self._waits_since_ns > self._patience_ns

    def ended(self) -> bool:
        """A connection is over; True: this was the one after which it is not tried any more."""
        unanswered, self._waits_since_ns = self._waits_since_ns is not None, None
        self._doubts += unanswered
        return unanswered and self._doubts == _DOUBTS
