"""paho's client, with what it lacks: bounds on what comes in, QoS 2 over several connections (owns paho)."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.enums import MessageState, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

RECEIVE_LIMIT_BYTES = 1 << 20
"""Of one packet that comes in: sixteen times the largest request that is answered. MQTT allows 256 MiB."""


_HAS_IT = (MessageState.MQTT_MS_WAIT_FOR_PUBCOMP, MessageState.MQTT_MS_RESEND_PUBREL)


@dataclass(frozen=True)
class Unfinished:
    """What a connection left of QoS 2, in its order: each message, whether the broker said that it has it;
    and the last number that was given to one.
    """

    messages: tuple[tuple[paho.MQTTMessage, bool], ...] = ()
    last_number: int = 0

    @property
    def numbers(self) -> frozenset[int]:
        """Those of the messages."""
        return frozenset(message.mid for message, _ in self.messages)


class BoundedClient(paho.Client):
    """Gives up on a packet that is too large before it is read, and remembers what TLS said at the end.

    paho asks its socket for the whole rest of a packet as soon as it knows the length, and has no limit of
    its own; of an alert that ends TLS it tells no more than that the connection is lost.
    """

    oversized_bytes = 0
    tls_alert: ssl.SSLError | None = None

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > RECEIVE_LIMIT_BYTES:
            self.oversized_bytes = bufsize
            raise ConnectionAbortedError("larger than we take")
        try:
            return super()._sock_recv(bufsize)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            raise  # the connection ended, and TLS with it
        except ssl.SSLError as error:
            self.tls_alert = error
            raise

    def _sock_send(self, buf: bytes | bytearray) -> int:
        try:
            return super()._sock_send(buf)
        except BlockingIOError:
            raise
        except OSError:
            # With TLS 1.3 our CONNECT crosses the alert that refuses our certificate.
            with contextlib.suppress(OSError):
                self._sock_recv(1)
            raise

    def take_up(self, unfinished: Unfinished) -> None:
        """Before it connects, without a clean start: what the last connection began is ended on this one."""
        self._last_mid = unfinished.last_number
        for message, is_there in unfinished.messages:
            there, away = MessageState.MQTT_MS_WAIT_FOR_PUBCOMP, MessageState.MQTT_MS_WAIT_FOR_PUBREC
            message.state = there if is_there else away
            self._out_messages[message.mid] = message

    @property
    def unfinished(self) -> Unfinished:
        """What is begun."""
        begun = [each for each in self._out_messages.values() if each.qos == 2]
        return Unfinished(tuple((each, each.state in _HAS_IT) for each in begun), self._last_mid)

    def _handle_pubrec(self) -> MQTTErrorCode:
        """The broker has a message, or refuses it, which MQTT 5 allows here and paho takes for a yes."""
        packet = self._in_packet["packet"]
        number = int.from_bytes(packet[:2], "big")
        if self._protocol != paho.MQTTv5 or len(packet) < 3 or packet[2] < 0x80:
            return super()._handle_pubrec()
        if number not in self._out_messages:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        reason = ReasonCode(PacketTypes.PUBREC, identifier=packet[2])
        return self._do_on_publish(number, reason, Properties(PacketTypes.PUBREC))  # type: ignore[no-untyped-call]

    @property
    def holds_unasked(self) -> bool:
        """There are messages of QoS 2, kept until they are released; we never ask for more than QoS 1."""
        return bool(self._in_messages)
