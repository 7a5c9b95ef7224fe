"""One connection to the broker: opened, used and closed once (owns paho).

paho is given no thread of its own and no more than one window of messages: its own queue has no
bound by default, and with one (``max_queued_messages``) it leaves out messages with nothing but a
return code.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.clock import Clock
from edge_agent.errors import BrokerError
from edge_agent.mqtt import endings, packets, tls
from edge_agent.mqtt.client import BoundedClient, Unfinished
from edge_agent.mqtt.endings import Ending
from edge_agent.mqtt.packets import Aliases, Limits
from edge_agent.mqtt.settings import BrokerSettings, ProtocolVersion

_TURN_S = 0.5
"""How often at least paho looks at its keepalive."""


@dataclass(frozen=True)
class Will:
    """What the broker publishes, retained, when we vanish."""

    topic: str
    payload: bytes


@dataclass(frozen=True)
class Settled:
    """The broker's word on one message: ``refused`` says why it was not taken."""

    ticket: int
    refused: str | None

    @property
    def for_good(self) -> bool:
        """It is of no use to send it again."""
        return self.refused in endings.FOR_GOOD


@dataclass(frozen=True)
class Received:
    """A message that came in; with MQTT 5 perhaps where an answer is wanted, and what is to come with it."""

    topic: str
    payload: bytes
    retained: bool
    response_topic: str | None = None
    correlation: bytes | None = None


class Session:
    """One connection; every method is called from one thread, and a new connection takes a new Session.

    Who has a ``will``, and does ``keep``, has the broker keep what of QoS 2 is begun, where it can
    (``is_kept``): what the connection before this one left, ``unfinished``, goes on then, if the broker still
    knows it (``resumed``). None: there was none; what the broker of 3.1.1 knows all the same is ``left_over``
    by another process, and nothing can be begun with it. What this one leaves is there when it is closed.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        protocol: ProtocolVersion,
        client_id: str,
        will: Will | None = None,
        unfinished: Unfinished | None = None,
        *,
        keep: bool = True,
    ) -> None:
        self.limits = Limits()
        self.unfinished = unfinished
        self.resumed = False
        self.left_over = False
        self.settled: deque[Settled] = deque()
        self.received: deque[Received] = deque()
        self.subscribed: deque[tuple[int, bool]] = deque()
        self._settings = settings
        self._protocol = protocol
        self._ending: Ending | None = None
        self._accepted = False
        self._refusals = 0
        self._is_v5 = protocol == "5"
        self._aliases = Aliases(0)
        # A session that outlives its connection is what holds a will back. One that another process began is
        # none of which the open messages are known: with such a will there is nothing to go on with.
        will_delay_s = settings.will_delay_s if will is not None and self._is_v5 else 0
        self.is_kept = keep and will is not None and settings.qos > 0 and not will_delay_s
        self._session_expiry_s = packets.KEPT_S if self.is_kept else will_delay_s
        self._clean_start = not will_delay_s and (unfinished is None or not self.is_kept)
        self._client = BoundedClient(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if self._is_v5 else not self.is_kept,
            protocol=paho.MQTTv5 if self._is_v5 else paho.MQTTv311,
            reconnect_on_failure=False,
        )
        self._client.max_inflight_messages_set(0)  # the window is ours
        if settings.username is not None:
            self._client.username_pw_set(settings.username, settings.password)
        if will is not None:
            delay = packets.will_properties(will_delay_s)
            self._client.will_set(will.topic, will.payload, qos=1, retain=True, properties=delay)
        if unfinished is not None and self.is_kept:
            self._client.take_up(unfinished)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe

    def open(self, clock: Clock, timeout_s: float, cancelled: Callable[[], bool]) -> Ending | None:
        """Connect and wait up to ``timeout_s`` for the broker's yes.

        None: accepted. Blocks beyond that in DNS, and up to 5 s per address in TCP.
        """
        if (ending := self._dial()) is not None:
            return ending
        deadline_ns = clock.monotonic_ns() + int(timeout_s * 1e9)
        while not self._accepted:
            if (ending := self.turn(_TURN_S)) is not None:
                return ending
            if cancelled():
                return endings.closed(self._settings)
            if clock.monotonic_ns() >= deadline_ns and not self._accepted:
                return endings.no_answer(self._settings, timeout_s)
        return None

    def _dial(self) -> Ending | None:
        if self._settings.tls is not None:
            try:
                self._client.tls_set_context(tls.context(self._settings.tls))
            except OSError as error:  # ssl.SSLError is one
                return endings.unreadable_tls_files(self._settings, error)
        asked: dict[str, Any] = {}
        if self._is_v5:
            asked["properties"] = packets.connect_properties(self._session_expiry_s)
            asked["clean_start"] = self._clean_start
        try:
            self._client.connect(
                self._settings.host, self._settings.port, self._settings.keepalive_s, **asked
            )
        except (OSError, ValueError) as error:  # UnicodeError, from a host that is no name, is a ValueError
            return endings.unreachable(self._settings, error)
        return None

    def turn(self, timeout_s: float = _TURN_S, wake: socket.socket | None = None) -> Ending | None:
        """Read and write what can be; wait up to ``timeout_s`` for something to do, or for ``wake``."""
        connection = self._client.socket()
        if connection is None or self._ending is not None:
            return self._ending or endings.fault_of(self._settings, BrokerError("it has no socket"))
        poller = select.poll()
        poller.register(connection, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        if wake is not None:
            poller.register(wake, select.POLLIN)
        buffered = isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
        number = connection.fileno()
        ready = dict(poller.poll(0 if buffered else timeout_s * 1000)).get(number, 0)
        if buffered or ready & ~select.POLLOUT:
            self._client.loop_read()
        if ready & select.POLLOUT:
            self._client.loop_write()
        self._client.loop_misc()
        if self._ending is None and self._client.holds_unasked:
            self._ending = endings.unasked(self._settings)
        return self._ending

    @property
    def outlives(self) -> bool:
        """It stays at the broker until another connection ends it: kept, and of 3.1.1."""
        return self.is_kept and not self._is_v5

    @property
    def writable(self) -> bool:
        """Everything handed over so far has left for the broker."""
        return self._ending is None and not self._client.want_write()

    def send(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        retain: bool,
        live: bool = False,
        often: bool = False,
        correlation: bytes | None = None,
    ) -> int:
        """Hand one message over; its ticket comes back in ``settled`` (QoS 0: when it is written).

        With MQTT 5 a ``live`` one may expire at the broker, and a topic that comes ``often`` goes by a number
        while there are some, but with QoS 2: the next connection, which may go on with it, knows no numbers.
        ``correlation`` goes with it.
        """
        size = len(topic.encode()) + len(payload) + len(correlation or b"") + packets.OVERHEAD_BYTES
        if size > self.limits.packet_bytes:
            return self._refuse(endings.TOO_LARGE)
        qos = min(qos, self.limits.qos)
        properties = None
        if self._is_v5:
            expiry_s = self._settings.live_expiry_s if live else 0
            topic, alias = self._aliases.spell(topic) if often and qos < 2 else (topic, None)
            properties = packets.publish_properties(expiry_s, alias, correlation)
        handed = self._client.publish(topic, payload, qos, retain and self.limits.retain, properties)
        if handed.rc == paho.MQTT_ERR_QUEUE_SIZE:
            return self._refuse("paho had no number left for it")
        return handed.mid

    def _refuse(self, why: str) -> int:
        self._refusals += 1
        self.settled.append(Settled(-self._refusals, why))  # paho's numbers are positive
        return -self._refusals

    def subscribe(self, topic_filter: str) -> int:
        """Ask for messages; (ticket, granted) comes back in ``subscribed``.

        In a session that is kept with QoS 0, so that the broker keeps none for us: what was asked an hour ago
        is no more to be done.
        """
        _, ticket = self._client.subscribe(topic_filter, qos=0 if self.is_kept else 1)
        return ticket or 0

    def close(self, *, politely: bool = True) -> None:
        """Disconnect; ``politely``: the broker leaves the will unsaid, and with MQTT 5 forgets what it
        keeps for us.
        """
        if self._ending is None:
            self._ending = endings.closed(self._settings)
        if self._accepted:
            self.unfinished = self._client.unfinished if self.is_kept else None
        if politely:
            # Written at once: paho has no thread.
            ends_it = self.is_kept and not self.outlives
            self._client.disconnect(properties=packets.disconnect_properties() if ends_it else None)
        connection = self._client.socket()
        if connection is not None:
            connection.close()

    def _on_connect(
        self,
        _client: paho.Client,
        _userdata: Any,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._ending = endings.refused(self._settings, reason)
        elif flags.session_present and self.is_kept and self.unfinished is None:
            self.left_over = True
            self._ending = endings.left_over(self._settings)
        else:
            self.limits = packets.limits(properties)
            self._aliases = Aliases(self.limits.topic_alias)
            self._accepted = True
            self.resumed = self.is_kept and flags.session_present
            if not self.resumed:
                self._client.drop_out_messages()  # before paho sends them again

    def _on_disconnect(
        self,
        _client: paho.Client,
        _userdata: Any,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Any,
    ) -> None:
        if self._ending is not None:
            return
        if self._client.oversized_bytes:
            self._ending = endings.oversized(self._settings, self._client.oversized_bytes)
        elif self._client.tls_alert is not None:
            self._ending = endings.tls_ended(self._settings, self._client.tls_alert, accepted=self._accepted)
        else:
            self._ending = endings.ended(
                self._settings,
                reason,
                accepted=self._accepted,
                from_broker=flags.is_disconnect_packet_from_server,
            )

    def _on_publish(
        self, _client: paho.Client, _userdata: Any, mid: int, reason: ReasonCode, _properties: Any
    ) -> None:
        # The broker had ended a message of the connection before: it does not know its number any more.
        refused = reason.is_failure and reason.getName() != "Packet identifier not found"
        self.settled.append(Settled(mid, reason.getName() if refused else None))

    def _on_message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        # With MQTT 3.1.1 there are no properties.
        said: dict[str, Any] = vars(message.properties) if message.properties is not None else {}
        self.received.append(
            Received(
                topic,
                bytes(message.payload),
                message.retain,
                said.get("ResponseTopic"),
                said.get("CorrelationData"),
            )
        )

    def _on_subscribe(
        self, _client: paho.Client, _userdata: Any, mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        self.subscribed.append((mid, not any(each.is_failure for each in reasons)))
