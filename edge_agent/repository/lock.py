"""The right to write to a repository: one process at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import weakref
from collections.abc import Collection
from pathlib import Path

from edge_agent.errors import RepositoryBusyError
from edge_agent.repository.disk import FORBIDDEN


class RepositoryLock:
    """Held from the start until close(), or until the process ends."""

    def __init__(self, folder: Path, *, to_read: bool) -> None:
        """Take the lock of ``folder``; ``to_read``: one that is somebody else's will do.

        Raises RepositoryBusyError naming who has it, OSError.
        """
        descriptor = _open(folder / "lock", {errno.EROFS, *(FORBIDDEN if to_read else ())})
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).strip()
            os.close(descriptor)
            raise RepositoryBusyError(str(folder), int(holder) if holder.isdigit() else None) from None
        self.close = weakref.finalize(self, os.close, descriptor)
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_RDWR:
            os.ftruncate(descriptor, 0)
            with contextlib.suppress(OSError):  # on a full disk nobody is told whose it is
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _open(path: Path, forgiven: Collection[int]) -> int:
    """Open for writing; where that is ``forgiven`` for reading, which a lock can do with. Raises OSError."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o644)
    except OSError as error:
        if error.errno not in forgiven:
            raise
        return os.open(path, os.O_RDONLY | flags)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor
