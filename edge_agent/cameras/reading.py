"""One connection to a source: a thread that opens it and reads it until it ends, fails or is stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edge_agent.cameras.pace import Pace
from edge_agent.cameras.repeats import Repeats
from edge_agent.cameras.slot import Slot
from edge_agent.cameras.source import Picture, Source
from edge_agent.clock import Clock
from edge_agent.errors import CameraError, CameraStalledError

logger = logging.getLogger(__name__)

Deliver = Callable[["Reading", Picture, int, int], None]
"""Called with each picture, when it was grabbed (CLOCK_MONOTONIC, ns) and Unix time (ns)."""

_NEVER_NS = 1 << 62

MAX_SPOILT = 30
"""So many undecodable pictures in a row, about a second of them, are no passing fault of a line."""


class Reading:
    """Used once. ``changed`` is the camera's lock; it guards the slot, the pace and every field here."""

    def __init__(
        self,
        name: str,
        source: Source,
        changed: threading.Condition,
        slot: Slot,
        pace: Pace,
        clock: Clock,
        repeats: Repeats,
    ) -> None:
        self.source = source
        self.error: CameraError | None = None
        """Why it finished; None while it runs, and when the source is at its end."""
        self.finished = False
        self.stopped = False
        self.repeats = repeats
        """Not guarded: the thread that reads has it for itself."""
        self._changed = changed
        self._slot = slot
        self._pace = pace
        self._clock = clock
        self._opened = False
        self._spoilt = 0
        self._busy_since_ns: int | None = clock.monotonic_ns()
        """Since when a call into the source has not returned; None while it waits for the lane."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._deliver: Deliver = _nobody

    def start(self, deliver: Deliver) -> None:
        """Open and read in a thread of its own, until stopped."""
        self._deliver = deliver
        self._thread.start()

    def stop(self) -> None:
        """Ask it to finish after the call that it is in; ``changed`` must be held."""
        self.stopped = True
        self._changed.notify_all()

    def join(self, timeout_s: float) -> bool:
        """Whether the thread has ended within the time."""
        if self._thread.ident is not None:
            self._thread.join(max(timeout_s, 0.0))
        return not self._thread.is_alive()

    def left_s(self, open_timeout_s: float, stall_timeout_s: float) -> float:
        """How long the call in flight may still take; below 0 when it is overdue. ``changed`` is held."""
        if self._busy_since_ns is None or self.finished:
            return _NEVER_NS / 1e9
        allowed_s = stall_timeout_s if self._opened else open_timeout_s
        return allowed_s - (self._clock.monotonic_ns() - self._busy_since_ns) / 1e9

    def overdue(self, open_timeout_s: float, stall_timeout_s: float) -> CameraError:
        """What to say of a call that took too long."""
        if self._opened:
            return CameraStalledError(
                f"no picture for {stall_timeout_s:g} s", "look after the camera and its network"
            )
        return CameraError(
            f"it did not open within {open_timeout_s:g} s", "look after the camera and its network"
        )

    def _run(self) -> None:
        error: CameraError | None = None
        try:
            self._read()
        except CameraError as failure:
            error = failure
        except Exception as failure:
            error = CameraError(f"the capture thread failed: {type(failure).__name__}: {failure}")
        try:
            self.source.close()
        except Exception as failure:
            logger.debug("closing a source failed: %s", type(failure).__name__)
        with self._changed:
            self.error = error
            self.finished = True
            self._changed.notify_all()

    def _read(self) -> None:
        if self.stopped:
            return
        self.source.open()
        with self._changed:
            self._opened = True
        while self._await_turn():
            if not self.source.grab():
                return
            captured_ns, captured_at_ns = self._clock.monotonic_ns(), self._clock.wall_ns()
            if not self._is_wanted(captured_ns):
                continue
            picture = self.source.retrieve()
            if picture is None:
                self._count_spoilt()
            else:
                self._spoilt = 0
                self._deliver(self, picture, captured_ns, captured_at_ns)

    def _count_spoilt(self) -> None:
        """Live sources only: a file tells by itself when none of it can be read."""
        self._spoilt += 1
        if self._spoilt >= MAX_SPOILT and not self.source.lossless:
            raise CameraError(
                "it sends pictures that cannot be decoded", "restart the camera, check its cable"
            )

    def _await_turn(self) -> bool:
        """Whether to grab on: a live source at once, a lossless one when there is room and it is time."""
        with self._changed:
            if self.source.lossless:
                self._busy_since_ns = None
                while not self.stopped and (wait_s := self._wait_s()) > 0:
                    self._changed.wait(wait_s)
            self._busy_since_ns = self._clock.monotonic_ns()
            return not self.stopped

    def _wait_s(self) -> float:
        if not self._slot.is_empty:
            return 1.0
        return self._pace.left_ns(self._clock.monotonic_ns()) / 1e9

    def _is_wanted(self, captured_ns: int) -> bool:
        with self._changed:
            if self.source.lossless:
                self._pace.step(captured_ns)
                return True
            return not self.stopped and self._pace.is_due(captured_ns)


def _nobody(_reading: Reading, _picture: Picture, _captured_ns: int, _captured_at_ns: int) -> None:
    """Before :meth:`Reading.start`, nobody waits for pictures."""
