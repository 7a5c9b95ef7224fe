"""A publisher that only remembers."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from edge_agent.mqtt import PublisherStatus
from edge_agent.topics import check_topic


@dataclass(frozen=True)
class Published:
    """One call of ``publish``."""

    topic: str
    payload: bytes
    retain: bool
    live: bool
    correlation: bytes | None = None


class RecordingPublisher:
    """Shaped like edge_agent.mqtt.Publisher; ``connected``, ``room`` and ``fault`` are the test's."""

    def __init__(self) -> None:
        self.published: list[Published] = []
        self.connected = True
        self.room = True
        self.fault: str | None = None
        self.resent = 0
        self.started = False
        self.closed = False
        self._news = threading.Condition()

    def start(self) -> None:
        """Note that it was started."""
        self.started = True

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        live: bool = False,
        correlation: bytes | None = None,
    ) -> None:
        """Remember the message; a topic that no broker takes is refused as the real one does."""
        with self._news:
            self.published.append(Published(check_topic(topic), payload, retain, live, correlation))
            self._news.notify_all()

    def resend(self) -> None:
        """Count it."""
        self.resent += 1

    def on(self, topic: str) -> list[bytes]:
        """The payloads of one topic, in order."""
        with self._news:
            return [each.payload for each in self.published if each.topic == topic]

    def retained(self) -> dict[str, bytes]:
        """What a broker would hold."""
        with self._news:
            latest = {each.topic: each.payload for each in self.published if each.retain}
        return {topic: payload for topic, payload in latest.items() if payload}

    def wait_for(self, count: int, timeout_s: float) -> bool:
        """Wait until so many messages were published."""
        with self._news:
            return self._news.wait_for(lambda: len(self.published) >= count, timeout_s)

    def status(self) -> PublisherStatus:
        """Everything sent, nothing waiting."""
        return PublisherStatus(
            connected=self.connected,
            protocol="5" if self.connected else None,
            queued=0,
            sent=len(self.published),
            dropped=0,
            reconnects=0,
            fault=self.fault,
        )

    def wait_connected(self, timeout_s: float) -> bool:  # noqa: ARG002  the real one's shape
        """What ``connected`` says."""
        return self.connected

    def wait_for_room(self, timeout_s: float) -> bool:  # noqa: ARG002
        """What ``room`` says."""
        return self.room

    def drain(self, timeout_s: float) -> bool:  # noqa: ARG002
        """True where connected."""
        return self.connected

    def close(self, timeout_s: float = 5.0) -> None:  # noqa: ARG002
        """Note that it was closed."""
        self.closed = True
