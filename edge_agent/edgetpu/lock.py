"""The right to open an Edge TPU: one process at a time, whoever it belongs to."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import Self

from edge_agent.edgetpu.devices import Device
from edge_agent.errors import DeviceBusyError


def lock_folder() -> Path:
    """Where every agent on this machine looks for locks: /run/lock, else the folder for temporary files."""
    run = Path("/run/lock")
    return run if os.access(run, os.W_OK) else Path(tempfile.gettempdir())


def _open_shared(path: Path) -> int:
    """Open a lock file that every user of the machine may open. Raises OSError."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        # First without O_CREAT: in a sticky folder the kernel refuses it for another user's file.
        return os.open(path, flags)
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_CREAT, 0o666)
        os.fchmod(descriptor, 0o666)  # whatever the umask says
        return descriptor


class DeviceLock:
    """The right to open one device; given back by close(), or by the end of the process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, device: Device, folder: Path | None = None) -> Self:
        """Take the lock of ``device``. Raises DeviceBusyError, naming who has it."""
        name = "".join(letter if letter.isalnum() else "-" for letter in device.path or device.name)
        path = (folder or lock_folder()) / f"edge-agent-{name.strip('-')}.lock"
        try:
            descriptor = _open_shared(path)
        except OSError as error:
            raise DeviceBusyError(device.name, None, f"{path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise DeviceBusyError(device.name, int(holder) if holder.isdigit() else None) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(path, descriptor)

    def close(self) -> None:
        """Give it back, once; the file stays, for removing it would let two hold it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
