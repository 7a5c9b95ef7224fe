"""Where the running agent is asked: at its control socket and over MQTT."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.control_socket import ControlRequest, ControlServer
from edge_agent.errors import AnotherAgentError, ControlError
from edge_agent.mqtt import Received
from edge_agent.remote import Remote
from edge_agent.verbs import Verbs

logger = logging.getLogger(__name__)


class Reception:
    """Belongs to the main thread, but for ``hear``; ``ring`` is called when something was asked."""

    def __init__(self, verbs: Verbs, remote: Remote, ring: Callable[[], None], clock: Clock) -> None:
        self._verbs = verbs
        self._remote = remote
        self._ring = ring
        self._clock = clock
        self._asked: queue.SimpleQueue[ControlRequest] = queue.SimpleQueue()
        self._server: ControlServer | None = None

    @property
    def fault(self) -> str | None:
        """Why the command line cannot ask any more."""
        return self._server.fault if self._server else None

    def open(self, socket: Path) -> None:
        """Hear the command line; an agent that cannot be asked serves too. Raises AnotherAgentError."""
        try:
            self._server = ControlServer(socket, self._asked, self._ring, self._clock)
        except AnotherAgentError:
            raise
        except ControlError as error:
            logger.warning("`edge-agent status` and `edge-agent models` cannot ask: %s", error)

    def hear(self, received: Received) -> None:
        """On the publisher's thread: a request over MQTT."""
        if self._remote.hear(received):
            self._ring()

    def turn(self) -> None:
        """Begin what was asked for since the last turn."""
        while not self._asked.empty():
            self._verbs.answer(self._asked.get())
        self._remote.answer()

    def close(self) -> None:
        """Hear the command line no more."""
        if self._server is not None:
            self._server.close()
