"""Slow work beside a loop that must not wait."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from edge_agent.errors import EdgeAgentError

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Beside:
    """Runs work in threads of its own; what came of it is taken in by the thread that turns the loop.

    ``start`` and ``settle`` belong to that thread; ``wake`` is called from the others. The threads are left
    behind at the end of the process.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._ended: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._running = 0

    @property
    def busy(self) -> bool:
        """Whether there is work whose outcome was not taken in yet."""
        return self._running > 0

    def start(self, name: str, work: Callable[[], T], done: Callable[[T | EdgeAgentError], None]) -> None:
        """Begin ``work``; a later :meth:`settle` calls ``done`` with its value, or with its error."""
        self._running += 1
        threading.Thread(target=self._run, args=(name, work, done), name=name, daemon=True).start()

    def settle(self) -> None:
        """Take in what has ended."""
        while not self._ended.empty():
            self._running -= 1
            self._ended.get()()

    def _run(self, name: str, work: Callable[[], T], done: Callable[[T | EdgeAgentError], None]) -> None:
        try:
            outcome: T | EdgeAgentError = work()
        except EdgeAgentError as error:
            # Its traceback holds this very frame, and would keep alive what the work was done with.
            outcome = error.with_traceback(None)
        except Exception as error:  # the top of a thread
            logger.exception("%s ended", name)
            outcome = EdgeAgentError(f"internal fault in {name}: {error!r}")
        self._ended.put(lambda: done(outcome))
        self._wake()
