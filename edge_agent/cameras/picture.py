"""From the picture as the source sends it to the upright part that is looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.cameras.settings import Region, Rotation
from edge_agent.frames import Pixels

_TURNS: Final = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}


def upright(pixels: Pixels, rotate: Rotation, region: Region | None, mask: Sequence[Region] = ()) -> Pixels:
    """The region of the picture turned clockwise by ``rotate`` degrees, (height, width, 3).

    A region is a view. It has one pixel at least, its edges are rounded to whole pixels. What ``mask``
    names is black, in a copy: the source may show the same picture again.
    """
    if rotate:
        pixels = np.asarray(cv2.rotate(pixels, _TURNS[rotate]), np.uint8)
    if mask:
        pixels = pixels.copy()
        for x, y, width, height in mask:
            pixels[_cover(y, height, pixels.shape[0]), _cover(x, width, pixels.shape[1])] = 0
    if region is None:
        return pixels
    x, y, width, height = region
    rows = _span(y, height, pixels.shape[0])
    columns = _span(x, width, pixels.shape[1])
    return pixels[rows, columns]


def _span(start: float, extent: float, size: int) -> slice:
    first = min(round(start * size), size - 1)
    return slice(first, max(first + 1, min(round((start + extent) * size), size)))


def _cover(start: float, extent: float, size: int) -> slice:
    """Every pixel that the part touches, however little of it."""
    return slice(math.floor(start * size), math.ceil((start + extent) * size))


def as_bgr(pixels: npt.NDArray[Any]) -> Pixels | None:
    """What a driver gave as (height, width, 3) uint8, grey as three channels; None if empty or odd."""
    if not pixels.size or pixels.dtype != np.uint8:
        return None
    if pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 1):
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), np.uint8)
    return pixels if pixels.ndim == 3 and pixels.shape[2] == 3 else None
