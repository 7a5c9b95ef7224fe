"""The order in which messages wait, and where each of them is. Pure: no thread, no disk, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from edge_agent.outbox.kept import BATCH_ROWS, Batch, Kept

PAGE_ROWS = 500
"""Messages of the disk that are held in memory to be sent next."""


class Line:
    """Messages in the order of their numbers, the oldest first.

    They are ``taken`` (on their way, not acknowledged), ``next`` (in memory; mostly on the disk as well),
    ``stored`` (batches on the disk that nobody has read yet), ``saving`` (being written now) or ``fresh``
    (memory only), in this order. While nothing is stored or being saved, fresh ones are sent from memory.
    ``on_disk`` are the batches with messages that are not acknowledged, by the first of their numbers:
    ``disk_rows`` messages; ``done`` are those to be removed. ``repeated`` messages are acknowledged and still
    stored: they would be sent again after a kill.
    """

    def __init__(self) -> None:
        self.taken: dict[Kept, None] = {}
        self.stored: deque[Batch] = deque()
        self.on_disk: dict[int, Batch] = {}
        self.disk_bytes = 0
        self.disk_rows = 0
        self.done: list[Batch] = []
        self.repeated = 0
        self._next: deque[Kept] = deque()
        self._saving: deque[Kept] = deque()
        self._fresh: deque[Kept] = deque()
        self._fresh_bytes = 0
        self._stored_rows = 0
        self._numbers = 0

    def __len__(self) -> int:
        return len(self.taken) + self.waiting

    @property
    def waiting(self) -> int:
        """Messages that were not taken."""
        return len(self._next) + self._stored_rows + len(self._saving) + len(self._fresh)

    @property
    def fresh_rows(self) -> int:
        """Messages in memory only that nobody writes yet."""
        return len(self._fresh)

    @property
    def fresh_bytes(self) -> int:
        """Their size."""
        return self._fresh_bytes

    # At the ends

    def add(self, message: Kept) -> None:
        """The newest one; it gets its number."""
        self._numbers += 1
        message.number = self._numbers
        self._fresh.append(message)
        self._fresh_bytes += message.nbytes

    def drop_fresh(self) -> Kept:
        """The oldest of those that are in memory only is given up."""
        message = self._fresh.popleft()
        self._fresh_bytes -= message.nbytes
        return message

    @property
    def head(self) -> Kept | None:
        """The one to be taken next; None where there is none, or it must be read first."""
        if self._next:
            return self._next[0]
        if self.stored or self._saving or not self._fresh:
            return None
        return self._fresh[0]

    def take(self) -> Kept:
        """Take the :attr:`head`."""
        message = self._next.popleft() if self._next else self.drop_fresh()
        self.taken[message] = None
        return message

    def settle(self, message: Kept) -> None:
        """A taken one is acknowledged, or refused for good."""
        if message not in self.taken:
            return
        del self.taken[message]
        message.settled = True
        if message.batch is not None:
            message.batch.pending -= 1
            self.disk_rows -= 1
            self.repeated += 1
            if not message.batch.pending:
                self._forget(message.batch)
                self.done.append(message.batch)

    def give_back(self, returned: Iterable[Kept]) -> None:
        """What was taken waits again, in its place."""
        back = [each for each in returned if each in self.taken]
        for message in back:
            del self.taken[message]
        newest = max((each.number for each in back), default=0)
        while self._next and self._next[0].number < newest:
            back.append(self._next.popleft())
        self._next.extendleft(sorted(back, key=lambda each: each.number, reverse=True))

    @property
    def is_ahead(self) -> bool:
        """Another batch is not to be begun before acknowledged ones are removed from the disk: a kill would
        have too many sent again.
        """
        batch = self._next[0].batch if self._next else None
        taken = [each.batch for each in self.taken if each.batch is not None]
        if batch is None or batch.pending < batch.count or batch in taken:
            return False
        is_begun = bool(self.done or taken)
        return is_begun and self.repeated + len(taken) + batch.count > BATCH_ROWS

    # To the disk and back

    def unsaved(self) -> Iterator[Kept]:
        """What is in memory only, the oldest first."""
        return (each for part in (self._sent(), self._fresh) for each in part if each.batch is None)

    def _sent(self) -> list[Kept]:
        return [*self.taken, *self._next]

    def save(self) -> tuple[list[Kept], list[Kept]]:
        """Begin to write all that is in memory only: those whose turn it is or was, and the fresh ones."""
        self._saving, self._fresh = self._fresh, deque()
        self._fresh_bytes = 0
        sent = sorted(self._sent(), key=lambda each: each.number)
        return [each for each in sent if each.batch is None], list(self._saving)

    def saved(self, written: Iterable[tuple[Batch, Sequence[Kept]]]) -> None:
        """What was begun with :meth:`save` is on the disk."""
        newest = {each.number for each in self._saving}
        self._saving.clear()
        for batch, messages in written:
            batch.pending = sum(not each.settled for each in messages)
            self.repeated += batch.count - batch.pending
            if not batch.pending:
                self.done.append(batch)
                continue
            self._know(batch)
            fresh = messages[0].number in newest
            if fresh and (self.stored or len(self._next) + len(messages) > PAGE_ROWS):
                self.stored.append(batch)
                self._stored_rows += batch.count
                continue
            for message in messages:
                message.batch = batch
            if fresh:
                self._next.extend(messages)

    def removed(self, batches: Iterable[Batch]) -> None:
        """These are on the disk no more."""
        self.repeated -= sum(each.count - each.pending for each in batches)

    def not_saved(self) -> None:
        """What was begun with :meth:`save` could not be written."""
        self._fresh.extendleft(reversed(self._saving))
        self._fresh_bytes += sum(each.nbytes for each in self._saving)
        self._saving.clear()

    def found(self, found: Iterable[Batch]) -> None:
        """What is on the disk from before, the oldest first: all that was added is younger."""
        found = list(found)
        newest = found[-1].last if found else 0
        self._numbers += newest
        for message in self.unsaved():
            message.number += newest
        for batch in found:
            batch.pending = batch.count
            self._know(batch)
            self.stored.append(batch)
            self._stored_rows += batch.count

    @property
    def wanted(self) -> Batch | None:
        """The batch to be read now; None where enough is in memory."""
        return self.stored[0] if self.stored and len(self._next) < PAGE_ROWS // 2 else None

    def read(self, batch: Batch, messages: Sequence[Kept]) -> None:
        """The :attr:`wanted` one was read."""
        self.stored.popleft()
        self._stored_rows -= batch.count
        self._next.extend(messages)

    # What is given up

    def drop(self, batch: Batch) -> int:
        """Give a batch up; how many messages that were. One on its way stays there, in memory only."""
        self._forget(batch)
        if batch in self.stored:
            self.stored.remove(batch)
            self._stored_rows -= batch.count
            return batch.count
        kept = deque(each for each in self._next if each.batch is not batch)
        dropped = len(self._next) - len(kept)
        self._next = kept
        self._cut_loose(batch)
        return dropped

    def loosen(self) -> None:
        """What is left of batches of which a part is acknowledged is as if it had never been stored."""
        for batch in [each for each in self.on_disk.values() if each.pending < each.count]:
            self._forget(batch)
            self.done.append(batch)
            self._cut_loose(batch)

    def clear(self) -> int:
        """Forget everything; how many messages were in memory only."""
        lost = sum(1 for _ in self.unsaved())
        self.lose_disk()
        for part in (self.taken, self._next, self._saving, self._fresh):
            part.clear()
        self._fresh_bytes = 0
        return lost

    def lose_disk(self) -> list[Batch]:
        """The disk is no more what it was; the batches that were only there."""
        lost = list(self.stored)
        self.stored.clear()
        self.on_disk.clear()
        self.done.clear()
        self.disk_bytes = self.disk_rows = self.repeated = self._stored_rows = 0
        self._cut_loose()
        return lost

    def _cut_loose(self, batch: Batch | None = None) -> None:
        """Messages of that batch, or of any, are in memory only."""
        for message in self._sent():
            if batch is None or message.batch is batch:
                message.batch = None

    def _know(self, batch: Batch) -> None:
        self.on_disk[batch.first] = batch
        self.disk_bytes += batch.nbytes
        self.disk_rows += batch.pending

    def _forget(self, batch: Batch) -> None:
        if self.on_disk.pop(batch.first, None) is not None:
            self.disk_bytes -= batch.nbytes
            self.disk_rows -= batch.pending
