"""What a camera is told, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from edge_agent.errors import CameraSetupError

Rotation = Literal[0, 90, 180, 270]
"""Degrees clockwise by which a picture must be turned to stand upright."""

Region = tuple[float, float, float, float]
"""x, y, width, height of the part that is looked at, as fractions of the upright picture."""

CameraState = Literal["connecting", "online", "offline", "ended"]


@dataclass(frozen=True)
class CameraSettings:
    """One camera of the configuration.

    ``source`` may hold a password, so it is not part of the repr. ``fps`` 0 means as fast as it goes.
    ``open_timeout_s`` and ``stall_timeout_s`` are how long the source may take to open and to give
    the next picture before it counts as lost.
    """

    name: str
    source: str = field(repr=False)
    fps: float = 0.0
    loop: bool = False
    rotate: Rotation = 0
    region: Region | None = None
    mask: tuple[Region, ...] = ()
    """Parts of the upright picture, before the region is taken, that are blackened."""
    open_timeout_s: float = 10.0
    """Long enough for an H.264 camera that sends a key frame every few seconds only."""
    stall_timeout_s: float = 5.0
    frozen_after_s: float = 0.0
    """A sensor that gives one and the same picture for so long is frozen. 0: never."""

    def __post_init__(self) -> None:
        if self.rotate not in get_args(Rotation):
            raise CameraSetupError(f"camera {self.name}: rotate is {self.rotate}", "use 0, 90, 180 or 270")
        if not 0 <= self.fps < float("inf"):
            raise CameraSetupError(f"camera {self.name}: fps is {self.fps}", "use 0 or more")
        for key, region in [("region", self.region), *(("mask", each) for each in self.mask)]:
            if region is not None and not _is_region(region):
                raise CameraSetupError(
                    f"camera {self.name}: {key} {list(region)} does not lie inside the picture",
                    "give x, y, width, height as fractions from 0 to 1, x + width and y + height at most 1",
                )


def _is_region(region: Region) -> bool:
    x, y, width, height = region
    inside = x >= 0 and y >= 0 and x + width <= 1 + 1e-9 and y + height <= 1 + 1e-9
    return inside and width > 0 and height > 0


@dataclass(frozen=True)
class CameraStatus:
    """How a camera is doing.

    ``fps``: frames handed on per second, lately; ``captured``: frames handed on in all, the dropped ones
    included (what the rate limit passes over is neither); ``dropped``: frames that a newer one replaced
    before they were taken; ``unreadable``: pictures that could not be decoded; ``reconnects``: how often
    the source came back; ``fault``: what is wrong now, in words with a remedy; ``abandoned_threads``:
    threads that are still blocked in a source that was given up; ``frame_age_s``: how long ago the latest
    frame was captured, None before the first.
    """

    state: CameraState
    fps: float = 0.0
    captured: int = 0
    dropped: int = 0
    reconnects: int = 0
    fault: str | None = None
    abandoned_threads: int = 0
    unreadable: int = 0
    frame_age_s: float | None = None
