"""Carries messages from the line to the disk and back, and goes on in memory if the disk will not."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from itertools import takewhile

from edge_agent.clock import Clock
from edge_agent.errors import DamagedOutboxError, OutboxError
from edge_agent.outbox.attempts import Attempts
from edge_agent.outbox.commits import Commits
from edge_agent.outbox.kept import Batch
from edge_agent.outbox.line import Line
from edge_agent.outbox.losses import Losses
from edge_agent.outbox.settings import OutboxSettings
from edge_agent.outbox.store import Store, set_aside

logger = logging.getLogger(__name__)

FILE_NAME = "outbox.db"

WRITE_AGAIN_S = 10.0
"""Before the disk is tried again after it took nothing; memory lasts longer than that."""

READ_AGAIN_S = 2.0
"""The same, after it gave nothing: all that waits stands behind what must be read first."""

READ_TRIES = 3
"""Then what is on the disk is given up, for the sake of what is not."""


class Keeping:
    """The disk's side of an outbox, for one thread.

    ``line`` and ``losses`` are shared with others and touched under ``lock`` only, which is never held while
    the disk works. ``is_old`` says it of what was handed over in a boot, at a Unix and a monotonic time.
    ``rouse`` is called when there may be something to take.

    ``recalled``: what an earlier run left is in the line, as far as it can be had now.
    """

    def __init__(
        self,
        settings: OutboxSettings,
        clock: Clock,
        lock: threading.Condition,
        line: Line,
        losses: Losses,
        is_old: Callable[[str, int, int], bool],
        rouse: Callable[[], None],
    ) -> None:
        """Nothing is opened or written yet; what an earlier run left is recalled in the first turn."""
        assert settings.folder is not None
        self._lock = lock
        self._line = line
        self._losses = losses
        self._is_old = is_old
        self._rouse = rouse
        self._path = settings.folder / FILE_NAME
        self._store: Store | None = None
        self._is_spoilt = False
        self._is_left = self._path.exists()
        self.recalled = not self._is_left
        self._commits = Commits(settings, clock, lock, line, losses)
        self._reading = Attempts("what waits on the disk cannot be sent", READ_AGAIN_S, clock)
        self._writing = Attempts("what waits for the broker is in memory only", WRITE_AGAIN_S, clock)

    @property
    def fault(self) -> str | None:
        """What is wrong with the disk, with the remedy, in one line."""
        return self._writing.fault or self._reading.fault

    @property
    def removes(self) -> bool:
        """What is acknowledged is removed from the disk soon."""
        return self._writing.fault is None

    def turn(self) -> None:
        """Do what is due. Reading comes first: what is stored is to be sent though the disk takes no more."""
        if self._reading.are_due:
            self._guarded(self._reading, self._read_on)
        self._expire()
        if self._writing.are_due:
            self._guarded(self._writing, self._write)

    def last(self) -> None:
        """Store what is left, whatever that costs the card (it is little), and close."""
        with self._lock:
            self._line.give_back(list(self._line.taken))
        if not self._guarded(self._writing, self._finish) and self._is_spoilt:
            self._guarded(self._writing, self._finish)  # in a new file

    def forsake(self) -> None:
        """Nothing more is stored or read in this run; what is on the disk waits for the next one."""
        with self._lock:
            self._line.not_saved()
            self._line.lose_disk()
        self.recalled = True
        self._rouse()

    def _read_on(self) -> None:
        if self._is_left:
            self._opened()
        with self._lock:
            batch = self._line.wanted
        while batch is not None:
            messages = self._opened().read(batch)
            with self._lock:
                self._line.read(batch, messages)
                batch = self._line.wanted
            self._rouse()
        self._reading.worked()

    def _write(self) -> None:
        if self._commits.are_due():
            self._commits.write(self._opened(), everything=False)
            self._writing.worked()
            self._rouse()

    def _finish(self) -> None:
        with self._lock:
            self._line.loosen()
        if self._line.done or any(True for _ in self._line.unsaved()):
            self._commits.write(self._opened(), everything=True)
        if self._store is not None:
            store, self._store = self._store, None
            store.close()

    def _opened(self) -> Store:
        """The open file; what an earlier run left there is in the line then. Raises OutboxError."""
        if self._is_spoilt:
            where = set_aside(self._path)
            logger.warning("%s is set aside as %s", self._path.name, where.name)
            self._is_spoilt = False
        if self._store is None:
            store = Store(self._path)
            try:
                self._recall(store)
            except OutboxError:
                with contextlib.suppress(OutboxError):
                    store.close()
                raise
            self._store = store
        return self._store

    def _recall(self, store: Store) -> None:
        found, gap = store.batches(), store.gap()
        with self._lock:
            self._line.found(found)
            self._losses.recall(gap)
            self._emptied()
        self._commits.gap_noted = gap is not None
        self._is_left, self.recalled = False, True
        if found:
            waiting = sum(each.count for each in found)
            logger.info("%d messages of an earlier run wait for the broker", waiting)
        self._rouse()

    def _expire(self) -> None:
        """Give up what is too old."""
        with self._lock:
            for batch in list(takewhile(self._is_old_batch, self._line.on_disk.values())):
                self._commits.drop(batch)
                self._line.done.append(batch)
            self._emptied()

    def _emptied(self) -> None:
        if not self._line:
            self._losses.end()

    def _is_old_batch(self, batch: Batch) -> bool:
        return self._is_old(batch.boot, batch.newest_ns, batch.monotonic_ns)

    # What goes wrong

    def _guarded(self, attempts: Attempts, work: Callable[[], None]) -> bool:
        """Whether it could be done."""
        try:
            work()
        except DamagedOutboxError as error:
            self._lose(error)
        except OutboxError as error:
            attempts.failed(error)
            if self._reading.failures >= READ_TRIES and self._store is not None:
                self._lose(error)
        else:
            return True
        self.recalled = True  # as far as can be
        self._rouse()
        return False

    def _lose(self, error: OutboxError) -> None:
        """Go on with another file, once this one is set aside; what was only in it is lost."""
        logger.warning("%s; what is only there is given up", error)
        if self._store is not None:
            with contextlib.suppress(OutboxError):
                self._store.close()  # before it is renamed, for it removes its log by the name
        self._store, self._is_spoilt, self._is_left = None, True, False
        with self._lock:
            self._losses.add_batches(self._line.lose_disk())
            self._emptied()
        self._reading.worked()
