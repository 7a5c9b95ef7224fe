"""Whether a broker of 3.1.1 takes QoS 2, and keeps a session: it has no word for that, so it is tried."""

from __future__ import annotations

_DOUBTS = 2
"""Connections without an answer to QoS 2: one that is cut is chance. A third would look like a namesake's."""


class Once:
    """What the connections to one broker have shown. One thread only.

    Some brokers end the connection at a message of QoS 2, or never answer it. Once one was answered, a
    connection that fails is the network's affair.
    """

    def __init__(self) -> None:
        self._proven = False
        self._doubts = 0
        self._waits = False

    @property
    def is_to_be_had(self) -> bool:
        """It is worth trying."""
        return self._proven or self._doubts < _DOUBTS

    def sent(self) -> None:
        """A message of QoS 2 was handed over."""
        self._waits = not self._proven

    def answered(self) -> None:
        """The broker has ended one."""
        self._proven = True
        self._waits = False

    def ended(self) -> bool:
        """A connection is over; True: this was the one after which it is not tried any more."""
        unanswered, self._waits = self._waits, False
        self._doubts += unanswered
        return unanswered and self._doubts == _DOUBTS
