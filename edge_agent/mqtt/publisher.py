"""Publishes from any thread, whatever the broker does; one thread of its own speaks with it."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Sequence

from edge_agent.clock import Clock
from edge_agent.mqtt import endings
from edge_agent.mqtt.backlog import Backlog, Outgoing
from edge_agent.mqtt.client import Unfinished
from edge_agent.mqtt.echo import Echo
from edge_agent.mqtt.endings import Cause, Ending
from edge_agent.mqtt.farewell import OFFLINE, Farewell
from edge_agent.mqtt.hearing import Hearing, Listener
from edge_agent.mqtt.leftovers import forget
from edge_agent.mqtt.namesake import Namesake
from edge_agent.mqtt.once import Once
from edge_agent.mqtt.receipts import Receipts
from edge_agent.mqtt.session import Received, Session, Will
from edge_agent.mqtt.settings import BrokerSettings, Pace, PublisherStatus
from edge_agent.mqtt.troubles import Troubles
from edge_agent.mqtt.versions import VersionChoice
from edge_agent.outbox import Outbox, OutboxSettings
from edge_agent.topics import Topics, check_topic

_log = logging.getLogger(__name__)

ONLINE = b"online"

DISK_S = 0.7
"""What the outbox has at the end to store the rest: a slow card needs a tenth of a second."""

_LEAVE_S = 0.2
"""What the thread has to end when its time is up; then it hangs in DNS or TCP, and is left behind."""


class Publisher:
    """One agent's voice on MQTT; used once.

    Retained messages are sent again after each connect, then ``online``; the will says ``offline``,
    and so does ``close``. What is published below the filters of the ``listeners`` is handed to them, on the
    thread of this class. With ``session``, the one that ``health`` tells, a second agent of our name is
    noticed. What must not be lost waits in the ``outbox``, which is started and closed with this one; left
    out: in memory.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        topics: Topics,
        clock: Clock,
        pace: Pace | None = None,
        listeners: Sequence[Listener] = (),
        session: str | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        self._settings = settings
        self._availability = topics.availability
        self._cameras = f"{topics.root}/camera/"
        self._client_id = settings.client_id or f"edge-agent-{topics.agent}"
        self._clock = clock
        self._pace = pace or Pace()
        limits = OutboxSettings(memory_rows=settings.queue_limit, memory_bytes=settings.queue_limit_bytes)
        self._outbox = outbox or Outbox(limits, clock)
        self._backlog = Backlog(settings.queue_limit, settings.queue_limit_bytes, self._outbox)
        self._version = VersionChoice(settings.protocol)
        self._troubles = Troubles(settings, self._pace, clock)
        self._health = topics.health
        self._namesake = Namesake(session or "")
        # Who hears no requests needs no right to read what the agents publish.
        reads = any(each.topic_filter == topics.request("#") for each in listeners)
        self._echo = Echo(self._pace.echo_s) if session is not None and reads else None
        own = [Listener(topics.health, self._hear_health, needed=False)] if session is not None else []
        self._hearing = Hearing([*listeners, *own], self._troubles, clock, self._pace.refused_s)
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        self._awake = False
        self._connected = threading.Event()
        self._closing = threading.Event()
        self._farewell_ns = 0
        self._again_ns = 0
        self._farewell = Farewell(self._availability, self._backlog)
        self._unfinished: Unfinished | None = None
        self._once = Once()
        self._receipts = Receipts(self._pace.receipt_s)
        self._connections = 0
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    def start(self) -> None:
        """Connect in the background, again and again until ``close``; returns at once."""
        self._outbox.start(self._rouse)
        self._thread.start()

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        live: bool = False,
        correlation: bytes | None = None,
    ) -> None:
        """Hand over one message; never waits for the broker.

        ``retain``: the latest per topic is sent now and after each connect; empty clears it.
        ``live``: worth nothing later, so dropped and counted while the broker is away, and the first to
        go when the queue is full. Neither: must not be lost, and waits in the outbox.
        ``correlation``: what the one who asked wants back with the answer (MQTT 5), which is ``live``.

        Raises:
            ConfigError: nothing may be published to this topic.
        """
        self._backlog.put(Outgoing(check_topic(topic), payload, retain, live, correlation=correlation))
        self._rouse()

    def resend(self) -> None:
        """Publish again what is retained, as after a connect; never waits for the broker."""
        self._backlog.resend(self._availability)
        self._rouse()

    def _rouse(self) -> None:
        if not self._awake:
            self._awake = True
            with contextlib.suppress(OSError):  # full: it will wake anyway; closed: nobody is left to wake
                self._wake.send(b"\0")

    def status(self) -> PublisherStatus:
        """How it stands."""
        tally = self._backlog.tally()
        return PublisherStatus(
            connected=self._connected.is_set(),
            protocol=self._version.worked,
            queued=tally.waiting + tally.in_flight,
            sent=tally.sent,
            dropped=tally.dropped,
            reconnects=max(0, self._connections - 1),
            fault=self._troubles.fault,
        )

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until the broker has accepted us."""
        return self._connected.wait(timeout_s)

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until a message that is not live can be handed over without a loss.

        A tenth of the queue is kept free, so several threads may wait and then publish one each.
        """
        return self._backlog.wait_for_room(timeout_s)

    def drain(self, timeout_s: float) -> bool:
        """Wait until the broker has acknowledged everything (QoS 0: until it is written); what waited is sent
        as fast as it goes meanwhile.
        """
        self._outbox.hurry(on=True)
        try:
            self._rouse()
            return self._backlog.wait_empty(timeout_s)
        finally:
            self._outbox.hurry(on=False)

    def close(self, timeout_s: float = 5.0) -> None:
        """Send what waits, say ``offline``, and disconnect; within about ``timeout_s``, done or not. A disk
        that hangs takes up to ``DISK_S`` more.

        What must not be lost and is not acknowledged stays in the outbox, for the next start.
        """
        self._farewell_ns = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        self._closing.set()
        self._backlog.close()
        if self._thread.ident is None:
            self._close_sockets()
        else:
            self._rouse()
            self._thread.join(timeout_s + _LEAVE_S)
            if self._thread.is_alive():
                _log.debug("the MQTT thread is still waiting for the network; it is left behind")
        self._outbox.close(DISK_S)

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                ending = self._one_session()
                again_at_once = self._version.ended(ending.cause)
                if ending.cause is not Cause.CLOSED and not again_at_once:
                    self._closing.wait(self._troubles.ended(ending))
        finally:
            self._backlog.give_up()
            self._close_sockets()

    def _one_session(self) -> Ending:
        """Connect, publish until it ends, and say why it ended."""
        session = None
        if self._troubles.may_share_id:
            self._unfinished = None  # the broker's session may be the other one's
        try:
            session = self._session()
            ending = self._open(session)
            if session.left_over:
                session.close()
                forget(
                    self._settings, self._client_id, self._clock, self._pace.connack_s, self._closing.is_set
                )
                session = self._session()
                ending = self._open(session)
            if ending is None:
                self._begin(session)
                ending = self._serve(session)
        except Exception as error:  # the top of a thread; what paho may raise on garbage is not documented
            _log.debug("the MQTT session failed", exc_info=True)
            ending = endings.fault_of(self._settings, error)
        finally:
            self._connected.clear()
            if session is not None:
                self._end(session)
            self._backlog.disconnected(self._unfinished.numbers if self._unfinished else ())
        if ending.cause is Cause.BROKEN:
            self._unfinished = None  # with the session the broker would send the same again, without end
        return ending

    def _session(self) -> Session:
        version = self._version.current
        keep = version == "5" or (self._once.is_to_be_had and not self._troubles.may_share_id)
        will = Will(self._availability, OFFLINE)
        return Session(self._settings, version, self._client_id, will, self._unfinished, keep=keep)

    def _open(self, session: Session) -> Ending | None:
        return session.open(self._clock, self._version.patience_s(self._pace), self._closing.is_set)

    def _end(self, session: Session) -> None:
        session.close(politely=self._farewell.is_heard)  # otherwise the will speaks for us
        self._unfinished = session.unfinished
        if self._once.ended():
            _log.info("the broker takes no QoS 2: what was on its way when a connection ends may come twice")
        if self._farewell.is_heard and session.outlives:
            left_s = max(0.0, (self._farewell_ns - self._clock.monotonic_ns()) / 1e9)
            self._forget(left_s, lambda: False)

    def _forget(self, timeout_s: float, cancelled: Callable[[], bool]) -> None:
        forget(self._settings, self._client_id, self._clock, timeout_s, cancelled)

    def _begin(self, session: Session) -> None:
        self._version.accepted()
        self._connections += 1
        online = Outgoing(self._availability, ONLINE, retain=True, live=False)
        self._backlog.connected(online, resumed=session.resumed)
        self._troubles.began(self._version.current)
        self._connected.set()
        self._receipts.forget()
        if session.resumed and session.unfinished is not None and session.unfinished.messages:
            self._awaits_once(session)
        self._hearing.begin(session)
        if self._echo is not None:
            self._echo.forget()

    def _hear_health(self, health: Received) -> None:
        if self._namesake.is_alive(health.payload):
            self._troubles.met_namesake()
        if self._echo is not None and not health.retained:
            self._echo.heard()

    def _serve(self, session: Session) -> Ending:
        while True:
            self._feed(session)
            ending = session.turn(wake=self._woken)
            self._settle(session)
            self._hearing.turn(session)
            self._listen_for_echo()
            self._try_again()
            if ending is not None:
                return ending
            self._troubles.lasted()
            if self._receipts.are_missing(self._backlog.oldest_in_flight, self._clock.monotonic_ns()):
                return endings.no_receipts(self._settings, self._pace.receipt_s)
            left_ns = self._farewell_ns - self._clock.monotonic_ns()
            if self._closing.is_set() and self._farewell.done(left_ns):
                return endings.closed(self._settings)

    def _feed(self, session: Session) -> None:
        """Hand paho what fits into the window, and no more before that has left."""
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(64)
        self._awake = False  # before looking: whoever publishes from here on wakes us again
        while session.writable and self._backlog.in_flight < session.limits.window:
            # With 3.1.1 a broker cannot say how many of QoS 2 it takes at once: mosquitto acknowledges those
            # beyond its max_inflight_messages, and loses them.
            if (message := self._backlog.take(one_kept=session.outlives)) is None:
                return
            if self._echo is not None and message.topic == self._health:
                self._echo.begun()
            qos = self._qos(message, session)
            ticket = session.send(
                message.topic,
                message.payload,
                qos=qos,
                retain=message.retain,
                live=message.live,
                often=message.live and message.topic.startswith(self._cameras),
                correlation=message.correlation,
            )
            self._backlog.handed(ticket, message)
            if message.kept is not None and qos == 2:
                self._awaits_once(session)
            self._settle(session)

    def _qos(self, message: Outgoing, session: Session) -> int:
        """What must not be lost is to arrive once, where the broker helps."""
        if message.kept is not None and session.is_kept:
            return 2
        return max(1, self._settings.qos) if message.topic == self._availability else self._settings.qos

    def _awaits_once(self, session: Session) -> None:
        if session.outlives:  # with MQTT 5 the broker says what it takes
            self._once.sent()

    def _settle(self, session: Session) -> None:
        while session.settled:
            settled = session.settled.popleft()
            taken, for_good = settled.refused is None, settled.for_good
            message = self._backlog.settle(settled.ticket, taken=taken, for_good=for_good)
            if message is not None:
                if message.kept is not None and session.outlives and taken:
                    self._once.answered()
                self._troubles.settled(message.topic, settled.refused)
                if self._echo is not None and message.topic == self._health and settled.refused is None:
                    self._echo.said(self._clock.monotonic_ns())

    def _listen_for_echo(self) -> None:
        if self._echo is not None:
            missing = self._echo.is_missing(self._clock.monotonic_ns())
            if self._troubles.echo(self._health, missing=missing):
                self._backlog.resend(self._availability)  # the rest was thrown away in silence, too

    def _try_again(self) -> None:
        """What the broker refused, from time to time: its access list may have been mended."""
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._again_ns:
            self._again_ns = now_ns + int(self._pace.refused_s * 1e9)
            self._backlog.try_again()

    def _close_sockets(self) -> None:
        self._woken.close()
        self._wake.close()
