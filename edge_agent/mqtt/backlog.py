"""What waits for the broker, within bounds, and what is counted as given up."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from edge_agent.outbox import Kept, Outbox


@dataclass(slots=True, eq=False)
class Outgoing:
    """One message; ``correlation`` is that of an answer; ``kept`` is the same one as the outbox knows it,
    which has it until it is settled.
    """

    topic: str
    payload: bytes
    retain: bool
    live: bool
    correlation: bytes | None = None
    kept: Kept | None = None

    @property
    def nbytes(self) -> int:
        """What it counts for against the bound; characters of the topic stand for bytes."""
        return len(self.topic) + len(self.payload)


@dataclass(frozen=True, slots=True)
class Tally:
    """Where all messages are that were ever handed over, but for the replaced retained ones."""

    waiting: int
    in_flight: int
    sent: int
    dropped: int


class Backlog:
    """Three kinds of message wait here, for any number of threads.

    - *Retained*: the latest per topic, sent first, and again after each connect, and where it was refused.
    - *Kept* (events, predictions of files): in the ``outbox``, which knows their order and their bounds.
    - *Live*: dropped while the broker is away; the oldest is dropped when full.

    Where both wait, a live one and a kept one leave in turns: neither holds the other up. Each kind leaves in
    the order in which it came.
    """

    def __init__(self, limit: int, limit_bytes: int, outbox: Outbox) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._outbox = outbox
        self._changed = threading.Condition()
        self._retained: dict[str, Outgoing] = {}
        self._due: dict[str, None] = {}
        self._refused: dict[str, None] = {}
        self._live: deque[Outgoing] = deque()
        self._in_hand: Outgoing | None = None
        self._in_flight: dict[int, Outgoing] = {}
        self._live_bytes = 0
        self._live_was_last = False
        self._sent = 0
        self._dropped = 0
        self._open = True
        self._connected = False
        self._withdrawn = False

    def put(self, message: Outgoing) -> None:
        """Take one message in; never waits, drops and counts what does not fit."""
        if not message.retain and not message.live:
            self._outbox.put(message.topic, message.payload)
            return
        with self._changed:
            if not self._open:
                self._dropped += 1
            elif message.retain:
                self._retained[message.topic] = message
                self._due[message.topic] = None
            else:
                self._put_live(message)

    def _put_live(self, message: Outgoing) -> None:
        if not self._connected or message.nbytes > self._limit_bytes:
            self._dropped += 1
            return
        while not self._fits(message):
            self._drop_live()
        self._live.append(message)
        self._live_bytes += message.nbytes

    def _fits(self, message: Outgoing) -> bool:
        return len(self._live) < self._limit and self._live_bytes + message.nbytes <= self._limit_bytes

    def _drop_live(self) -> None:
        self._live_bytes -= self._live.popleft().nbytes
        self._dropped += 1

    def take(self, *, one_kept: bool = False) -> Outgoing | None:
        """The next to send; the caller tells its ticket with ``handed``. ``one_kept``: of what is kept none
        while another is in flight.
        """
        with self._changed:
            holds = one_kept and any(each.kept is not None for each in self._in_flight.values())
            self._in_hand = self._next(holds_kept=holds)
            return self._in_hand

    def _next(self, *, holds_kept: bool) -> Outgoing | None:
        if self._due:
            topic = next(iter(self._due))
            del self._due[topic]
            return self._retained[topic]
        if self._live and not self._live_was_last:
            return self._next_live()
        if not holds_kept and (kept := self._outbox.take()) is not None:
            self._live_was_last = False
            return Outgoing(kept.topic, kept.payload, retain=False, live=False, kept=kept)
        return self._next_live() if self._live else None

    def _next_live(self) -> Outgoing:
        message = self._live.popleft()
        self._live_bytes -= message.nbytes
        self._live_was_last = True
        return message

    def handed(self, ticket: int, message: Outgoing) -> None:
        """A taken message is in flight."""
        with self._changed:
            self._in_flight[ticket] = message
            self._in_hand = None

    def settle(self, ticket: int, *, taken: bool, for_good: bool = True) -> Outgoing | None:
        """The broker's word on a message in flight, if it is known; a retained empty one is now forgotten.

        One that it did not take, but not ``for_good``, stays in the outbox if that has it, and waits for
        :meth:`try_again` if it is retained.
        """
        with self._changed:
            message = self._in_flight.pop(ticket, None)
            if message is None:
                return None
            self._sent += taken
            if message.retain and not taken and not for_good:
                self._refused[message.topic] = None
            else:
                self._settled(message, taken=taken, for_good=for_good)
            self._changed.notify_all()
            return message

    def _settled(self, message: Outgoing, *, taken: bool, for_good: bool) -> None:
        if message.kept is None:
            self._dropped += not taken
        elif taken:
            self._outbox.settle(message.kept)
        else:
            self._outbox.refuse(message.kept, for_good=for_good)
        if message.retain and not message.payload and self._retained.get(message.topic) is message:
            del self._retained[message.topic]
            self._due.pop(message.topic, None)

    def try_again(self) -> None:
        """What is retained and was refused is due: who forbade it may allow it by now."""
        with self._changed:
            self._due |= {topic: None for topic in self._refused if topic in self._retained}
            self._refused.clear()

    def connected(self, last: Outgoing, *, resumed: bool = False) -> None:
        """A session began: every retained message is due, ``last`` after all others. Unless the broker has
        ``resumed`` the one before, nothing of that is in flight any more.
        """
        with self._changed:
            if not resumed:
                self._lose()
            self._connected = True
            self._retained[last.topic] = last
            self._all_due(last.topic)

    def resend(self, last: str) -> None:
        """Every retained message is due, that of the topic ``last`` after all others."""
        with self._changed:
            self._all_due(last)

    def _all_due(self, last: str) -> None:
        self._refused.clear()
        self._due = dict.fromkeys(topic for topic in self._retained if topic != last)
        if last in self._retained:
            self._due[last] = None

    def disconnected(self, begun: Collection[int] = ()) -> None:
        """A connection ended: what was in flight and kept waits again, what was live is dropped. The tickets
        in ``begun`` stay in flight: the next connection may go on with them.
        """
        with self._changed:
            self._connected = False
            self._lose(begun)
            while self._live:
                self._drop_live()
            self._changed.notify_all()

    def _lose(self, begun: Collection[int] = ()) -> None:
        """Nothing is in flight any more but these."""
        kept = {ticket: each for ticket, each in self._in_flight.items() if ticket in begun}
        lost = [each for ticket, each in self._in_flight.items() if ticket not in begun]
        for message in [*lost, *([self._in_hand] if self._in_hand else [])]:
            if message.retain:
                self._due[message.topic] = None
            elif message.live:
                self._dropped += 1
        self._in_flight, self._in_hand = kept, None
        self._outbox.give_back([each.kept for each in kept.values() if each.kept is not None])

    def close(self) -> None:
        """Take nothing more in."""
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def withdraw(self, last: Outgoing) -> None:
        """One more retained message, though the backlog is closed; of what else waits, what is kept stays in
        the outbox, what is live is dropped.
        """
        with self._changed:
            while self._live:
                self._drop_live()
            self._outbox.hold()
            self._withdrawn = True
            self._retained[last.topic] = last
            self._due[last.topic] = None

    def give_up(self) -> None:
        """Drop and count what can no longer be sent; what is kept stays in the outbox."""
        self.disconnected()
        with self._changed:
            self._dropped += len(self._due)
            self._due.clear()
            self._withdrawn = True
            self._changed.notify_all()

    @property
    def in_flight(self) -> int:
        """Messages handed over and not settled."""
        return len(self._in_flight)

    @property
    def oldest_in_flight(self) -> Outgoing | None:
        """The one of these that was handed over first; for the thread that does so."""
        return next(iter(self._in_flight.values()), None)

    def tally(self) -> Tally:
        """The counts, all of one moment."""
        with self._changed:
            outbox = self._outbox.status()
            waiting = len(self._due) + outbox.rows - outbox.taken + len(self._live)
            return Tally(waiting, len(self._in_flight), self._sent, self._dropped + outbox.dropped)

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until nothing waits that is still to be sent, and nothing is in flight."""
        return self._wait(self._is_empty, timeout_s)

    def _is_empty(self) -> bool:
        waits = self._due or self._live or self._in_flight or self._in_hand
        return not waits and (self._withdrawn or not self._outbox.status().rows)

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until a kept message fits without a loss."""
        return self._wait(self._outbox.has_room, timeout_s)

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)
