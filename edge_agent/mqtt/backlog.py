"""What waits for the broker, within bounds, and what is counted as given up."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Outgoing:
    """One message; ``number`` is its place in the order of publishing, ``correlation`` that of an answer."""

    topic: str
    payload: bytes
    retain: bool
    live: bool
    number: int = 0
    correlation: bytes | None = None

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

    - *Retained*: the latest per topic, sent first, and again after each connect.
    - *Kept* (events, predictions of files): wait while the broker is away; the oldest is dropped when full.
    - *Live*: dropped while the broker is away; when full, the oldest goes first, before any kept one.

    Kept and live ones leave in the order in which they came, so order per topic holds.
    """

    def __init__(self, limit: int, limit_bytes: int) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._retained: dict[str, Outgoing] = {}
        self._due: dict[str, None] = {}
        self._kept: deque[Outgoing] = deque()
        self._live: deque[Outgoing] = deque()
        self._in_hand: Outgoing | None = None
        self._in_flight: dict[int, Outgoing] = {}
        self._kept_bytes = 0
        self._live_bytes = 0
        self._numbers = 0
        self._sent = 0
        self._dropped = 0
        self._open = True
        self._connected = False

    def put(self, message: Outgoing) -> None:
        """Take one message in; never waits, drops and counts what does not fit."""
        with self._changed:
            self._numbers += 1
            message.number = self._numbers
            if not self._open:
                self._dropped += 1
            elif message.retain:
                self._retained[message.topic] = message
                self._due[message.topic] = None
            elif message.live:
                self._put_live(message)
            else:
                self._put_kept(message)

    def _put_live(self, message: Outgoing) -> None:
        if not self._connected:
            self._dropped += 1
            return
        while self._live and not self._fits(message):
            self._drop_live()
        if self._fits(message):
            self._live.append(message)
            self._live_bytes += message.nbytes
        else:
            self._dropped += 1

    def _put_kept(self, message: Outgoing) -> None:
        while self._live and not self._fits(message):
            self._drop_live()
        while self._kept and not self._fits(message):
            self._kept_bytes -= self._kept.popleft().nbytes
            self._dropped += 1
        if self._fits(message):
            self._kept.append(message)
            self._kept_bytes += message.nbytes
        else:
            self._dropped += 1

    def _fits(self, message: Outgoing) -> bool:
        return (
            len(self._kept) + len(self._live) < self._limit
            and self._kept_bytes + self._live_bytes + message.nbytes <= self._limit_bytes
        )

    def _drop_live(self) -> None:
        self._live_bytes -= self._live.popleft().nbytes
        self._dropped += 1

    def take(self) -> Outgoing | None:
        """The next to send; the caller tells its ticket with ``handed``."""
        with self._changed:
            self._in_hand = self._next()
            return self._in_hand

    def _next(self) -> Outgoing | None:
        if self._due:
            topic = next(iter(self._due))
            del self._due[topic]
            return self._retained[topic]
        if self._kept and (not self._live or self._kept[0].number < self._live[0].number):
            message = self._kept.popleft()
            self._kept_bytes -= message.nbytes
            self._changed.notify_all()
            return message
        if self._live:
            message = self._live.popleft()
            self._live_bytes -= message.nbytes
            return message
        return None

    def handed(self, ticket: int, message: Outgoing) -> None:
        """A taken message is in flight."""
        with self._changed:
            self._in_flight[ticket] = message
            self._in_hand = None

    def settle(self, ticket: int, *, taken: bool) -> Outgoing | None:
        """The broker's word on a message in flight, if it is known; a retained empty one is now forgotten."""
        with self._changed:
            message = self._in_flight.pop(ticket, None)
            if message is None:
                return None
            self._sent += taken
            self._dropped += not taken
            if message.retain and not message.payload and self._retained.get(message.topic) is message:
                del self._retained[message.topic]
                self._due.pop(message.topic, None)
            self._changed.notify_all()
            return message

    def connected(self, last: Outgoing) -> None:
        """A session began: every retained message is due, ``last`` after all others."""
        with self._changed:
            self._connected = True
            self._retained[last.topic] = last
            self._all_due(last.topic)

    def resend(self, last: str) -> None:
        """Every retained message is due, that of the topic ``last`` after all others."""
        with self._changed:
            self._all_due(last)

    def _all_due(self, last: str) -> None:
        self._due = dict.fromkeys(topic for topic in self._retained if topic != last)
        if last in self._retained:
            self._due[last] = None

    def disconnected(self) -> None:
        """A session ended: what was in flight and kept waits again, what was live is dropped."""
        with self._changed:
            self._connected = False
            for message in self._unsettled():
                if message.retain:
                    self._due[message.topic] = None
                elif message.live:
                    self._dropped += 1
                else:
                    self._kept.appendleft(message)
                    self._kept_bytes += message.nbytes
            while self._live:
                self._drop_live()
            self._changed.notify_all()

    def _unsettled(self) -> list[Outgoing]:
        """Everything in flight, the newest first; nothing is in flight any more."""
        messages = [*self._in_flight.values(), *([self._in_hand] if self._in_hand else [])]
        self._in_flight.clear()
        self._in_hand = None
        return sorted(messages, key=lambda each: each.number, reverse=True)

    def close(self) -> None:
        """Take nothing more in."""
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def withdraw(self, last: Outgoing) -> None:
        """One more retained message, though the backlog is closed; whatever still waits is dropped."""
        with self._changed:
            while self._live:
                self._drop_live()
            self._dropped += len(self._kept)
            self._kept.clear()
            self._kept_bytes = 0
            self._retained[last.topic] = last
            self._due[last.topic] = None

    def give_up(self) -> None:
        """Drop and count what can no longer be sent."""
        self.disconnected()
        with self._changed:
            self._dropped += len(self._kept) + len(self._due)
            self._kept.clear()
            self._due.clear()
            self._kept_bytes = 0
            self._changed.notify_all()

    @property
    def in_flight(self) -> int:
        """Messages handed over and not settled."""
        return len(self._in_flight)

    def tally(self) -> Tally:
        """The counts, all of one moment."""
        with self._changed:
            waiting = len(self._due) + len(self._kept) + len(self._live)
            return Tally(waiting, len(self._in_flight), self._sent, self._dropped)

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until nothing waits and nothing is in flight."""
        return self._wait(self._is_empty, timeout_s)

    def _is_empty(self) -> bool:
        return not (self._due or self._kept or self._live or self._in_flight or self._in_hand)

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until a kept message fits without a loss, with a tenth to spare for other threads."""
        return self._wait(
            lambda: len(self._kept) * 10 < self._limit * 9 and self._kept_bytes * 10 < self._limit_bytes * 9,
            timeout_s,
        )

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)
