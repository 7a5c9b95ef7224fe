"""Where a camera leaves its frames, and the bell that tells a lane to come and take them."""

from __future__ import annotations

import threading

from edge_agent.frames import Frame


class Bell:
    """Rung by any of the cameras of one lane; what was rung before the lane waits is not lost.

    For one waiting thread at a time.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rung = False

    def ring(self) -> None:
        """Wake the lane, now or when it next waits."""
        with self._condition:
            self._rung = True
            self._condition.notify()

    def wait(self, timeout_s: float) -> bool:
        """Whether it rang, since the last wait or within ``timeout_s``."""
        with self._condition:
            rang = self._condition.wait_for(lambda: self._rung, timeout_s)
            self._rung = False
            return rang


class Slot:
    """Room for one frame: the newest wins and the one that it replaces is counted.

    Not locked: its camera's lock guards it.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._frame: Frame | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every frame has been taken or replaced."""
        return self._frame is None

    def put(self, frame: Frame) -> None:
        """Leave a frame in place of an older one."""
        self.dropped += self._frame is not None
        self._frame = frame

    def take(self) -> Frame | None:
        """The frame, once."""
        frame, self._frame = self._frame, None
        return frame
