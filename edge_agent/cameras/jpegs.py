"""Single JPEGs out of a stream of bytes in which one follows the other."""

from __future__ import annotations

_START = b"\xff\xd8\xff"
_END = b"\xff\xd9"

MAX_JPEG_BYTES = 1 << 25
"""32 MB; what has no end by then is no picture."""


class JpegSplitter:
    """Fed with whatever a pipe gives. Inside a JPEG's image data FF is never followed by D9."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._searched = 0
        self.complete: list[bytes] = []
        """Pictures that are whole, oldest first; taken away by the reader."""

    def feed(self, received: bytes) -> None:
        """Add bytes."""
        self._pending += received
        while self._cut():
            pass
        if len(self._pending) > MAX_JPEG_BYTES:
            self._pending.clear()
            self._searched = 0

    def _cut(self) -> bool:
        """Move one whole picture to ``complete``, if there is one."""
        if not self._searched:
            start = self._pending.find(_START)
            # The last two bytes may be the beginning of a start.
            del self._pending[: start if start >= 0 else max(len(self._pending) - 2, 0)]
            if start < 0:
                return False
        end = self._pending.find(_END, max(self._searched, len(_START)))
        if end < 0:
            self._searched = max(len(self._pending) - 1, 1)
            return False
        self.complete.append(bytes(self._pending[: end + 2]))
        del self._pending[: end + 2]
        self._searched = 0
        return True
