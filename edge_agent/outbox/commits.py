"""What is written to the disk: when, how much, and what makes room for it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edge_agent.allowance import Allowance
from edge_agent.clock import Clock
from edge_agent.errors import OutboxError
from edge_agent.outbox.kept import Batch, Kept, batches, pack
from edge_agent.outbox.line import Line
from edge_agent.outbox.losses import Gap, Losses
from edge_agent.outbox.settings import PATIENCE_S, OutboxSettings
from edge_agent.outbox.store import Store

COMMIT_S = 2.0
"""The shortest time between two commits: what a kill or a power cut takes while the broker is away."""

SLOWER_BATCHES = 1000
"""With each so many batches on the disk that time grows by as much again: twenty seconds after a day away, to
spare the card, and memory, where every batch has an entry."""

_DAY_S = 86400


class _Row(NamedTuple):
    """A batch to be written."""

    batch: Batch
    messages: Sequence[Kept]
    packed: bytes


class Commits:
    """The writing half of an outbox's disk, for one thread; ``line`` and ``losses`` belong to the ``lock``.

    ``gap_noted``: a gap stands on the disk, and is to be removed from there once it is told.
    """

    def __init__(
        self, settings: OutboxSettings, clock: Clock, lock: threading.Condition, line: Line, losses: Losses
    ) -> None:
        self.gap_noted = False
        self._settings = settings
        self._clock = clock
        self._lock = lock
        self._line = line
        self._losses = losses
        # The first hour's share is there at once, so that a short outage is kept without delay.
        hour = settings.daily_write_bytes / 24
        self._writing = Allowance(hour, (settings.daily_write_bytes - hour) / _DAY_S, clock)
        self._next_ns = 0
        self._was_refused = False

    def are_due(self) -> bool:
        """Whether to commit: something waited for too long, or is told on the disk though it is over; not too
        often, and not more than the card is to bear. What holds sending up is removed in any case.
        """
        with self._lock:
            line = self._line
            if line.done and line.is_ahead:
                return True
            over = bool(line.done) or (self.gap_noted and not self._losses.stands)
            paused = self._clock.monotonic_ns() < self._next_ns and not self._is_half_full()
            return (over or self._waits_too_long()) and not paused and self._writing.left > 0

    def _is_half_full(self) -> bool:
        line, settings = self._line, self._settings
        return line.fresh_rows * 2 > settings.memory_rows or line.fresh_bytes * 2 > settings.memory_bytes

    def _waits_too_long(self) -> bool:
        oldest = next(self._line.unsaved(), None)
        return oldest is not None and self._clock.monotonic_ns() - oldest.monotonic_ns >= PATIENCE_S * 1e9

    def write(self, store: Store, *, everything: bool) -> None:
        """Write what is in memory only, where that is due, and remove what is acknowledged.

        Raises OutboxError; nothing is lost then.
        """
        with self._lock:
            is_cramped = self._was_refused and self._is_half_full()
            parts = self._line.save() if everything or self._waits_too_long() else ([], [])
            done = list(self._line.done)
        rows = [_row(messages) for part in parts for messages in batches(part)]
        with self._lock:
            most = self._line.disk_bytes if is_cramped else self._settings.max_bytes
            surplus = self._surplus(sum(row.batch.nbytes for row in rows), most)
            gap = self._losses.with_batches(surplus)
        before = store.written_bytes
        try:
            store.change([(row.batch, row.packed) for row in rows], [*done, *surplus], gap)
        except OutboxError:
            with self._lock:
                self._line.not_saved()
            self._was_refused = True
            raise
        self._written(rows, done, surplus, gap)
        self._writing.spend(store.written_bytes - before)

    def _written(
        self, rows: Iterable[_Row], done: Sequence[Batch], surplus: Sequence[Batch], gap: Gap | None
    ) -> None:
        with self._lock:
            line = self._line
            line.done = [each for each in line.done[len(done) :] if each not in surplus]
            for batch in surplus:
                self.drop(batch)
            line.removed([*done, *surplus])
            line.saved([(row.batch, row.messages) for row in rows])
        self._was_refused = False
        self.gap_noted = gap is not None
        pause_s = COMMIT_S * (1 + len(line.on_disk) / SLOWER_BATCHES)
        self._next_ns = self._clock.monotonic_ns() + int(pause_s * 1e9)

    def _surplus(self, nbytes: int, most: int) -> list[Batch]:
        """The oldest batches, as many as must go for so many bytes more to fit into ``most``: where the disk
        itself is full, and memory soon, that is what it holds already.
        """
        line, surplus = self._line, list[Batch]()
        rows, used = len(line), line.disk_bytes + nbytes
        oldest = iter(sorted(line.on_disk) if rows > self._settings.max_rows or used > most else ())
        while rows > self._settings.max_rows or used > most:
            if (first := next(oldest, None)) is None:
                break
            surplus.append(line.on_disk[first])
            rows -= surplus[-1].pending
            used -= surplus[-1].nbytes
        return surplus

    def drop(self, batch: Batch) -> None:
        """Give a batch up, under the lock."""
        if dropped := self._line.drop(batch):
            self._losses.add(Gap(dropped, batch.oldest_ns, batch.newest_ns))


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
