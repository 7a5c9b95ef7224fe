"""The shape of every kind of source: opened once, read by one thread, never used again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edge_agent.frames import Pixels


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What a source gives: (height, width, 3) uint8 BGR, not yet turned, and its name if it has one."""

    pixels: Pixels
    name: str | None = None


class Source(Protocol):
    """One connection to a source; everything but :meth:`interrupt` is called by the thread that reads it."""

    @property
    def lossless(self) -> bool:
        """Whether it waits for whoever takes its pictures (files), rather than dropping what is old."""
        ...

    @property
    def has_sensor(self) -> bool:
        """Whether each of its pictures has noise of its own, so that no two are the same while it sees."""
        ...

    @property
    def retry_cap_s(self) -> float:
        """The longest pause between two attempts to open it."""
        ...

    @property
    def unreadable(self) -> int:
        """Pictures that could not be decoded, so far."""
        ...

    def open(self) -> None:
        """Connect. May block. Raises CameraError."""
        ...

    def grab(self) -> bool:
        """Wait for the next picture, without decoding it where that can be avoided.

        False: a file or folder is at its end. Raises CameraError when the source is lost.
        """
        ...

    def retrieve(self) -> Picture | None:
        """The grabbed picture, decoded; None when it cannot be (counted in ``unreadable``)."""
        ...

    def interrupt(self) -> None:
        """Make a blocked call return, where this kind of source can; any thread may ask, more than once."""
        ...

    def close(self) -> None:
        """Let go of everything; also after :meth:`open` failed."""
        ...
