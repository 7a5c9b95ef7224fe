"""The right to open an Edge TPU: one process at a time, whoever it belongs to."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from pathlib import Path
from typing import Self

from edge_agent.edgetpu.devices import Device
from edge_agent.errors import DeviceBusyError

LEAVING_S = 1.5
"""How long a device is waited for whose agent was killed: its worker has 0.7 s for an invoke in flight."""

LOOK_S = 0.02


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


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _holder(descriptor: int) -> int | None:
    """Who took the lock, as that one wrote down."""
    said = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
    return int(said) if said.isdigit() else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True


class DeviceLock:
    """The right to open one device; given back by close(), or by the end of the process.

    It belongs to the descriptor: a worker that inherits it keeps the device from others for as long as it has
    it open, whatever becomes of the agent.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, device: Device, folder: Path | None = None) -> Self:
        """Take the lock of ``device``; where an agent that was killed has left it to its worker, that one's
        end is waited for, a second or so. Raises DeviceBusyError, naming who has it.
        """
        name = "".join(letter if letter.isalnum() else "-" for letter in device.path or device.name)
        path = (folder or lock_folder()) / f"edge-agent-{name.strip('-')}.lock"
        try:
            descriptor = _open_shared(path)
        except OSError as error:
            raise DeviceBusyError(device.name, None, f"{path}: {error.strerror}") from error
        give_up_s = time.monotonic() + LEAVING_S
        while not _try_lock(descriptor):
            holder = _holder(descriptor)
            if holder is None or _lives(holder) or time.monotonic() > give_up_s:
                os.close(descriptor)
                raise DeviceBusyError(device.name, holder) from None
            time.sleep(LOOK_S)
        # On a full disk the lock holds as well, only nameless.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(path, descriptor)

    def fileno(self) -> int:
        """The descriptor that a worker is to inherit; until close()."""
        assert self._descriptor is not None, "the lock was given back"
        return self._descriptor

    def close(self) -> None:
        """Give it back, once; the file stays, for removing it would let two hold it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
