"""What was given up without being sent: counted, and told as a gap."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge_agent.outbox.kept import Batch, Kept

logger = logging.getLogger(__name__)

_REMEDY = "give [outbox] more room, or bring the broker back sooner"


@dataclass(frozen=True)
class Gap:
    """Messages that were dropped without being sent: how many, and when the first and the last of them were
    handed over (Unix time in ns).
    """

    count: int
    first_ns: int
    last_ns: int

    def __add__(self, other: Gap | None) -> Gap:
        """Both as one."""
        if other is None:
            return self
        first_ns, last_ns = min(self.first_ns, other.first_ns), max(self.last_ns, other.last_ns)
        return Gap(self.count + other.count, first_ns, last_ns)


class Losses:
    """``dropped`` were given up since the start. ``gap`` is the last hole; while it ``stands``, more may fall
    into it: until all that waits has been sent. Not for several threads.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.gap: Gap | None = None
        self.stands = False

    @property
    def fault(self) -> str | None:
        """What to tell while the gap stands."""
        if self.gap is None or not self.stands:
            return None
        return f"the oldest messages that waited for the broker were dropped (see outbox.gap); {_REMEDY}"

    def add(self, gap: Gap) -> None:
        """These were dropped; the first time aloud."""
        self.dropped += gap.count
        if not self.stands:
            self.gap, self.stands = None, True
            logger.warning("the oldest messages that wait for the broker are dropped; %s", _REMEDY)
        self.gap = gap + self.gap

    def add_messages(self, messages: Sequence[Kept]) -> None:
        """The same, for messages in memory."""
        if messages:
            times = [each.wall_ns for each in messages]
            self.add(Gap(len(messages), min(times), max(times)))

    def add_batches(self, batches: Iterable[Batch]) -> None:
        """The same, for messages on the disk."""
        for each in batches:
            self.add(Gap(each.pending, each.oldest_ns, each.newest_ns))

    def with_batches(self, batches: Iterable[Batch]) -> Gap | None:
        """What is to be told once these are dropped, too; None: nothing."""
        gap = self.gap if self.stands else None
        for each in batches:
            gap = Gap(each.pending, each.oldest_ns, each.newest_ns) + gap
        return gap

    def recall(self, gap: Gap | None) -> None:
        """A gap of an earlier run, which nobody may have been told of."""
        if gap is not None:
            self.gap, self.stands = gap + self.gap, True

    def end(self) -> None:
        """All that waited was sent: the next gap is another one."""
        if self.stands and self.gap is not None:
            logger.warning("%d messages were dropped while they waited for the broker", self.gap.count)
        self.stands = False
