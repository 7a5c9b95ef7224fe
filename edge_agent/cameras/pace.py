"""How often frames are handed on, how often they were, and how long to wait before another attempt."""

from __future__ import annotations

import collections
import random

_RATE_WINDOW_NS = 5_000_000_000


class Pace:
    """A rate limit on a grid of times, so that 5 per second of a source of 30 is 5, not 4.3.

    Not locked: its camera's lock guards it.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._due_ns: int | None = None

    @property
    def fps(self) -> float:
        """The limit per second; 0 for none."""
        return self._fps

    @fps.setter
    def fps(self, fps: float) -> None:
        self._fps = fps
        self._due_ns = None

    def left_ns(self, now_ns: int) -> int:
        """How long until the next frame may be handed on; 0 or less: now."""
        return 0 if self._due_ns is None else self._due_ns - now_ns

    def is_due(self, now_ns: int) -> bool:
        """Whether a frame of this time is handed on; if so the next one is due an interval later.

        A quarter of an interval early is in time: a source at just the limit jitters around the grid,
        and would lose every frame that comes a little early.
        """
        if not self._fps:
            return True
        interval_ns = int(1e9 / self._fps)
        if self.left_ns(now_ns) > interval_ns // 4:
            return False
        self.step(now_ns)
        return True

    def step(self, now_ns: int) -> None:
        """A frame of this time is handed on."""
        if not self._fps:
            return
        interval_ns = int(1e9 / self._fps)
        due_ns = now_ns if self._due_ns is None else self._due_ns
        # After a pause the grid starts anew: no burst makes up for what was missed.
        self._due_ns = max(due_ns, now_ns - interval_ns) + interval_ns


class Rate:
    """Frames per second over the last seconds."""

    def __init__(self) -> None:
        self._times_ns: collections.deque[int] = collections.deque()

    def count(self, now_ns: int) -> None:
        """A frame came."""
        self._times_ns.append(now_ns)
        self._forget(now_ns)

    def per_second(self, now_ns: int) -> float:
        """Frames per second now; 0.0 until two have come."""
        self._forget(now_ns)
        if len(self._times_ns) < 2:
            return 0.0
        first_ns, last_ns = self._times_ns[0], self._times_ns[-1]
        interval_ns = max((last_ns - first_ns) / (len(self._times_ns) - 1), 1.0)
        # A source that stands still slows down at once, not when the window has emptied.
        idle_ns = max(now_ns - last_ns - interval_ns, 0.0)
        return (len(self._times_ns) - 1) * 1e9 / max(last_ns - first_ns + idle_ns, 1.0)

    def _forget(self, now_ns: int) -> None:
        while len(self._times_ns) > 2 and now_ns - self._times_ns[0] > _RATE_WINDOW_NS:
            self._times_ns.popleft()


class Backoff:
    """Pauses that double from ``first_s`` up to a cap, each shortened by chance by up to a quarter."""

    def __init__(self, first_s: float = 0.1) -> None:
        self._first_s = first_s
        self._next_s = first_s

    def reset(self) -> None:
        """The next pause is the first again."""
        self._next_s = self._first_s

    def pause_s(self, cap_s: float) -> float:
        """The next pause, at most ``cap_s``; many cameras must not knock at the same moment."""
        pause_s = min(self._next_s, cap_s)
        self._next_s = min(self._next_s * 2, 3600.0)
        return pause_s * random.uniform(0.75, 1.0)  # noqa: S311 - no secret
