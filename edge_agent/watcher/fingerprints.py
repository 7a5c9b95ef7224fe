"""Whether a file or a folder is still what it was: by names, sizes, times and inodes; nothing is read."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_ENTRIES = 8192
"""Of a folder and all below it: two folders of the most that a bundle may have. Those nearest to the top are
looked at, the rest is not, so that a look at a folder of 100,000 files stays short."""

MAX_DEPTH = 8

MAX_LEASED = 64
"""So many files are asked for their writers; an export has 4 to 15."""

_F_SETSIG = 10
"""Of fcntl(2); Python has no name for it."""


@dataclass(frozen=True)
class Fingerprint:
    """Equal to another one as long as nothing of the content has changed; ``exists`` is False for nothing."""

    exists: bool
    code: int


@dataclass(frozen=True)
class Look:
    """One look at a candidate.

    ``fingerprint`` leaves out hidden files and backups (what editors and rsync put beside the real ones),
    ``stir`` has them too: while one of them grows, a copy is on its way.
    """

    fingerprint: Fingerprint
    stir: int


@dataclass(frozen=True)
class _Entry:
    """``status`` is None where the system says ``errno`` instead; ``name`` is relative, "" is the top."""

    name: str
    path: str
    status: os.stat_result | None
    errno: int = 0

    @property
    def is_folder(self) -> bool:
        return self.status is not None and stat.S_ISDIR(self.status.st_mode)

    @property
    def is_hidden(self) -> bool:
        return any(part.startswith(".") or part.endswith("~") for part in self.name.split("/"))

    def code(self) -> int:
        """A number that no other state of it has. A folder is its name and inode: its files are entries."""
        status = self.status
        if status is None:
            facts: tuple[object, ...] = (self.errno,)
        elif stat.S_ISDIR(status.st_mode):
            facts = (status.st_dev, status.st_ino)
        else:
            # The change time as well: `cp -p` and `rsync -t` set the other one back.
            times = (status.st_mtime_ns, status.st_ctime_ns)
            facts = (status.st_dev, status.st_ino, status.st_mode, status.st_size, *times)
        content = repr((self.name, facts)).encode("utf-8", "surrogateescape")
        return int.from_bytes(hashlib.blake2b(content, digest_size=16).digest(), "big")


def fingerprint(path: Path) -> Fingerprint:
    """Of the folder or file at ``path``, which need not exist; a link there is followed. Never raises."""
    return look_at(path).fingerprint


def look_at(path: Path) -> Look:
    """See :class:`Look`. Takes the memory of one entry, however many there are."""
    exists, shown, stir = False, 0, 0
    for entry in _entries(path):
        exists = True
        code = entry.code()
        stir += code
        if not entry.is_hidden:
            shown += code
    # A sum, for a folder need not list its files in the same order twice.
    return Look(Fingerprint(exists, shown % (1 << 128)), stir % (1 << 128))


def folders_of(path: Path, limit: int) -> list[str]:
    """The folders of which ``path`` consists, itself first; none where it is a file or nothing."""
    found = []
    for entry in _entries(path):
        if entry.is_folder:
            found.append(entry.path)
        if len(found) == limit:
            break
    return found


def is_being_written(path: Path) -> bool:
    """Whether a process has one of the files open for writing; False where that cannot be known.

    The kernel tells the owner of a file, and root, on local file systems: it grants no read lease then.
    """
    files = (entry.path for entry in _entries(path) if entry.status and stat.S_ISREG(entry.status.st_mode))
    return any(_has_writer(file) for _, file in zip(range(MAX_LEASED), files, strict=False))


def _has_writer(file: str) -> bool:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return False
    try:
        # Whoever opens the file while we hold the lease has us signalled: not by SIGIO, which ends a process.
        fcntl.fcntl(descriptor, _F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    else:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    finally:
        os.close(descriptor)


def _entries(path: Path) -> Iterator[_Entry]:
    """The top, then what is below it, level by level; nothing where there is nothing."""
    top = _entry("", str(path), follow=True)
    if top is None:
        return
    yield top
    root, left = os.path.realpath(path), MAX_ENTRIES
    folders = deque([(top, 0)] if top.is_folder else [])
    while folders and left > 0:
        folder, depth = folders.popleft()
        for entry in _listed(folder, root):
            yield entry
            left -= 1
            if left == 0:
                return
            if entry.is_folder and depth < MAX_DEPTH:
                folders.append((entry, depth + 1))


def _listed(folder: _Entry, root: str) -> Iterator[_Entry]:
    try:
        with os.scandir(folder.path) as scan:
            for each in scan:
                name = f"{folder.name}/{each.name}" if folder.name else each.name
                entry = _entry(name, each.path, follow=_stays_inside(each, root))
                if entry is not None:
                    yield entry
    except OSError as error:
        yield _Entry(f"{folder.name}/", folder.path, None, error.errno or 0)


def _stays_inside(entry: os.DirEntry[str], root: str) -> bool:
    """Whether it is a link to a file below ``root``: one that leads out is told by its own state only, as
    one to a folder is, which might lead round in a circle.
    """
    if not entry.is_symlink():
        return False
    target = os.path.realpath(entry.path)
    return target.startswith(f"{root}{os.sep}") and not os.path.isdir(target)  # noqa: PTH112  no Path each


def _entry(name: str, path: str, *, follow: bool) -> _Entry | None:
    """None where there is nothing, or no longer."""
    try:
        return _Entry(name, path, os.stat(path, follow_symlinks=follow))  # noqa: PTH116  no Path for each
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        return _Entry(name, path, None, getattr(error, "errno", None) or 0)
