"""An MQTT broker inside this process, so that a demonstration needs no other program (owns amqtt).

It speaks MQTT 3.1.1 on 127.0.0.1, lets everyone in and keeps nothing: not for production.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import threading
import warnings
from collections.abc import Callable
from typing import Any, Self

from edge_agent.errors import BrokerError, EdgeAgentError

_log = logging.getLogger(__name__)

HOST = "127.0.0.1"
DEFAULT_PORT = 1883
PORTS_TRIED = 20
"""How many ports are tried, counted from the wanted one; a machine with more brokers has a problem."""

_START_TIMEOUT_S = 10.0
_FAREWELL_S = 0.5
"""How long clients may take to be told goodbye; amqtt alone would wait for the slowest of them."""

_CONFIG: dict[str, Any] = {
    # "external": the sockets are ours, so a port is taken without a race and no connection outlives close().
    "listeners": {"default": {"type": "external"}},
    # Named in full, for amqtt's own defaults add $SYS topics and log every packet.
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
}


class EmbeddedBroker:
    """An amqtt broker with an event loop in a thread of its own; used once, also as a context manager."""

    def __init__(self, port: int = DEFAULT_PORT) -> None:
        """``port``: the first port to try; 0 takes any free one."""
        self.port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._fault: Exception | None = None
        self._thread: threading.Thread | None = None
        self._connections: dict[asyncio.Future[None], asyncio.StreamWriter] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> int:
        """Listen, and give the port.

        Raises:
            EdgeAgentError: amqtt is not installed.
            BrokerError: no port was free, or the broker did not start.
        """
        _require_amqtt()
        listener = _listen(self.port)
        self.port = listener.getsockname()[1]
        self._thread = threading.Thread(
            target=self._run, args=(listener,), name="embedded-broker", daemon=True
        )
        self._thread.start()
        if not self._ready.wait(_START_TIMEOUT_S) or self._fault is not None:
            raise BrokerError(
                f"the embedded broker did not start: {self._fault or 'it gave no sign of life'}"
            )
        return self.port

    def close(self, timeout_s: float = 1.0) -> bool:
        """Say goodbye to every client and end the thread; True when it has ended."""
        if self._thread is None:
            return True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self, listener: socket.socket) -> None:
        with listener:
            try:
                asyncio.run(self._serve(listener))
            except Exception as fault:
                self._fault = fault
            finally:
                self._ready.set()

    async def _serve(self, listener: socket.socket) -> None:
        from amqtt.broker import Broker

        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_note)  # a client that vanishes mid-packet is no fault of ours
        broker = Broker(_CONFIG)
        _retained_for_subscribers_only(broker)
        await broker.start()
        server = await asyncio.start_server(self._client_of(broker), sock=listener)
        self._ready.set()
        await self._stop.wait()
        self._loop.remove_reader(listener)
        await _settle()
        server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await broker.shutdown()
        for connection in tuple(self._connections.values()):
            connection.transport.abort()
        await _settle()

    def _client_of(self, broker: Any) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await broker.external_connected(
                StreamReaderAdapter(reader), StreamWriterAdapter(writer), "default"
            )

        # No coroutine: one that has not begun when the broker closes would leave its connection open.
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(serve(reader, writer))
            self._connections[task] = writer
            task.add_done_callback(self._forget)

        return connected

    def _forget(self, task: asyncio.Future[None]) -> None:
        self._connections.pop(task).close()
        if not task.cancelled() and (fault := task.exception()) is not None:
            _log.debug("embedded broker: a client ended with %r", fault)


def _require_amqtt() -> None:
    """Import amqtt, silenced: it logs each closed connection as an error and warns of its own future."""
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import amqtt.adapters
            import amqtt.broker
            import amqtt.plugins.authentication  # noqa: F401  named in _CONFIG, loaded by amqtt later
    except ImportError as error:
        raise EdgeAgentError(
            f"the demo's own broker needs the package amqtt ({error})", "pip install amqtt"
        ) from error


async def _settle() -> None:
    """Let the loop finish what it has begun.

    A connection takes three turns from its acceptance to its first callback, and asyncio forgets to
    close it when its server is closed between them.
    """
    for _turn in range(3):
        await asyncio.sleep(0)


def _listen(wanted: int) -> socket.socket:
    """A listening socket on ``wanted`` or the next free port."""
    last = wanted if wanted == 0 else min(wanted + PORTS_TRIED - 1, 65535)
    for port in range(wanted, last + 1):
        try:
            return socket.create_server((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise BrokerError(
                    f"cannot listen on {HOST}:{port}: {error.strerror}", "try --port 1883"
                ) from error
    raise BrokerError(
        f"ports {wanted} to {last} on {HOST} are all taken", "free one, or name another with --port"
    )


def _note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    logging.getLogger(__name__).debug(
        "embedded broker: %s", context.get("exception") or context.get("message")
    )


def _retained_for_subscribers_only(broker: Any) -> None:
    """Amqtt sends who connects the retained messages of every filter that anyone subscribed to; not here."""
    publish_retained = broker._publish_retained_messages_for_subscription

    async def for_subscriber(subscription: tuple[str, int], session: Any) -> None:
        subscribers = broker._subscriptions.get(subscription[0], ())
        if any(each.client_id == session.client_id for each, _ in subscribers):
            await publish_retained(subscription, session)

    broker._publish_retained_messages_for_subscription = for_subscriber
