"""A camera that shows the same picture again and again: it sends, and sees nothing any more."""

from __future__ import annotations

import numpy as np

from edge_agent.frames import Pixels

LINES_APART = 64
"""Of each picture every 64th line is compared, other ones each time, so that all are within 64 pictures: 17
lines of a 1080p picture take 0.01 ms. Noise is everywhere: pictures that differ mostly differ there, too.
"""

FEWEST = 10
"""So many pictures must repeat the first one: a camera of a frame per minute is not frozen after two."""

_REMEDY = "restart the camera; where it may be covered or in the dark for long, raise its frozen_after_s"


class Repeats:
    """Whether a sensor, none of whose pictures are the same, has given one and the same for ``limit_s``.

    0 is no limit, for what may repeat itself. An H.264 encoder swallows the noise of a still scene until its
    next key frame (seen with x264), so the limit must be longer than those are apart: mostly 1 to 10 s.
    One thread, the one that reads, uses it.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._first: Pixels | None = None
        self._first_ns = 0
        self._count = 0

    def see(self, pixels: Pixels, captured_ns: int) -> str | None:
        """The fault, if it is one by now; without a number that grows, so that it is told once.

        ``pixels`` are (height, width, 3) uint8, and nobody writes to them afterwards.
        """
        if not self._limit_s:
            return None
        if not self._repeats(pixels):
            self._first, self._first_ns, self._count = pixels, captured_ns, 0
            return None
        self._count += 1
        if self._count < FEWEST or captured_ns - self._first_ns < self._limit_s * 1e9:
            return None
        return f"the very same picture for more than {self._limit_s:g} s; {_REMEDY}"

    def _repeats(self, pixels: Pixels) -> bool:
        first = self._first
        if first is None or first.shape != pixels.shape:
            return False
        apart = min(LINES_APART, len(pixels))
        lines = slice(self._count % apart, None, apart)
        return np.array_equal(first[lines], pixels[lines])
