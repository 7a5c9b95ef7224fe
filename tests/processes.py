"""Looking at real processes."""

from __future__ import annotations

import contextlib
import os
import select
import signal


def exists(pid: int) -> bool:
    """Whether a process of this number is left, reaped or not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Watched:
    """A process, not necessarily our child, whose end can be awaited."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor: int | None = os.pidfd_open(pid)

    def ends_within(self, seconds: float) -> bool:
        """Whether it ends (a zombie has ended) in that time; it is watched no longer."""
        assert self._descriptor is not None
        try:
            return bool(select.select([self._descriptor], [], [], seconds)[0])
        finally:
            self.close()

    def send(self, what: signal.Signals) -> None:
        """Send a signal; harmless where it has ended."""
        if self._descriptor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, what)

    def close(self) -> None:
        """Watch it no longer."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
