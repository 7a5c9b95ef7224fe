"""What must not be lost: handed over by any thread, sent by the publisher's, stored by one of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection

from edge_agent.allowance import Allowance
from edge_agent.clock import Clock
from edge_agent.messages import is_unsynced, restamped
from edge_agent.outbox.keeping import Keeping
from edge_agent.outbox.kept import Kept
from edge_agent.outbox.line import Line
from edge_agent.outbox.losses import Losses
from edge_agent.outbox.settings import PATIENCE_S, OutboxSettings, OutboxStatus

logger = logging.getLogger(__name__)

LOOK_S = 0.5
"""How often the thread looks while something waits."""

IDLE_S = 60.0
"""How long it sleeps at most where nothing does."""

CLOCK_S = 5.0
"""After a connect, what waited for longer than ``LONG_S`` waits this long for the clock: NTP comes back with
the network, but mostly some seconds later than the broker."""

LONG_S = 30.0

REFUSED_S = 60.0
"""So long nothing is sent after the broker refused a message for a reason that may pass."""


class Outbox:
    """Keeps messages until the broker has acknowledged them, in the order in which they were handed over.

    :meth:`put` never touches the disk. A message that is not acknowledged within ``PATIENCE_S`` is stored by
    a thread of this class together with all behind it: then the broker is away, or slow. What is stored
    outlives the process and the power. Where a bound is met the oldest go, counted.

    :meth:`take`, :meth:`settle`, :meth:`refuse`, :meth:`give_back` and :meth:`hold` are the publisher's.
    Times told by a clock that was not set are corrected before they are sent, in the same boot.
    """

    def __init__(self, settings: OutboxSettings, clock: Clock) -> None:
        """Nothing is opened, read or written yet."""
        self._settings = settings
        self._clock = clock
        self._changed = threading.Condition()
        self._line = Line()
        self._losses = Losses()
        self._rouse: Callable[[], None] = lambda: None
        self._keeping: Keeping | None = None
        if settings.folder is not None:
            rouse = lambda: self._rouse()  # noqa: E731  it comes with start()
            self._keeping = Keeping(
                settings, clock, self._changed, self._line, self._losses, self._is_old, rouse
            )
        self._replay = Allowance(max(1.0, settings.replay_per_s), settings.replay_per_s, clock)
        self._hurried = False
        self._held = False
        self._open = True
        self._idle = False
        self._begun_ns: int | None = None
        self._refused_until_ns = 0
        self._crash: str | None = None
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self, rouse: Callable[[], None]) -> None:
        """Let the thread begin; ``rouse`` is called when there may be something to take."""
        self._rouse = rouse
        if self._keeping is not None:
            self._thread.start()

    def put(self, topic: str, payload: bytes) -> None:
        """Hand one message over; never waits, neither for the broker nor for the disk."""
        wall_ns, monotonic_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
        with self._changed:
            if not self._open:
                self._losses.dropped += 1
                return
            self._line.add(Kept(topic, payload, wall_ns, monotonic_ns, self._settings.boot))
            self._replay.spend(-1)  # what comes in is sent beyond what is sent again
            while self._is_overfull():
                self._losses.add_messages([self._line.drop_fresh()])
            if self._idle:
                self._idle = False
                self._changed.notify_all()

    def _is_overfull(self) -> bool:
        settings, line = self._settings, self._line
        return line.fresh_rows > settings.memory_rows or line.fresh_bytes > settings.memory_bytes

    def has_room(self) -> bool:
        """Whether who can wait should hand over another: less waits than nine tenths of what memory takes, so
        several threads may ask and then hand over one each.
        """
        settings = self._settings
        with self._changed:
            return (
                len(self._line) * 10 < settings.memory_rows * 9
                and self._line.fresh_bytes * 10 < settings.memory_bytes * 9
            )

    def hurry(self, *, on: bool) -> None:
        """Send what waited as fast as it goes, or in measure again."""
        self._hurried = on

    def status(self) -> OutboxStatus:
        """How it stands."""
        with self._changed:
            line, losses = self._line, self._losses
            trouble = self._crash or (None if self._keeping is None else self._keeping.fault)
            return OutboxStatus(
                rows=len(line),
                taken=len(line.taken),
                on_disk=line.disk_rows,
                disk_bytes=line.disk_bytes,
                dropped=losses.dropped,
                gap=losses.gap,
                fault=trouble or losses.fault,  # the disk may be why they were dropped
            )

    def close(self, timeout_s: float = 1.0) -> None:
        """Take nothing more in and store what is not acknowledged; what cannot be stored is dropped."""
        with self._changed:
            self._open, self._held = False, True
            self._changed.notify_all()
        if self._thread.ident is None:
            if self._keeping is not None:
                self._keeping.last()
        else:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                logger.warning("the disk takes too long: what waited for the broker may be lost")
                return
        with self._changed:
            lost = self._line.clear()
            self._losses.dropped += lost
        if lost and self._keeping is not None:
            logger.warning("%d messages could not be kept for the next start", lost)

    # For the publisher

    def take(self) -> Kept | None:
        """The next message to send; None where there is none, or not yet."""
        with self._changed:
            if self._held or (self._keeping is not None and not self._keeping.recalled):
                return None
            now_ns = self._clock.monotonic_ns()
            if now_ns < self._refused_until_ns:
                return None
            if self._begun_ns is None:
                self._begun_ns = now_ns
            is_ahead = self._keeping is not None and self._keeping.removes and self._line.is_ahead
            if is_ahead or self._line.wanted is not None:
                self._changed.notify_all()
            message = None if is_ahead else self._head()
            if message is None or self._must_wait(message, now_ns, self._begun_ns):
                return None
            self._line.take()
            self._correct(message)
            return message

    def _head(self) -> Kept | None:
        """The next one that is not too old."""
        while (message := self._line.head) is not None:
            if not self._is_old(message.boot, message.wall_ns, message.monotonic_ns):
                return message
            self._losses.add_messages([message])
            self._settled(self._line.take())
        return None

    def _is_old(self, boot: str, wall_ns: int, monotonic_ns: int) -> bool:
        """Whether what was handed over then is to be given up. Nobody knows the age of what another boot left
        before the clock is set.
        """
        if not self._settings.max_age_s:
            return False
        if boot == self._settings.boot:
            age_ns = self._clock.monotonic_ns() - monotonic_ns
        else:
            age_ns = self._clock.wall_ns() - wall_ns if self._clock.is_synced() else 0
        return age_ns > self._settings.max_age_s * 1e9

    def _must_wait(self, message: Kept, now_ns: int, begun_ns: int) -> bool:
        """Whether it waited so long that it may wait a little more: for the clock, or for its turn."""
        ours = message.boot == self._settings.boot
        waited_s = (now_ns - message.monotonic_ns) / 1e9 if ours else LONG_S
        if waited_s <= PATIENCE_S or self._hurried:
            return False
        just_begun = now_ns - begun_ns < CLOCK_S * 1e9
        if (
            ours
            and waited_s > LONG_S
            and just_begun
            and is_unsynced(message.payload)
            and not self._clock.is_synced()
        ):
            return True
        if self._replay.left < 1:
            return True
        self._replay.spend(1)
        return False

    def _correct(self, message: Kept) -> None:
        if message.boot == self._settings.boot and is_unsynced(message.payload) and self._clock.is_synced():
            offset_ns = self._clock.wall_ns() - self._clock.monotonic_ns()
            by_ns = offset_ns - (message.wall_ns - message.monotonic_ns)
            message.payload = restamped(message.payload, by_ns)

    def settle(self, message: Kept) -> None:
        """The broker acknowledged a message."""
        with self._changed:
            self._settled(message)

    def refuse(self, message: Kept, *, for_good: bool) -> None:
        """The broker would not take it: ``for_good``, whenever it comes, or now. Then it keeps its place, and
        all behind it waits with it.
        """
        with self._changed:
            if for_good:
                self._losses.dropped += 1
                self._settled(message)
            else:
                self._line.give_back([message])
                self._refused_until_ns = self._clock.monotonic_ns() + int(REFUSED_S * 1e9)

    def _settled(self, message: Kept) -> None:
        self._line.settle(message)
        if not self._line:
            self._losses.end()

    def give_back(self, but: Collection[Kept] = ()) -> None:
        """The connection is lost: what was taken and not settled is to be taken again, in its order, ``but``
        what the next connection goes on with.
        """
        with self._changed:
            self._line.give_back([each for each in self._line.taken if each not in but])
            self._begun_ns = None
            self._refused_until_ns = 0

    def hold(self) -> None:
        """Nothing more is to be taken: the end of the agent is near."""
        self._held = True

    def turn(self) -> None:
        """Store, read and remove what is due: what the thread does again and again."""
        if self._keeping is not None:
            self._keeping.turn()

    def _run(self) -> None:
        """The thread."""
        assert self._keeping is not None
        try:
            while self._open:
                self.turn()
                self._wait()
            self._keeping.last()
        except Exception as error:  # the top of a thread
            logger.exception("the outbox ended")
            self._crash = f"what waits for the broker is in memory only: {error!r}; restart the agent"
            self._keeping.forsake()

    def _wait(self) -> None:
        with self._changed:
            if self._open:
                self._idle = not self._line and not self._line.done
                self._changed.wait(IDLE_S if self._idle else LOOK_S)
                self._idle = False
