"""What a publisher listens to: who hears what, and what is done where the broker does not allow it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import paho.mqtt.client as paho

from edge_agent.clock import Clock
from edge_agent.mqtt.session import Received, Session
from edge_agent.mqtt.troubles import Troubles


@dataclass(frozen=True)
class Listener:
    """Who hears the messages below a topic filter. ``needed``: a fault where it is not granted."""

    topic_filter: str
    hear: Callable[[Received], None]
    needed: bool = True


class Hearing:
    """Subscribes in each session; asks for what was refused again after ``refused_s``. One thread only."""

    def __init__(
        self, listeners: Sequence[Listener], troubles: Troubles, clock: Clock, refused_s: float
    ) -> None:
        self._listeners = tuple(listeners)
        self._troubles = troubles
        self._clock = clock
        self._refused_ns = int(refused_s * 1e9)
        self._asked: dict[int, Listener] = {}
        self._refused: list[Listener] = []
        self._again_ns = 0

    def begin(self, session: Session) -> None:
        """A session began: subscribe, before anything is published in it."""
        self._asked.clear()
        self._refused.clear()
        for listener in self._listeners:
            self._ask(session, listener)

    def _ask(self, session: Session, listener: Listener) -> None:
        self._asked[session.subscribe(listener.topic_filter)] = listener

    def turn(self, session: Session) -> None:
        """Heed the broker's answers, pass on what came in."""
        while session.subscribed:
            ticket, granted = session.subscribed.popleft()
            if listener := self._asked.pop(ticket, None):
                self._answered(listener, granted)
        while session.received:
            received = session.received.popleft()
            for listener in self._listeners:
                if paho.topic_matches_sub(listener.topic_filter, received.topic):
                    listener.hear(received)
        if self._refused and self._clock.monotonic_ns() >= self._again_ns:
            again, self._refused = self._refused, []
            for listener in again:
                self._ask(session, listener)

    def _answered(self, listener: Listener, granted: bool) -> None:
        if not granted:
            self._refused.append(listener)
            self._again_ns = self._clock.monotonic_ns() + self._refused_ns
        if listener.needed:
            self._troubles.subscribed(listener.topic_filter, granted=granted)
