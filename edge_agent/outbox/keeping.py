"""Carries messages from the line to the disk and back: when, how much, and what if the disk will not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import NamedTuple

from edge_agent.clock import Clock
from edge_agent.errors import DamagedOutboxError, OutboxError
from edge_agent.outbox.allowance import Allowance
from edge_agent.outbox.kept import Batch, Kept, batches, pack
from edge_agent.outbox.line import Line
from edge_agent.outbox.losses import Gap, Losses
from edge_agent.outbox.settings import PATIENCE_S, OutboxSettings
from edge_agent.outbox.store import Store, set_aside

logger = logging.getLogger(__name__)

FILE_NAME = "outbox.db"

COMMIT_S = 2.0
"""The shortest time between two commits: what a kill or a power cut takes while the broker is away."""

SLOWER_BATCHES = 1000
"""With each so many batches on the disk that time grows by as much again: twenty seconds after a day away, to
spare the card, and memory, where every batch has an entry."""

RETRY_S = 30.0
"""Before the disk is tried again after it refused."""

_DAY_S = 86400


class _Row(NamedTuple):
    """A batch to be written."""

    batch: Batch
    messages: Sequence[Kept]
    packed: bytes


class Keeping:
    """The disk's side of an outbox, for one thread.

    ``line`` and ``losses`` are shared with others and touched under ``lock`` only, which is never held while
    the disk works. ``is_old`` says it of what was handed over in a boot, at a Unix and a monotonic time.
    ``rouse`` is called when there may be something to take.
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
        self.fault: str | None = None
        self._settings = settings
        self._clock = clock
        self._lock = lock
        self._line = line
        self._losses = losses
        self._is_old = is_old
        self._rouse = rouse
        self._path = settings.folder / FILE_NAME
        self._store: Store | None = None
        self.recalled = not self._path.exists()
        # The first hour's share is there at once, so that a short outage is kept without delay.
        hour = settings.daily_write_bytes / 24
        self._writing = Allowance((settings.daily_write_bytes - hour) / _DAY_S, hour, clock)
        self._next_commit_ns = 0
        self._next_try_ns = 0

    def turn(self) -> None:
        """Do what is due."""
        if self._clock.monotonic_ns() >= self._next_try_ns:
            self._guarded(self._work)

    def last(self) -> None:
        """Store what is left, whatever that costs the card (it is little), and close."""
        with self._lock:
            self._line.give_back()
        self._guarded(self._finish)

    def _work(self) -> None:
        if not self.recalled:
            self._opened()
        self._expire()
        if self._is_due():
            self._commit(everything=False)
        while self._read():
            self._rouse()

    def _finish(self) -> None:
        with self._lock:
            self._line.loosen()
        if self._line.done or any(True for _ in self._line.unsaved()):
            self._commit(everything=True)
        if self._store is not None:
            self._store.close()

    def _opened(self) -> Store:
        """The open file; what an earlier run left there is in the line then."""
        if self._store is None:
            store = Store(self._path)
            found, gap = store.batches(), store.gap()
            with self._lock:
                self._line.found(found)
                self._losses.recall(gap)
            self._store = store
            self.recalled = True
            if found:
                logger.info(
                    "%d messages of an earlier run wait for the broker", sum(each.count for each in found)
                )
            self._rouse()
        return self._store

    def _is_due(self) -> bool:
        """Whether to commit: something waited for too long, or was acknowledged though it is stored; not too
        often, and not more than the card is to bear.
        """
        with self._lock:
            needed = self._waits_too_long() or bool(self._line.done)
            paused = self._clock.monotonic_ns() < self._next_commit_ns and not self._is_half_full()
            return needed and not paused and self._writing.left > 0

    def _is_half_full(self) -> bool:
        line, settings = self._line, self._settings
        return line.fresh_rows * 2 > settings.memory_rows or line.fresh_bytes * 2 > settings.memory_bytes

    def _waits_too_long(self) -> bool:
        oldest = next(self._line.unsaved(), None)
        return oldest is not None and self._clock.monotonic_ns() - oldest.monotonic_ns >= PATIENCE_S * 1e9

    def _commit(self, *, everything: bool) -> None:
        """Write what is in memory only, where that is due, and remove what is acknowledged."""
        store = self._opened()
        with self._lock:
            parts = self._line.save() if everything or self._waits_too_long() else ([], [])
            done, self._line.done = self._line.done, []
        rows = [_row(messages) for part in parts for messages in batches(part)]
        gone = self._make_room(sum(row.batch.nbytes for row in rows))
        before = store.written_bytes
        try:
            with self._lock:
                gap = self._losses.gap if self._losses.stands else None
            store.change([(row.batch, row.packed) for row in rows], [*done, *gone], gap)
        except OutboxError:
            with self._lock:
                self._line.not_saved()
                self._line.done = [*done, *gone, *self._line.done]
            raise
        with self._lock:
            self._line.saved([(row.batch, row.messages) for row in rows])
        self._writing.spend(store.written_bytes - before)
        pause_s = COMMIT_S * (1 + len(self._line.on_disk) / SLOWER_BATCHES)
        self._next_commit_ns = self._clock.monotonic_ns() + int(pause_s * 1e9)
        if self.fault is not None:
            self.fault = None
            logger.info("what waits for the broker is kept on the disk again")
        self._rouse()

    def _make_room(self, nbytes: int) -> list[Batch]:
        """Give up the oldest batches until so many bytes more fit; they are to be removed."""
        gone = []
        with self._lock:
            line = self._line
            while line.on_disk and (
                len(line) > self._settings.max_rows or line.disk_bytes + nbytes > self._settings.max_bytes
            ):
                gone.append(line.on_disk[min(line.on_disk)])
                self._drop(gone[-1])
        return gone

    def _drop(self, batch: Batch) -> None:
        if dropped := self._line.drop(batch):
            self._losses.add(Gap(dropped, batch.oldest_ns, batch.newest_ns))

    def _expire(self) -> None:
        """Give up what is too old."""
        with self._lock:
            for batch in list(takewhile(self._is_old_batch, self._line.on_disk.values())):
                self._drop(batch)
                self._line.done.append(batch)

    def _is_old_batch(self, batch: Batch) -> bool:
        return self._is_old(batch.boot, batch.newest_ns, batch.monotonic_ns)

    def _read(self) -> bool:
        """Have the next batch in memory, where it is wanted."""
        with self._lock:
            batch = self._line.wanted
        if batch is None:
            return False
        messages = self._opened().read(batch)
        with self._lock:
            self._line.read(batch, messages)
        return True

    # What goes wrong

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except DamagedOutboxError as error:
            self._set_aside(error)
        except OutboxError as error:
            self._refused(error)

    def _set_aside(self, error: DamagedOutboxError) -> None:
        """Go on with another file; what was only in this one is lost."""
        try:
            where = set_aside(self._path) if self._store is None else self._store.set_aside()
            logger.warning("%s; it is set aside as %s", error, where.name)
        except OutboxError as refusal:
            self._refused(refusal)
        self._store = None
        now_ns = self._clock.wall_ns()
        with self._lock:
            if lost := self._line.lose_disk():
                self._losses.add(Gap(lost, now_ns, now_ns))
        self.recalled = True
        self._rouse()

    def _refused(self, error: OutboxError) -> None:
        """The disk takes nothing: memory must do. The first time aloud."""
        level = logging.DEBUG if self.fault == str(error) else logging.WARNING
        logger.log(level, "what waits for the broker is in memory only: %s", error)
        self.fault = str(error)
        self.recalled = True  # as far as it can be
        self._next_try_ns = self._clock.monotonic_ns() + int(RETRY_S * 1e9)
        self._rouse()


def _row(messages: Sequence[Kept]) -> _Row:
    packed, times = pack(messages), [each.wall_ns for each in messages]
    batch = Batch(
        first=messages[0].number,
        last=messages[-1].number,
        count=len(messages),
        nbytes=len(packed),
        oldest_ns=min(times),
        newest_ns=max(times),
        monotonic_ns=messages[-1].monotonic_ns,
        boot=messages[-1].boot,
    )
    return _Row(batch, messages, packed)
