"""What is needed of a publisher by who only hands over."""

from __future__ import annotations

from typing import Protocol


class Publishing(Protocol):
    """As :class:`edge_agent.mqtt.Publisher`."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, live: bool = False) -> None:
        """Hand over one message; never blocks."""
        ...
