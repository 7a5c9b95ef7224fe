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
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0
        self._reading = False
        self._awaited: dict[int, str] = {}
        self._abandoned: set[int] = set()
        self._arrived: dict[int, Message] = {}
        self._error: WorkerError | None = None

    @property
    def error(self) -> WorkerError | None:
        """Why nothing more will arrive; None while it may."""
        return self._error and _copy(self._error)

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
            with self._lock:
                self._await_turn(request, end_s)
                message = self._arrived.pop(request, None)
                self._reading |= message is None
            if message is None:
                message = self._read(request, max(end_s - time.monotonic(), 0.0), read)
            if message is not None:
                return self._awaited.pop(request), message

    def abandon(self, request: int) -> None:
        """Nobody will take the answer to ``request``: it is thrown away, now or when it comes."""
        with self._lock:
            if self._arrived.pop(request, None) is None:
                self._abandoned.add(request)
            else:
                del self._awaited[request]

    def broken_by(self, error: WorkerError) -> WorkerError:
        """Nothing more will arrive; the first error told."""
        with self._lock:
            self._error = self._error or _copy(error)
            self._reading = False
            self._changed.notify_all()
            return _copy(self._error)

    def _await_turn(self, request: int, end_s: float) -> None:
        """Until the answer is there, or nobody else reads; the lock is held."""
        if self._reading:
            self._waiting += 1
            left_s = max(end_s - time.monotonic(), 0.0)
            done = self._changed.wait_for(lambda: not self._reading or request in self._arrived, left_s)
            self._waiting -= 1
            if not done:
                raise TimeoutError
        if self._error is not None and request not in self._arrived:
            raise _copy(self._error)

    def _read(self, request: int, timeout_s: float, read: Callable[[float], Message]) -> Message | None:
        """The next message where it is the answer to ``request``; another's is left for whom it is."""
        try:
            message = read(timeout_s)
        except WorkerError as error:
            raise self.broken_by(error) from None
        with self._lock:
            self._reading = False
            if self._waiting:
                self._changed.notify_all()
            if message.request == request:
                return message
            if message.request in self._abandoned:
                self._abandoned.remove(message.request)
                del self._awaited[message.request]
            else:
                self._arrived[message.request] = message
        return None


def _copy(error: WorkerError) -> WorkerError:
    """The same error, never raised: one that was holds every frame that it passed, and by them the worker,
    which would outlive its end, with the memory shared with it, until the garbage collector comes by.
    """
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    return copy
