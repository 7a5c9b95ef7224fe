"""What the service manager is told: sd_notify(3)'s protocol, over the socket that it names.

Nothing is told where nobody asked to be: in a terminal, in a container.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Mapping
from typing import Self

from edge_agent.clock import Clock

logger = logging.getLogger(__name__)

_PER_WATCHDOG = 4
"""Signs of life in the time after which their absence is the end: systemd advises two."""


class ServiceManager:
    """Whoever started us, if it wants to know how we are. Never waits; belongs to the main thread.

    ``address`` is NOTIFY_SOCKET's (``@`` begins an abstract one), None where there is none; ``watchdog_s``
    is after which silence it ends us, 0 where it does not watch.
    """

    def __init__(self, address: str | None, watchdog_s: float, clock: Clock) -> None:
        self._address = _socket_address(address)
        self._watchdog_ns = int(watchdog_s * 1e9)
        self._clock = clock
        self._alive_ns: int | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    @classmethod
    def of(cls, environ: Mapping[str, str], clock: Clock) -> Self:
        """The one that the environment names."""
        return cls(environ.get("NOTIFY_SOCKET"), _watchdog_s(environ), clock)

    def ready(self) -> bool:
        """What it waits for is true; whether it was told."""
        return self._tell("READY=1")

    def status(self, line: str) -> bool:
        """For `systemctl status`; whether it was told."""
        return self._tell(f"STATUS={line}")

    def extend_start(self, seconds: float) -> bool:
        """We are on our way, and want so long until the next word."""
        return self._tell(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def reloading(self) -> bool:
        """Until ``ready``."""
        return self._tell(f"RELOADING=1\nMONOTONIC_USEC={self._clock.monotonic_ns() // 1000}")

    def stopping(self) -> bool:
        """We are about to end."""
        return self._tell("STOPPING=1")

    def alive(self) -> None:
        """The main loop turns, and nothing that it answers for hangs: told as often as is of use."""
        now_ns = self._clock.monotonic_ns()
        is_due = self._alive_ns is None or now_ns - self._alive_ns >= self._watchdog_ns // _PER_WATCHDOG
        if self._watchdog_ns and is_due and self._tell("WATCHDOG=1"):
            self._alive_ns = now_ns

    def close(self) -> None:
        """Nothing more to say."""
        self._socket.close()

    def _tell(self, message: str) -> bool:
        """Whether it was taken, or nobody wants it."""
        if self._address is None:
            return True
        try:
            self._socket.sendto(message.encode(errors="replace"), self._address)
        except OSError as error:
            # Its queue is full, or it is being started anew itself: the next turn says it again.
            logger.debug("the service manager did not hear %r: %s", message, error)
            return False
        return True


def _socket_address(named: str | None) -> str | None:
    """As sendto() wants it; None for what is neither a path nor abstract (``vsock:``)."""
    if not named or named[0] not in "/@":
        return None
    return f"\0{named[1:]}" if named[0] == "@" else named


def _watchdog_s(environ: Mapping[str, str]) -> float:
    """0 where this process is not watched: children inherit the variables."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    with contextlib.suppress(ValueError):
        return max(0, int(environ.get("WATCHDOG_USEC", "0"))) / 1e6
    return 0.0
