"""Steps on a disk that a power cut may interrupt anywhere, and what is told of a disk that refuses them.

A name is given to a file only when all of its bytes are on the disk, and every step is on the disk before the
next is taken: after each there is the state before or the state after it, never one in between.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import pwd
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_agent.errors import RepositoryError, one_line

DISCARDED = "discarded"
"""Where a folder is removed: a half-removed one is never where a whole one is looked for."""

MAX_RECORD_BYTES = 16 << 20
"""Of what is written down beside the models; a memory of 256 held digests and ways in has 50 kB."""

logger = logging.getLogger(__name__)

FORBIDDEN = {errno.EACCES, errno.EPERM}


class Disk:
    """Durable steps below ``root``. What root makes there belongs to the owner of ``state_dir``, for the
    agent that runs as that user must be able to change it.
    """

    def __init__(self, state_dir: Path, root: Path) -> None:
        self.root = root
        self._state_dir = state_dir

    def folder(self, path: Path) -> Path:
        """Make the folder and those above it where they are missing. Raises OSError."""
        if not path.is_dir():
            self.folder(path.parent)
            with contextlib.suppress(FileExistsError):
                path.mkdir()
            self._give(path)
            self.sync(path.parent)
        return path

    def write(self, path: Path, content: bytes) -> None:
        """Write a file that there is not yet. Its name is on the disk after :meth:`sync`. Raises OSError."""
        self._write(path, content, os.O_EXCL)

    def replace(self, path: Path, content: bytes) -> None:
        """Put a file in the place of another: there is the one or the other. Raises OSError."""
        fresh = path.with_name(f"{path.name}.new")
        self._write(fresh, content, os.O_TRUNC)
        self.move(fresh, path)

    def point(self, link: Path, target: Path) -> None:
        """Have a symbolic link lead to ``target``, in one step. Raises OSError."""
        fresh = link.with_name(f"{link.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target.relative_to(link.parent))
        self.sync(link.parent)  # a link has no bytes of its own to be synchronised
        self.move(fresh, link)

    def move(self, source: Path, target: Path) -> None:
        """Rename, within :attr:`root`. Raises OSError."""
        source.rename(target)
        self.sync(target.parent)
        if source.parent != target.parent:
            self.sync(source.parent)

    def discard(self, path: Path) -> None:
        """Remove a folder with all that is in it: its name is gone first. Raises OSError."""
        _remove(self.take_away(path))

    def take_away(self, path: Path) -> Path:
        """Take a folder out of its place; it is removed at the next opening, or before. Raises OSError."""
        away = self.folder(self.root / DISCARDED) / path.name
        if os.path.lexists(away):
            _remove(away)
        self.move(path, away)
        return away

    def clear(self) -> None:
        """Remove what was taken away. Raises OSError."""
        for away in entries(self.root / DISCARDED):
            _remove(away)

    def straighten(self, kinds: Mapping[str, int]) -> None:
        """Remove what is of another kind than ``kinds`` says for its name (as stat.S_IFMT gives it): it is
        nothing of ours, and would be in the way of all that is to be written. A link in the place of a folder
        stays: somebody has put that folder elsewhere, on a disk that may not be mounted. Raises OSError.
        """
        for name, kind in kinds.items():
            path = self.root / name
            if not os.path.lexists(path):
                continue
            found = stat.S_IFMT(path.lstat().st_mode)
            if found != kind and (found, kind) != (stat.S_IFLNK, stat.S_IFDIR):
                logger.warning("%s is not what it should be, and is removed", path)
                _remove(path)

    def sync(self, folder: Path) -> None:
        """Have the names in ``folder`` on the disk. Raises OSError."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make_room(self, needed: int) -> None:
        """Raises OSError (ENOSPC) where fewer bytes than ``needed`` are free."""
        if needed > self.free():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def free(self) -> int:
        """Bytes that this user may still write."""
        there = next(path for path in (self.root, *self.root.parents) if path.exists())
        state = os.statvfs(there)
        return state.f_bavail * state.f_frsize

    @contextlib.contextmanager
    def refusing(self, task: str, needed: int = 0) -> Iterator[None]:
        """Translates what the disk says while ``task`` ("install ...") is done, which takes ``needed`` bytes.

        Raises RepositoryError.
        """
        try:
            yield
        except OSError as error:
            raise self.refusal(task, error, needed) from error

    def refusal(self, task: str, error: OSError, needed: int = 0) -> RepositoryError:
        """What the disk said, with the remedy. See :meth:`refusing`."""
        match error.errno:
            case errno.ENOSPC | errno.EDQUOT:
                wanted = f"{_megabytes(needed)} needed, " if needed else ""
                return RepositoryError(
                    f"cannot {task}: the disk of {self.root} is full "
                    f"({wanted}{_megabytes(self.free())} free)",
                    "make room on it",  # `models prune` has nothing to remove: each installation does that
                )
            case errno.EROFS:
                return RepositoryError(
                    f"cannot {task}: the disk of {self.root} is read-only",
                    f"sudo mount -o remount,rw {_mount_point(self.root)}; a card that turned read-only by "
                    "itself (see dmesg) must be replaced",
                )
            case errno.EACCES | errno.EPERM:
                return self._not_ours(task, error)
            case errno.ENAMETOOLONG:
                return RepositoryError(
                    f"cannot {task}: a file name in it is longer than the disk of {self.root} allows",
                    "give that file a shorter name",
                )
        where = error.filename if isinstance(error.filename, str) else self.root
        return RepositoryError(f"cannot {task}: {where}: {error.strerror or error}", "check that disk")

    def _write(self, path: Path, content: bytes, flag: int) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flag, 0o644)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._give(path)

    def _give(self, path: Path) -> None:
        if os.geteuid() == 0 and path.is_relative_to(self._state_dir):
            owner = self._state_dir.stat()
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def _not_ours(self, task: str, error: OSError) -> RepositoryError:
        """Names who owns what could not be touched, who should, and who we are."""
        path = Path(error.filename) if isinstance(error.filename, str) else self.root
        there = next((each for each in (path, *path.parents) if _owner(each) is not None), self.root)
        us, owner = os.geteuid(), _owner(there)
        should = _owner(self._state_dir) or us  # root's own folder was made before the agent had a user
        remedy = f"sudo chown -R {_user(should)}: {self._state_dir}"
        if us == should == owner:
            return RepositoryError(
                f"cannot {task}: {there} may not be written to by {_user(us)}, though it owns it",
                f"sudo chmod -R u+rwX {self._state_dir}",
            )
        if us != should:
            remedy = f"run it as that user (sudo -u {_user(should)} ...) or as root"
        return RepositoryError(
            f"cannot {task}: {there} belongs to {_user(owner)}, it should be {_user(should)}'s, "
            f"and this is {_user(us)}",
            remedy,
        )


def entries(folder: Path) -> list[Path]:
    """What is in the folder; nothing where there is none. Raises OSError."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def content_of(path: Path) -> bytes:
    """All bytes of a regular file of ours; none of anything else, and a fifo is not waited for.

    Raises OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_RECORD_BYTES:
            return b""
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None


def _user(number: int | None) -> str:
    if number is None:
        return "nobody known"
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _mount_point(path: Path) -> str:
    return one_line(str(next(each for each in (path, *path.parents) if each.is_mount())))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
