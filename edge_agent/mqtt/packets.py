"""What MQTT 5 adds to a packet: properties that we ask for, and limits that the broker sets (owns paho)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.mqtt.client import RECEIVE_LIMIT_BYTES

WINDOW = 20
"""Messages in flight: what mosquitto takes at once by default (max_inflight_messages)."""

KEPT_S = 3600
"""So long the broker remembers what of QoS 2 was begun, after the connection is lost."""

OVERHEAD_BYTES = 32
"""Of a PUBLISH besides topic and payload: header, lengths, number, and all properties that we set but the
correlation."""


@dataclass(frozen=True)
class Limits:
    """What the broker said it takes; ``topic_alias``: so many topics may go by a number."""

    window: int = WINDOW
    qos: int = 2
    retain: bool = True
    packet_bytes: int = 268_435_455
    topic_alias: int = 0


def limits(properties: Properties | None) -> Limits:
    """What the CONNACK of MQTT 5 said; what it left out has the protocol's default."""
    said: dict[str, Any] = vars(properties) if properties is not None else {}
    return Limits(
        window=min(WINDOW, said.get("ReceiveMaximum", WINDOW)),
        qos=said.get("MaximumQoS", 2),
        retain=bool(said.get("RetainAvailable", 1)),
        packet_bytes=said.get("MaximumPacketSize", Limits.packet_bytes),
        topic_alias=said.get("TopicAliasMaximum", 0),
    )


def connect_properties(session_expiry_s: int) -> Properties:
    """What we ask of the broker: bounds on what it sends, and for how long it keeps the session."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.ReceiveMaximum = WINDOW
    properties.MaximumPacketSize = RECEIVE_LIMIT_BYTES
    if session_expiry_s:
        properties.SessionExpiryInterval = session_expiry_s
    return properties


def disconnect_properties() -> Properties:
    """The broker is to forget the session at once."""
    properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 0
    return properties


def will_properties(delay_s: int) -> Properties | None:
    """The will waits for so long; None: not at all, which is the protocol's default."""
    if not delay_s:
        return None
    properties = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]
    properties.WillDelayInterval = delay_s
    return properties


def publish_properties(
    expiry_s: int, alias: int | None, correlation: bytes | None = None
) -> Properties | None:
    """The broker forgets the message after ``expiry_s`` (0: never); ``alias`` stands for the topic;
    ``correlation`` is handed on to who hears it.
    """
    if not expiry_s and alias is None and correlation is None:
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if expiry_s:
        properties.MessageExpiryInterval = expiry_s
    if alias is not None:
        properties.TopicAlias = alias
    if correlation is not None:
        properties.CorrelationData = correlation
    return properties


class Aliases:
    """Numbers that stand for topics in one session, as many as the broker grants, first come first served."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._numbers: dict[str, int] = {}

    def spell(self, topic: str) -> tuple[str, int | None]:
        """The topic as it goes into the packet, and its number; "" once the broker knows the number."""
        if (number := self._numbers.get(topic)) is not None:
            return "", number
        if len(self._numbers) >= self._limit:
            return topic, None
        number = self._numbers[topic] = len(self._numbers) + 1
        return topic, number
