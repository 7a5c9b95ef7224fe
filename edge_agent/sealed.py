"""A file that nobody can change: bytes in anonymous memory, sealed."""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Callable
from typing import Self

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class SealedFile:
    """The private, read-only copy of a model that workers open.

    The runtime maps the file that it loads: one overwritten in place changes answers silently or ends
    the process with SIGBUS. These bytes are the ones that were read and digested; they belong to no
    folder, cost no write to the SD card, and vanish with the last process that holds them.
    """

    def __init__(self, content: bytes, name: str) -> None:
        self._own(_sealed(name, lambda descriptor: _write(descriptor, content)), name)

    @classmethod
    def filled(cls, name: str, fill: Callable[[int], None]) -> Self:
        """One into which ``fill(descriptor)`` has written; it raises what that raises."""
        return cls._of(_sealed(name, fill), name)

    @classmethod
    def adopt(cls, descriptor: int, name: str) -> Self:
        """Own memory that somebody else has filled and sealed. Raises ValueError for anything else, which
        still belongs to the caller then.
        """
        try:
            is_sealed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS == _SEALS
        except OSError as error:
            raise ValueError("it is no memory") from error
        if not is_sealed:
            raise ValueError("it is not sealed")
        return cls._of(descriptor, name)

    @classmethod
    def _of(cls, descriptor: int, name: str) -> Self:
        sealed = cls.__new__(cls)
        sealed._own(descriptor, name)
        return sealed

    def _own(self, descriptor: int, name: str) -> None:
        self.name = name
        self.size = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self.close = weakref.finalize(self, os.close, descriptor)

    def fileno(self) -> int:
        """To be passed on to a child, which opens ``/proc/self/fd/<fileno>``."""
        return self._descriptor


def _sealed(name: str, fill: Callable[[int], None]) -> int:
    descriptor = os.memfd_create(_short(name), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        fill(descriptor)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _short(name: str) -> str:
    """The kernel takes 249 bytes."""
    return name.encode("utf-8", "replace")[:200].decode("utf-8", "ignore")
