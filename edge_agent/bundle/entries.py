"""The files of a folder, or one file alone, into memory; nothing is ever written.

A folder, a zip (:mod:`edge_agent.bundle.archive`) and a lone file answer the same three questions,
:class:`Entries`. Names are relative, with ``/`` between their parts; ``""`` is the top.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Protocol

from edge_agent.errors import BundleError

MAX_ENTRIES = 4096
"""Of a zip, or of one folder: an export has 4 to 15 files."""


_DEAD_DRIVE = {errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN}
"""What the system says of a drive that was pulled or fails, and of a network share that is gone."""


class Entries(Protocol):
    """The files of a folder or a zip."""

    title: str
    """What to call the whole in an error: its path."""

    def files(self, folder: str) -> tuple[str, ...]:
        """Names of the regular files directly in ``folder``, sorted; none where there is no such folder."""

    def folders(self, folder: str) -> tuple[str, ...]:
        """Names of the folders directly in ``folder``, sorted."""

    def read(self, name: str, cap: int) -> bytes | None:
        """All bytes of a file, None where there is none. Raises BundleError above ``cap`` bytes."""


def relative_name(text: str, where: str) -> str:
    """A name as :class:`Entries` takes it, from one that stands in a file; a backslash parts it too.

    Raises BundleError, beginning with ``where``, for a name that is absolute or leads upwards.
    """
    parts = text.replace("\\", "/").split("/")
    absolute = text[:1] in ("/", "\\") or parts[0][1:2] == ":"
    strange = any(unicodedata.category(character) in ("Cc", "Cs") for character in text)
    if absolute or strange or ".." in parts:
        raise BundleError(f"{where}: unsafe file name {text[:200]!r}", "names must lie inside the bundle")
    name = "/".join(part for part in parts if part not in ("", "."))
    if not name:
        raise BundleError(f"{where}: empty file name")
    return name


def read_regular(path: Path, cap: int) -> bytes:
    """All bytes of a regular file; a fifo or a device is never opened.

    Raises BundleError where it is none, cannot be read, is larger than ``cap`` bytes or changes meanwhile.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BundleError(f"{path} is not a regular file")
        # It may have become a fifo since: O_NONBLOCK, and the look at what was opened.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    with os.fdopen(descriptor, "rb") as file:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise BundleError(f"{path} is not a regular file")
        if before.st_size > cap:
            raise too_large(str(path), before.st_size, cap)
        try:
            # Not up to the cap: Python allocates what is asked for, more than a small board has.
            content = file.read(before.st_size + 1)
            after = os.fstat(descriptor)
        except OSError as error:
            raise unreadable(path, error) from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(
        content
    ) != after.st_size:
        raise BundleError(f"{path} changed while it was read", "try again when it is complete")
    return content


class FolderEntries:
    """The files of a folder. A symbolic link may lead about inside the folder, never out of it; fifos,
    sockets and devices are not seen.
    """

    def __init__(self, path: Path) -> None:
        """Raises BundleError where the folder cannot be resolved."""
        self.title = str(path)
        try:
            self._root = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise unreadable(path, error) from error

    def files(self, folder: str) -> tuple[str, ...]:
        """As :meth:`Entries.files`. A link is listed, whatever it leads to: :meth:`read` judges it."""
        return self._list(folder, lambda entry: entry.is_symlink() or entry.is_file(follow_symlinks=False))

    def folders(self, folder: str) -> tuple[str, ...]:
        """As :meth:`Entries.folders`; links to folders are none."""
        return self._list(folder, lambda entry: entry.is_dir(follow_symlinks=False))

    def read(self, name: str, cap: int) -> bytes | None:
        """As :meth:`Entries.read`. Raises BundleError for a link that leaves the folder too."""
        path = self._root / name
        try:
            real = path.resolve(strict=True)
        except (FileNotFoundError, NotADirectoryError):
            if path.is_symlink():
                raise BundleError(f"{path} is a link to nothing") from None
            return None
        except (OSError, RuntimeError, ValueError) as error:
            raise unreadable(path, error) from error
        if not real.is_relative_to(self._root):
            raise BundleError(f"{path} is a link out of the bundle, to {real}", "copy the file itself")
        return read_regular(real, cap)

    def _list(self, folder: str, wanted: _EntryTest) -> tuple[str, ...]:
        try:
            with os.scandir(self._root / folder) as scan:
                found = []
                for number, entry in enumerate(scan):
                    if number == MAX_ENTRIES:
                        raise BundleError(
                            f"{self.title}: more than {MAX_ENTRIES} files", "give the bundle's own folder"
                        )
                    if wanted(entry):
                        found.append(str(PurePosixPath(folder) / entry.name))
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise unreadable(self._root / folder, error) from error
        return tuple(sorted(found))


class _EntryTest(Protocol):
    def __call__(self, entry: os.DirEntry[str], /) -> bool: ...


class LoneEntry:
    """One file in memory, under the name it is to have."""

    def __init__(self, content: bytes, name: str, title: str) -> None:
        self.title = title
        self._content = content
        self._name = name

    def files(self, folder: str) -> tuple[str, ...]:
        """As :meth:`Entries.files`."""
        return () if folder else (self._name,)

    def folders(self, folder: str) -> tuple[str, ...]:  # noqa: ARG002
        """As :meth:`Entries.folders`."""
        return ()

    def read(self, name: str, cap: int) -> bytes | None:
        """As :meth:`Entries.read`."""
        if name != self._name:
            return None
        if len(self._content) > cap:
            raise too_large(self.title, len(self._content), cap)
        return self._content


def too_large(where: str, size: int, cap: int) -> BundleError:
    """A file above its cap."""
    what = f"{where}: {size} bytes, more than the {cap} allowed"
    return BundleError(what, "leave out of the bundle what it does not need; docs/models.md has the limits")


def reason(error: Exception) -> str:
    """What the error says, without the path that the system repeats."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def unreadable(path: Path, error: Exception) -> BundleError:
    """What is told of a file that the system does not give us."""
    return BundleError(f"cannot read {path}: {reason(error)}", _remedy(path, error))


def _remedy(path: Path, error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EACCES, errno.EPERM):
        closed = [each for each in reversed(path.absolute().parents) if not os.access(each, os.X_OK)]
        what = f"a+x {shlex.quote(str(closed[0]))}" if closed else f"-R a+rX {shlex.quote(str(path))}"
        return f"give the user that runs this the right to: sudo chmod {what}"
    if number in _DEAD_DRIVE:
        return "plug its drive in or mount it again; one that goes on like this is to be replaced"
    return "check the path and its permissions"
