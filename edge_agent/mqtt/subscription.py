"""Listening to a broker from the thread that reads the messages."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Self

from edge_agent.clock import Clock
from edge_agent.errors import BrokerError
from edge_agent.mqtt import endings
from edge_agent.mqtt.session import Received, Session
from edge_agent.mqtt.settings import BrokerSettings, Pace
from edge_agent.mqtt.versions import VersionChoice


class Subscription:
    """Everything published under some topic filters, over one connection at a time; ``refusal`` says which of
    them the broker does not grant, if it grants others.
    """

    def __init__(
        self, settings: BrokerSettings, filters: Sequence[str], clock: Clock, pace: Pace | None = None
    ) -> None:
        self._settings = settings
        self._filters = tuple(filters)
        self._clock = clock
        self._pace = pace or Pace()
        self._version = VersionChoice(settings.protocol)
        self._client_id = settings.client_id or f"edge-agent-watch-{secrets.token_hex(4)}"
        self._session: Session | None = None
        self.refusal: BrokerError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Connect and subscribe; also again, after a loss.

        Raises:
            BrokerError: the broker cannot be reached, refuses us, or grants no subscription.
        """
        self.close()
        self.refusal = None
        self._session = connected(self._settings, self._version, self._client_id, self._clock, self._pace)
        tickets = {self._session.subscribe(each): each for each in self._filters}
        refused: list[str] = []
        deadline_ns = self._clock.monotonic_ns() + int(self._pace.connack_s * 1e9)
        while tickets:
            self._turn(self._session)
            while self._session.subscribed:
                ticket, granted = self._session.subscribed.popleft()
                topic_filter = tickets.pop(ticket, None)
                if topic_filter is not None and not granted:
                    refused.append(topic_filter)
            if tickets and self._clock.monotonic_ns() >= deadline_ns:
                raise endings.no_answer(self._settings, self._pace.connack_s).error
        if refused:
            self.refusal = endings.not_granted(self._settings, " and ".join(refused))
            if len(refused) == len(self._filters):
                raise self.refusal

    def receive(self, timeout_s: float) -> Iterator[Received]:
        """What came in, after at most one wait of ``timeout_s``.

        Raises:
            BrokerError: the connection is lost, or ``open`` was not called.
        """
        if self._session is None:
            raise BrokerError("not connected to the MQTT broker")
        if not self._session.received:
            self._turn(self._session, timeout_s)
        while self._session.received:
            yield self._session.received.popleft()

    def _turn(self, session: Session, timeout_s: float = 0.5) -> None:
        ending = session.turn(timeout_s)
        if ending is not None and not session.received:
            self.close()
            raise ending.error

    def close(self) -> None:
        """Disconnect."""
        if self._session is not None:
            self._session.close()
            self._session = None


def connected(
    settings: BrokerSettings, version: VersionChoice, client_id: str, clock: Clock, pace: Pace
) -> Session:
    """A session that the broker accepted, in the version that it speaks. Raises BrokerError."""
    while True:
        session = Session(settings, version.current, client_id)
        ending = session.open(clock, version.patience_s(pace), lambda: False)
        if ending is None:
            version.accepted()
            return session
        session.close()
        if not version.ended(ending.cause):
            raise ending.error
