"""A network between an agent and its broker that can be cut, slowed, and lose what it carries."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Self

from tests.brokers import HOST, PATIENCE_S


class Sight(NamedTuple):
    """What went by on a connection: a CONNECT, a PUBLISH with its payload, its receipt (PUBACK, PUBREC)."""

    connection: int
    kind: str
    payload: bytes
    at_ns: int


class Proxy:
    """Stands before a broker on a port of its own; used from one thread, but for ``seen``.

    ``delay_s`` holds every chunk up; ``swallows``: what is sent goes nowhere, in both directions, while the
    connections stay; ``closed``: nobody gets through. ``seen`` are the publications of those behind it and
    the broker's receipts for them, in their order.
    """

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.delay_s = 0.0
        self.swallows = False
        self.closed = False
        self.seen: list[Sight] = []
        self._tearing = threading.Event()
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._ended: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._connections = 0

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for each in (self._listener, *self._ended):
            each.close()

    def cut(self) -> None:
        """End every connection; new ones are welcome unless it is ``closed``."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
            self._ended += sockets
        for each in sockets:
            _hang_up(each)

    def tear(self) -> None:
        """The next chunk is passed on in half; then everything is cut."""
        self._tearing.set()

    def _begin(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self.closed:
                    raise ConnectionRefusedError
                broker = socket.create_connection((HOST, self._behind))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets += [client, broker]
            self._connections += 1
            tap = _Tap(self._connections, self.seen)
            self._begin(self._pump, client, broker, tap.sent)
            self._begin(self._pump, broker, client, tap.answered)

    def _pump(self, source: socket.socket, sink: socket.socket, look: Callable[[bytes], None]) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                if self.delay_s:
                    time.sleep(self.delay_s)
                if self.swallows:
                    continue
                if source in self._ended:  # the kernel still had it: what came before it was swallowed
                    break
                if self._tearing.is_set():
                    self._tearing.clear()
                    sink.sendall(chunk[: len(chunk) // 2])
                    self.cut()
                    break
                look(chunk)
                sink.sendall(chunk)
        _hang_up(source)
        _hang_up(sink)


class _Tap:
    """Reads along on one connection, MQTT 5 or 3.1.1."""

    def __init__(self, connection: int, seen: list[Sight]) -> None:
        self._connection = connection
        self._seen = seen
        self._up = bytearray()
        self._down = bytearray()
        self._level = 5
        self._payloads: dict[int, bytes] = {}

    def sent(self, chunk: bytes) -> None:
        """From the client."""
        self._up += chunk
        while (packet := _packet(self._up)) is not None:
            kind, body = packet
            if kind >> 4 == 1:
                self._level = body[6]
                self._see("connect", b"")
            elif kind >> 4 == 3 and kind & 6:
                self._publish(body)

    def _publish(self, body: bytes) -> None:
        after = 2 + int.from_bytes(body[:2], "big")
        number, after = int.from_bytes(body[after : after + 2], "big"), after + 2
        if self._level == 5:
            size, read = _length(body, after)
            after += read + size
        self._payloads[number] = body[after:]
        self._see("publish", body[after:])

    def answered(self, chunk: bytes) -> None:
        """From the broker."""
        self._down += chunk
        while (packet := _packet(self._down)) is not None:
            kind, body = packet
            if kind >> 4 in (4, 5):  # PUBACK, or PUBREC, with which it has a message of QoS 2
                payload = self._payloads.get(int.from_bytes(body[:2], "big"), b"")
                self._see("receipt", payload)

    def _see(self, kind: str, payload: bytes) -> None:
        self._seen.append(Sight(self._connection, kind, payload, time.monotonic_ns()))


def _packet(buffer: bytearray) -> tuple[int, bytes] | None:
    """The first whole packet, taken out: its first byte and what is behind the length."""
    if len(buffer) < 2:
        return None
    try:
        size, read = _length(buffer, 1)
    except IndexError:
        return None
    end = 1 + read + size
    if len(buffer) < end:
        return None
    packet = buffer[0], bytes(buffer[1 + read : end])
    del buffer[:end]
    return packet


def _length(buffer: bytes | bytearray, at: int) -> tuple[int, int]:
    """A variable byte integer, and how many bytes it takes."""
    size = read = 0
    while True:
        byte = buffer[at + read]
        size |= (byte & 127) << (7 * read)
        read += 1
        if not byte & 128:
            return size, read


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
