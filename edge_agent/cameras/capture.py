"""A camera: a source that is read for as long as the daemon runs, whatever happens to it.

A watching thread opens the source in a thread of its own (a :class:`Reading`), gives it up when a call
into it takes too long, and tries again. Nothing that a source does can block the watching thread or
whoever takes the frames.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable

from edge_agent.addresses import masked, scrub
from edge_agent.cameras.kinds import source_for
from edge_agent.cameras.pace import Backoff, Pace
from edge_agent.cameras.picture import upright
from edge_agent.cameras.reading import Reading
from edge_agent.cameras.repeats import Repeats
from edge_agent.cameras.settings import CameraSettings, CameraStatus
from edge_agent.cameras.slot import Bell, Slot
from edge_agent.cameras.source import Picture, Source
from edge_agent.cameras.standing import Standing
from edge_agent.clock import Clock
from edge_agent.errors import CameraError, CameraSetupError
from edge_agent.frames import Frame

logger = logging.getLogger(__name__)

MAX_ABANDONED = 3
"""Threads of one camera that may be blocked in sources that were given up, each with a connection and a
decoder of its own (some 20 MB at 1080p); past this no attempt is made until one of them returns.
"""

INTERRUPT_GRACE_S = 0.5
"""How long a blocked thread may take to return once its source was interrupted."""

SETUP_RETRY_S = 60.0
"""What can never work as configured is tried again all the same, for a program may get installed."""


class Camera:
    """One camera of the configuration; made once, started once, closed once."""

    def __init__(
        self,
        settings: CameraSettings,
        bell: Bell,
        clock: Clock,
        make_source: Callable[[CameraSettings], Source] = source_for,
    ) -> None:
        """Raises CameraSetupError for a source that can never work. ``bell`` rings at each frame."""
        self.name = settings.name
        self.settings = settings
        self.lossless = make_source(settings).lossless
        self._bell = bell
        self._clock = clock
        self._make_source = make_source
        self._changed = threading.Condition()
        self._slot = Slot()
        self._pace = Pace(settings.fps)
        self._backoff = Backoff()
        self._standing = Standing()
        self._reading: Reading | None = None
        self._abandoned: set[Reading] = set()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"camera-{self.name}", daemon=True)

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def take(self) -> Frame | None:
        """The newest frame not yet taken; for a lossless source the next one. Never blocks."""
        with self._changed:
            frame = self._slot.take()
            if frame is not None:
                self._changed.notify_all()
            return frame

    @property
    def ended(self) -> bool:
        """Whether the source has ended and every frame of it was taken."""
        with self._changed:
            # A lossless source is read on only after a frame was taken, so none waits at its end.
            return self._standing.state == "ended"

    def status(self) -> CameraStatus:
        """How it is doing now."""
        with self._changed:
            self._forget_returned()
            standing, now_ns = self._standing, self._clock.monotonic_ns()
            running = self._reading.source.unreadable if self._reading is not None else 0
            return CameraStatus(
                state=standing.state,
                fps=round(standing.rate.per_second(now_ns), 2),
                captured=standing.captured,
                dropped=self._slot.dropped,
                reconnects=standing.reconnects,
                fault=standing.fault or standing.frozen,
                abandoned_threads=len(self._abandoned),
                unreadable=standing.unreadable + running,
                frame_age_s=standing.age_s(now_ns),
            )

    def update(self, *, fps: float) -> None:
        """Change the rate limit of a running camera. Raises CameraSetupError."""
        settings = dataclasses.replace(self.settings, fps=fps)
        with self._changed:
            self.settings = settings
            self._pace.fps = fps
            self._changed.notify_all()

    def close(self, timeout_s: float) -> bool:
        """Stop reading. False: a thread is still blocked in the source, and was left behind."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            self._closing = True
            readings = {*self._abandoned, *([self._reading] if self._reading else [])}
            for reading in readings:
                reading.stop()
            self._changed.notify_all()
        for reading in readings:
            _interrupt(reading)
        if self._thread.ident is not None:
            self._thread.join(max(deadline_s - time.monotonic(), 0.0))
        # One may have begun just before the watching thread saw that it is over.
        returned = [reading.join(deadline_s - time.monotonic()) for reading in readings | self._abandoned]
        return all(returned) and not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._closing and not self._attempt():
                pass
        except Exception as failure:
            words = scrub(f"{type(failure).__name__}: {failure}", self.settings.source)
            self._lose(CameraError(f"the camera's watch failed: {words}", "restart the agent"))
        finally:
            self._bell.ring()

    def _attempt(self) -> bool:
        """Open the source and see it through to its end; True when it is at its end for good."""
        begun_ns = self._clock.monotonic_ns()
        pause_cap_s = SETUP_RETRY_S
        try:
            self._refuse_too_many()
            reading = self._begin()
            pause_cap_s = reading.source.retry_cap_s
            self._see_through(reading)
        except CameraError as error:
            self._lose(error)
            setup = isinstance(error, CameraSetupError)
            pause_s = SETUP_RETRY_S if setup else self._backoff.pause_s(pause_cap_s)
            # Counted from the attempt's start: one that timed out has already waited.
            taken_s = (self._clock.monotonic_ns() - begun_ns) / 1e9
            self._wait_closing(max(pause_s - taken_s, min(pause_s, 0.1)))
            return False
        return True

    def _refuse_too_many(self) -> None:
        """Wait while too many threads are blocked. Raises CameraError, so that the fault is told."""
        with self._changed:
            self._forget_returned()
            if len(self._abandoned) < MAX_ABANDONED:
                return
        self._lose(
            CameraError(
                f"{MAX_ABANDONED} threads are blocked in this source; it is left alone until one returns",
                "restart the camera, then the agent",
            )
        )
        with self._changed:
            while len(self._abandoned) >= MAX_ABANDONED and not self._closing:
                self._changed.wait(1.0)
                self._forget_returned()

    def _begin(self) -> Reading:
        source = self._make_source(self.settings)
        repeats = Repeats(self.settings.frozen_after_s if source.has_sensor else 0.0)
        reading = Reading(
            f"camera-{self.name}-read", source, self._changed, self._slot, self._pace, self._clock, repeats
        )
        with self._changed:
            self._reading = reading
            if self._closing:
                reading.stop()
        reading.start(self._deliver)
        return reading

    def _see_through(self, reading: Reading) -> None:
        """Watch one reading until it finishes or is given up. Raises CameraError, unless it ended well."""
        limits = (self.settings.open_timeout_s, self.settings.stall_timeout_s)
        with self._changed:
            while not (reading.finished or self._closing) and (left_s := reading.left_s(*limits)) > 0:
                self._changed.wait(min(left_s, 1.0))
            overdue = not (reading.finished or self._closing)
            reading.stopped = True
        if overdue:
            _interrupt(reading)
        with self._changed:
            if overdue:
                self._changed.wait_for(lambda: reading.finished or self._closing, INTERRUPT_GRACE_S)
            self._leave(reading)
            if self._closing:
                return
            if overdue:
                raise reading.overdue(*limits)
            if reading.error is not None:
                raise reading.error
            self._standing.end()
        logger.info("camera %s: %s is at its end", self.name, masked(self.settings.source))

    def _leave(self, reading: Reading) -> None:
        self._reading = None
        self._standing.unreadable += reading.source.unreadable
        if not reading.finished:
            self._abandoned.add(reading)

    def _forget_returned(self) -> None:
        self._abandoned = {reading for reading in self._abandoned if not reading.finished}

    def _deliver(self, reading: Reading, picture: Picture, captured_ns: int, captured_at_ns: int) -> None:
        frozen = reading.repeats.see(picture.pixels, captured_ns)
        pixels = upright(picture.pixels, self.settings.rotate, self.settings.region, self.settings.mask)
        with self._changed:
            if reading is not self._reading or reading.stopped:
                return
            came_online = self._standing.count(captured_ns)
            number = self._standing.captured
            self._slot.put(Frame(pixels, number, captured_ns, captured_at_ns, picture.name))
            level = self._standing.online_level() if came_online else logging.NOTSET
            is_news, self._standing.frozen = frozen != self._standing.frozen, frozen
        if came_online:
            self._tell_online(level, picture)
        if is_news:
            self._tell_frozen(frozen)
        self._bell.ring()

    def _tell_frozen(self, fault: str | None) -> None:
        if fault is not None:
            logger.warning("camera %s: %s", self.name, fault)
        else:
            logger.info("camera %s: its pictures change again", self.name)

    def _tell_online(self, level: int, picture: Picture) -> None:
        size = picture.pixels.shape[1], picture.pixels.shape[0]
        logger.log(
            level, "camera %s is online: %dx%d from %s", self.name, *size, masked(self.settings.source)
        )

    def _lose(self, error: CameraError) -> None:
        """The source failed: say so once, in words without secrets."""
        fault = scrub(str(error), self.settings.source)
        with self._changed:
            level, was_steady = self._standing.lose(fault, self._clock.monotonic_ns())
        if was_steady:
            self._backoff.reset()
        logger.log(level, "camera %s (%s): %s", self.name, masked(self.settings.source), fault)
        self._bell.ring()

    def _wait_closing(self, pause_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, pause_s)


def _interrupt(reading: Reading) -> None:
    with contextlib.suppress(OSError):
        reading.source.interrupt()
