"""Cameras and sources that do what a test says."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable

import numpy as np

from edge_agent.cameras import Bell, Camera, CameraSettings, CameraStatus, Picture
from edge_agent.clock import Clock, SystemClock
from edge_agent.frames import Frame, Pixels

PATIENCE_S = 30.0
"""How long a test waits for what should happen soon; only a failing test waits so long."""


def plain_picture(value: int = 0, size: tuple[int, int] = (4, 6)) -> Pixels:
    """A small picture of one grey."""
    return np.full((*size, 3), value, np.uint8)


def until(condition: Callable[[], bool], bell: Bell) -> None:
    """Wait for the bell until the condition holds; fails the test when it never does."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s, "what the test waits for did not happen"
        bell.wait(0.1)


def next_frame(camera: Camera, bell: Bell) -> Frame | None:
    """The next frame, waited for; None once the source has ended."""
    give_up_s = time.monotonic() + PATIENCE_S
    while (frame := camera.take()) is None and not camera.ended:
        assert time.monotonic() < give_up_s, "no frame came"
        bell.wait(0.1)
    return frame


class FakeCamera:
    """A camera without a source or thread: frames come from :meth:`show`, one after the other."""

    def __init__(
        self,
        name: str = "door",
        bell: Bell | None = None,
        clock: Clock | None = None,
        *,
        lossless: bool = False,
    ) -> None:
        self.name = name
        self.settings = CameraSettings(name, "scene:finishes")
        self.lossless = lossless
        self.started = False
        self.closed = False
        self.blocked = False
        """Whether :meth:`close` finds a blocked thread."""
        self.fault: str | None = None
        self.has_ended = False
        self._bell = bell if bell is not None else Bell()
        self._clock = clock if clock is not None else SystemClock()
        self._waiting: list[Frame] = []
        self._shown = 0
        self._dropped = 0

    def show(self, pixels: Pixels, source: str | None = None) -> Frame:
        """A frame is captured now; it replaces one that was not taken, unless the camera is lossless."""
        self._shown += 1
        frame = Frame(pixels, self._shown, self._clock.monotonic_ns(), self._clock.wall_ns(), source)
        if not self.lossless:
            self._dropped += len(self._waiting)
            self._waiting.clear()
        self._waiting.append(frame)
        self._bell.ring()
        return frame

    def end(self) -> None:
        """The source has ended; what was shown may still be taken."""
        self.has_ended = True
        self._bell.ring()

    def start(self) -> None:
        """Begin."""
        self.started = True

    def take(self) -> Frame | None:
        """The next frame."""
        return self._waiting.pop(0) if self._waiting else None

    @property
    def ended(self) -> bool:
        """Whether it ended and everything was taken."""
        return self.has_ended and not self._waiting

    def status(self) -> CameraStatus:
        """What a camera would say."""
        if self.ended:
            return CameraStatus("ended", captured=self._shown, dropped=self._dropped)
        state = "offline" if self.fault else "online" if self._shown else "connecting"
        return CameraStatus(
            state,  # type: ignore[arg-type]
            captured=self._shown,
            dropped=self._dropped,
            fault=self.fault,
        )

    def update(self, *, fps: float) -> None:
        """Remember the new rate."""
        self.settings = CameraSettings(self.name, self.settings.source, fps)

    def close(self, timeout_s: float) -> bool:  # noqa: ARG002 - the shape of a camera
        """False when the test has said that it is blocked."""
        self.closed = True
        return not self.blocked


class ScriptedSource:
    """A source whose every picture, failure and end is put into a queue; an empty queue blocks for good.

    One queue may serve several connections: each takes up where the last one stopped.
    """

    retry_cap_s = 0.01

    def __init__(self, script: queue.Queue[object], *, lossless: bool = False) -> None:
        self.lossless = lossless
        self.has_sensor = not lossless
        self.unreadable = 0
        self.opened = False
        self.closed = False
        self._script = script
        self._item: object = None

    def open(self) -> None:
        """It opens at once."""
        self.opened = True

    def grab(self) -> bool:
        """The next thing of the script: an exception is raised, None is the end, a text cannot be decoded."""
        self._item = self._script.get()
        if isinstance(self._item, Exception):
            raise self._item
        return self._item is not None

    def retrieve(self) -> Picture | None:
        """The grabbed thing, if it is a picture."""
        if isinstance(self._item, Picture):
            return self._item
        self.unreadable += 1
        return None

    def interrupt(self) -> None:
        """It cannot be interrupted: this is what a stuck driver is like."""

    def close(self) -> None:
        """Remember it."""
        self.closed = True
