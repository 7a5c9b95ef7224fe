"""What is asked of the daemon from outside, and what its main loop waits on."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Protocol


class HasFileno(Protocol):
    """Something select() can wait for."""

    def fileno(self) -> int:
        """Its file descriptor."""
        ...


class Control:
    """Signals, queued; and a bell that ends the main loop's wait.

    SIGTERM and SIGINT ask for the end, SIGHUP for the configuration to be read again.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self) -> None:
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closed = False
        self._told_to_end = False
        # SimpleQueue.put is reentrant: a handler may interrupt a put of its own thread.
        self._signals: queue.SimpleQueue[signal.Signals] = queue.SimpleQueue()

    @contextlib.contextmanager
    def signals_queued(self) -> Iterator[None]:
        """Take the signals over, and give them back at the end. Main thread only."""
        before = {number: signal.signal(number, self._enqueue) for number in self.SIGNALS}
        # Whoever started us may have blocked them, and a mask is inherited.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.SIGNALS)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _enqueue(self, number: int, _frame: FrameType | None) -> None:
        self._told_to_end |= number != signal.SIGHUP
        self._signals.put(signal.Signals(number))
        self.ring()

    @property
    def told_to_end(self) -> bool:
        """Whether SIGTERM or SIGINT came, be it taken from the queue or not."""
        return self._told_to_end

    def ring(self) -> None:
        """End the wait; may be called from any thread and from a signal handler."""
        # BlockingIOError: the counter is full, so the bell is ringing already.
        with contextlib.suppress(BlockingIOError):
            if not self._closed:
                os.eventfd_write(self._bell, 1)

    def wait(self, timeout_s: float, also: Iterable[HasFileno] = ()) -> None:
        """Until the bell rings, one of ``also`` is readable, or the time is up."""
        waited_for: list[int | HasFileno] = [self._bell, *also]
        select.select(waited_for, [], [], timeout_s)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)

    def requests(self) -> Iterator[signal.Signals]:
        """The signals that came since the last call."""
        while not self._signals.empty():
            yield self._signals.get()

    def close(self) -> None:
        """Give the bell back; a thread that is left behind may still ring, and nobody hears it."""
        self._closed = True
        os.close(self._bell)
