"""Requests that a worker has not answered yet, and the threads that wait for the answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from edge_agent.errors import WorkerError
from edge_agent.worker.protocol import Message


class Answers:
    """Whoever waits while nobody reads, reads, and leaves what is not his for the others.

    The first error is everybody's.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._awaited: dict[int, str] = {}
        self._abandoned: set[int] = set()
        self._arrived: dict[int, Message] = {}
        self._reading = False
        self._error: WorkerError | None = None

    @property
    def error(self) -> WorkerError | None:
        """Why nothing more will arrive; None while it may."""
        return self._error

    def expect(self, request: int, network: str) -> None:
        """A request is about to be sent."""
        self._awaited[request] = network

    def awaits(self, request: int) -> bool:
        """Whether this was asked and not answered."""
        return request in self._awaited and request not in self._arrived

    def take(self, request: int, timeout_s: float, read: Callable[[float], Message]) -> tuple[str, Message]:
        """The network and the answer of ``request``; ``read`` waits, so many seconds, for the next of any.

        Raises what ``read`` raised, whoever called it; TimeoutError where another thread reads still.
        """
        end_s = time.monotonic() + timeout_s
        while True:
            left_s = max(end_s - time.monotonic(), 0.0)
            with self._changed:
                self._changed.wait_for(lambda: self._is_over(request) or not self._reading, left_s)
                if request in self._arrived:
                    return self._awaited.pop(request), self._arrived.pop(request)
                if self._error is not None:
                    raise self._error
                if self._reading:
                    raise TimeoutError
                self._reading = True
            self._read(read, max(end_s - time.monotonic(), 0.0))

    def abandon(self, request: int) -> None:
        """Nobody will take the answer to ``request``: it is thrown away, now or when it comes."""
        with self._changed:
            self._abandoned.add(request)
            self._throw_away(request)

    def broken_by(self, error: WorkerError) -> WorkerError:
        """Nothing more will arrive; the first error told."""
        with self._changed:
            self._error = self._error or error
            self._reading = False
            self._changed.notify_all()
            return self._error

    def _is_over(self, request: int) -> bool:
        return request in self._arrived or self._error is not None

    def _read(self, read: Callable[[float], Message], timeout_s: float) -> None:
        try:
            message = read(timeout_s)
        except WorkerError as error:
            raise self.broken_by(error) from None
        with self._changed:
            self._arrived[message.request] = message
            self._reading = False
            self._throw_away(message.request)
            self._changed.notify_all()

    def _throw_away(self, request: int) -> None:
        if request in self._abandoned and self._arrived.pop(request, None) is not None:
            self._abandoned.remove(request)
            del self._awaited[request]
