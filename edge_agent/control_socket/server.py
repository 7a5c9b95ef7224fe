"""The agent's end of the control socket."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import selectors
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.clock import Clock
from edge_agent.control_socket.connection import Connection
from edge_agent.control_socket.listening import ListeningSocket
from edge_agent.control_socket.wire import Answer
from edge_agent.errors import AgentBusyError
from edge_agent.sealed import SealedFile

logger = logging.getLogger(__name__)

MAX_CLIENTS = 8
"""People and scripts on one machine; each may hold one request."""

PACE_S = 0.02
"""Between two requests, and between two clients let in: 50 a second leave the cameras undisturbed."""

IDLE_S = 30.0
"""A client that neither asks nor takes its answer is shown out."""

_TURN_S = 1.0
_CLOSE_S = 0.5


@dataclass(frozen=True)
class ControlRequest:
    """What a client asks. ``reply`` may be called from any thread and never blocks: any number of times with
    progress, then once with the last answer, without which the client waits. ``file`` came with the request
    and belongs to whoever answers.
    """

    verb: str
    arguments: Mapping[str, Any]
    file: SealedFile | None
    reply: Callable[[Answer], None]


class ControlServer:
    """Listens at ``path`` in a thread of its own, until it is closed.

    Each request is put into ``requests``, and ``wake`` called: a client can slow down nothing but itself.
    What goes wrong in the thread is in ``fault``.
    """

    def __init__(
        self,
        path: Path,
        requests: queue.SimpleQueue[ControlRequest],
        wake: Callable[[], None],
        clock: Clock,
    ) -> None:
        """Raises AnotherAgentError where one listens there, ControlError where the place cannot be had."""
        self._requests = requests
        self._wake = wake
        self._clock = clock
        self._listening = ListeningSocket(path)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._bell_lock = threading.Lock()
        self._answers: queue.SimpleQueue[tuple[Connection, Answer]] = queue.SimpleQueue()
        self._connections: set[Connection] = set()
        self._next_s = self._open_s = 0.0
        self._closed = False
        self.fault: str | None = None
        self._thread = threading.Thread(target=self._run, name="control-socket", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Show everybody out and remove the socket. Answers that come later are dropped."""
        self._closed = True
        self._ring()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        try:
            while not self._closed:
                self._turn()
            self._ring()
            self._turn()  # what was answered just before the end
        except Exception as error:  # the top of a thread
            logger.exception("the control socket ended")
            self.fault = f"the command line is not heard any more: {error!r}"
            self._wake()
        finally:
            self._end()

    def _turn(self) -> None:
        """Wait for something, and do it."""
        for source, events in self._wait():
            now_s = self._now_s()
            if source is self._listening:
                self._let_in(now_s)
            elif isinstance(source, Connection):
                if events & selectors.EVENT_READ:
                    source.receive(now_s)
                if events & selectors.EVENT_WRITE:
                    source.send(now_s)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        with contextlib.suppress(queue.Empty):
            while True:
                connection, answer = self._answers.get_nowait()
                connection.active_s = self._now_s()
                connection.answer(answer)
                connection.send(connection.active_s)  # at once: only a client that is slow misses progress
        self._pass_on()
        self._show_out()

    def _wait(self) -> list[tuple[object, int]]:
        """What is readable or writable now; at most until something else is due."""
        now_s = self._now_s()
        due_s = now_s + _TURN_S
        with selectors.PollSelector() as selector:
            selector.register(self._bell, selectors.EVENT_READ)
            if now_s >= self._open_s:
                selector.register(self._listening, selectors.EVENT_READ)
            else:
                due_s = self._open_s
            for each in self._connections:
                if each.is_ready:
                    due_s = min(due_s, self._next_s)
                if each.awaited:
                    selector.register(each, each.awaited)
            return [(key.fileobj, events) for key, events in selector.select(max(0.0, due_s - now_s))]

    def _let_in(self, now_s: float) -> None:
        self._open_s = now_s + PACE_S
        try:
            client, _ = self._listening.socket.accept()
        except OSError:
            return
        connection = Connection(client, now_s)
        if len(self._connections) >= MAX_CLIENTS:
            connection.refuse(AgentBusyError(f"{MAX_CLIENTS} clients are being served", "try again"))
            connection.send(now_s)
            connection.close()
            return
        self._connections.add(connection)

    def _pass_on(self) -> None:
        """Hand over the next request, if it is time for one: those that wait longest first."""
        waiting = [each for each in self._connections if each.is_ready]
        if not waiting or self._now_s() < self._next_s:
            return
        connection = min(waiting, key=lambda each: each.active_s)
        taken = connection.take_request()
        self._next_s = self._now_s() + PACE_S
        if taken is None:
            return
        request, file = taken
        logger.debug("asked for %s", request.verb)

        def reply(answer: Answer) -> None:
            self._answers.put((connection, answer))
            self._ring()

        self._requests.put(ControlRequest(request.verb, request.arguments, file, reply))
        self._wake()

    def _show_out(self) -> None:
        now_s = self._now_s()
        for connection in list(self._connections):
            idle = not connection.is_answering and now_s - connection.active_s > IDLE_S
            if connection.is_over or idle:
                connection.close()
                self._connections.discard(connection)

    def _ring(self) -> None:
        with self._bell_lock, contextlib.suppress(BlockingIOError):
            if self._bell >= 0:
                os.eventfd_write(self._bell, 1)

    def _end(self) -> None:
        self._listening.close()
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        with self._bell_lock:
            os.close(self._bell)
            self._bell = -1

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9
