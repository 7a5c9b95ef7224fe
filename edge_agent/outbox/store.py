"""The messages on the disk: a row per batch in an SQLite file (owns sqlite3). For one thread at a time."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_agent.errors import DamagedOutboxError, OutboxError
from edge_agent.outbox.kept import Batch, Kept, unpack
from edge_agent.outbox.losses import Gap

FORMAT = 1
"""Stands in the file as its user_version."""

PAGE_BYTES = 1024
"""A commit rewrites whole pages that hold little news: with SQLite's usual 4096 and a log that is cut to
nothing each time, twice as much reaches the disk (measured at the block device, 600 commits of 60 events)."""

COMMIT_BYTES = 10240
"""What a commit writes besides its messages, which are written twice (log and file): the pages above them,
and what the log shares with the commit before. Measured: 60 events, 3400 bytes packed, cost 11.1 kB at the
block device and 13.7 kB by the kernel's count; 17 kB are reckoned."""

CHECKPOINT_BYTES = 1 << 20
"""So much in the log, and it is carried over to the file. More would write fewer pages twice, but the end of
the agent waits for it: this much takes a slow card a tenth of a second."""

DAMAGED_KEPT = 3
"""Damaged files that are set aside at most; then the oldest of them goes."""

_OPENING = f"""
PRAGMA page_size = {PAGE_BYTES};
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA wal_autocheckpoint = 0;
"""

_TABLES = f"""
BEGIN;
CREATE TABLE batches (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, count INTEGER NOT NULL,
    oldest_ns INTEGER NOT NULL, newest_ns INTEGER NOT NULL, monotonic_ns INTEGER NOT NULL,
    boot TEXT NOT NULL, messages BLOB NOT NULL);
CREATE TABLE gap (id INTEGER PRIMARY KEY CHECK (id = 1), count INTEGER NOT NULL,
    first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL);
PRAGMA user_version = {FORMAT};
COMMIT;
"""


class Store:
    """One open file.

    What a call has changed when it returns is on the disk, whatever happens to the power then: the log is
    synchronised with each commit, for commits are few, and one that a power cut takes back is none.

    ``written_bytes`` is what the disk had to bear so far, reckoned rather high than low.

    Every method raises OutboxError where the disk refuses, and DamagedOutboxError where the file is not what
    it was; nothing changed then.
    """

    def __init__(self, path: Path) -> None:
        """Open it, made where it is missing; a quick look proves that it is sound."""
        self.path = path
        self._database: sqlite3.Connection | None = None
        self.written_bytes = 0
        self._log_bytes = 0
        with self._translated("open"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # events say who was where; the log gets the same rights
            self._open()

    def _open(self) -> None:
        self._database = database = sqlite3.connect(
            self.path, timeout=0.5, isolation_level=None, check_same_thread=False
        )
        try:
            database.executescript(_OPENING)
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and not database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                database.executescript(_TABLES)
                self.written_bytes += COMMIT_BYTES
                _synchronise(self.path.parent)
                return
            if version != FORMAT:
                raise DamagedOutboxError(self.path, f"it has format {version} instead of {FORMAT}")
            verdict = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise DamagedOutboxError(self.path, verdict)
        except BaseException:
            database.close()
            raise

    @property
    def _open_database(self) -> sqlite3.Connection:
        assert self._database is not None
        return self._database

    def batches(self) -> list[Batch]:
        """What is in it, the oldest first."""
        with self._translated("read"):
            rows = self._open_database.execute(
                "SELECT first, last, count, length(messages), oldest_ns, newest_ns, monotonic_ns, boot"
                " FROM batches ORDER BY first"
            ).fetchall()
            return [Batch(*row) for row in rows]

    def gap(self) -> Gap | None:
        """What was dropped and not told to the end."""
        with self._translated("read"):
            row = self._open_database.execute("SELECT count, first_ns, last_ns FROM gap").fetchone()
            return None if row is None else Gap(*row)

    def read(self, batch: Batch) -> list[Kept]:
        """The messages of one batch."""
        with self._translated("read"):
            row = self._open_database.execute(
                "SELECT messages FROM batches WHERE first = ?", (batch.first,)
            ).fetchone()
            try:
                return unpack(row[0], batch)
            except (ValueError, TypeError) as error:
                which = f"messages {batch.first} to {batch.last}"
                raise DamagedOutboxError(self.path, f"{which}: {error}") from error

    def change(self, add: Sequence[tuple[Batch, bytes]], remove: Sequence[Batch], gap: Gap | None) -> None:
        """Add batches with their packed messages, remove others and note the gap, all or nothing."""
        with self._translated("write"):
            database = self._open_database
            database.execute("BEGIN IMMEDIATE")
            try:
                old = [(each.first,) for each in remove]
                database.executemany("DELETE FROM batches WHERE first = ?", old)
                database.executemany(
                    "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [_row(*each) for each in add]
                )
                self._note(database, gap)
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
            nbytes = sum(len(packed) for _, packed in add)
            # What takes the room of removed ones lies scattered: the kernel counts up to half as much again.
            scattered = min(nbytes, sum(each.nbytes for each in remove))
            self.written_bytes += 2 * nbytes + scattered + COMMIT_BYTES
            self._log_bytes += nbytes + COMMIT_BYTES
            if self._log_bytes >= CHECKPOINT_BYTES:
                # The log keeps its length and is written over: one that grows writes its inode each time.
                database.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
                self._log_bytes = 0

    def close(self) -> None:
        """Let it go; the log is carried over to the file."""
        if self._database is not None:
            database, self._database = self._database, None
            with self._translated("close"):
                database.close()

    def _note(self, database: sqlite3.Connection, gap: Gap | None) -> None:
        if gap is None:
            database.execute("DELETE FROM gap")
        else:
            database.execute(
                "INSERT OR REPLACE INTO gap VALUES (1, ?, ?, ?)", (gap.count, gap.first_ns, gap.last_ns)
            )

    @contextlib.contextmanager
    def _translated(self, task: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise _translation(self.path, task, error) from error


def _row(batch: Batch, packed: bytes) -> tuple[object, ...]:
    times = (batch.oldest_ns, batch.newest_ns, batch.monotonic_ns)
    return (batch.first, batch.last, batch.count, *times, batch.boot, packed)


def set_aside(path: Path) -> Path:
    """Rename a file that is of no use and remove its log; where it is now. Raises OutboxError."""
    try:
        aside = sorted(path.parent.glob(f"{path.stem}.damaged-*"), key=lambda each: each.stat().st_mtime_ns)
        for oldest in aside[: max(0, len(aside) - DAMAGED_KEPT + 1)]:
            oldest.unlink()
        taken = {each.name for each in aside}
        number = next(each for each in range(1, 10_000) if f"{path.stem}.damaged-{each}" not in taken)
        target = path.with_name(f"{path.stem}.damaged-{number}")
        path.rename(target)
        path.with_name(f"{path.name}-wal").unlink(missing_ok=True)
        _synchronise(path.parent)
    except OSError as error:
        raise _translation(path, "set aside", error) from error
    return target


def _translation(path: Path, task: str, error: sqlite3.Error | OSError) -> OutboxError:
    """What SQLite or the disk said, in our words."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what extends it
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DamagedOutboxError(path, str(error))
    if code == sqlite3.SQLITE_BUSY:
        return OutboxError(
            f"{path} is in use by another process", "give each agent its own [agent] state_dir"
        )
    remedy = f"make room on the disk of {path.parent}, or make it writable for this user"
    return OutboxError(f"cannot {task} {path}: {getattr(error, 'strerror', None) or error}", remedy)


def _synchronise(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
