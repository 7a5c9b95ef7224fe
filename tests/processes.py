"""Looking at real processes."""

from __future__ import annotations

import os
import select


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
        self._descriptor = os.pidfd_open(pid)

    def ends_within(self, seconds: float) -> bool:
        """Whether it ends (a zombie has ended) in that time."""
        try:
            return bool(select.select([self._descriptor], [], [], seconds)[0])
        finally:
            os.close(self._descriptor)
