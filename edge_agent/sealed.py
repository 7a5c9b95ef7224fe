"""A file that nobody can change: bytes in anonymous memory, sealed."""

from __future__ import annotations

import fcntl
import os
import weakref

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class SealedFile:
    """The private, read-only copy of a model that workers open.

    The runtime maps the file that it loads: one overwritten in place changes answers silently or ends
    the process with SIGBUS. These bytes are the ones that were read and digested; they belong to no
    folder, cost no write to the SD card, and vanish with the last process that holds them.
    """

    def __init__(self, content: bytes, name: str) -> None:
        self.name = name
        self.size = len(content)
        self._descriptor = os.memfd_create(name[:200], os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.close = weakref.finalize(self, os.close, self._descriptor)
        view = memoryview(content)
        while view:
            view = view[os.write(self._descriptor, view) :]
        fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)

    def fileno(self) -> int:
        """To be passed on to a child, which opens ``/proc/self/fd/<fileno>``."""
        return self._descriptor
