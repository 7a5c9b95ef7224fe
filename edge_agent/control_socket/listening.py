"""The socket in the file system: made, owned by one agent at a time, and gone with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import struct
from pathlib import Path

from edge_agent.errors import AnotherAgentError, ControlError, EdgeAgentError

MODE = 0o660
"""The agent's user and group: whoever may ask for a change belongs to that group."""

BACKLOG = 16
_REMEDY = "name another place: agent.socket in the configuration"


class ListeningSocket:
    """Listens at ``path`` from the start on; a lock beside it says whose it is."""

    def __init__(self, path: Path) -> None:
        """Take the place of a socket that nobody listens to any more.

        Raises AnotherAgentError where one does, ControlError where something else lies or it may not be.
        """
        self._path = path
        self._lock = -1
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            self._remove_stale()
            self.socket.setblocking(False)
            self.socket.bind(str(path))
            path.chmod(MODE)
            self.socket.listen(BACKLOG)  # before this nobody gets in, whatever the mode was
        except OSError as error:
            self._release()
            why = error.strerror or str(error)
            raise ControlError(f"cannot listen at {path}: {why}", _remedy(path, error)) from error
        except EdgeAgentError:
            self._release()
            raise

    def fileno(self) -> int:
        """Readable when somebody wants in."""
        return self.socket.fileno()

    def close(self) -> None:
        """Nobody gets in any more."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self._release()

    def _release(self) -> None:
        self.socket.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_lock(self) -> None:
        beside = self._path.with_name(f"{self._path.name}.lock")
        self._lock = os.open(beside, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _listener(self._path)
            by = "" if pid is None else f" (pid {pid})"
            raise AnotherAgentError(
                f"another agent listens at {self._path}{by}", f"stop it, or {_REMEDY}"
            ) from None

    def _remove_stale(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise ControlError(f"{self._path} is no socket", f"remove it, or {_REMEDY}")
            self._path.unlink()


def _listener(path: Path) -> int | None:
    """The process that listens there, where it can be known."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        asking.connect(str(path))
        credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid: int = struct.unpack("3i", credentials)[0]
        return pid
    return None


def _remedy(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"let the agent's user own {path.parent} (systemd: RuntimeDirectory=edge-agent), or {_REMEDY}"
    return _REMEDY
