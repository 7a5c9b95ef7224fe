"""OpenCV's INTER_LINEAR in OpenCV's own fixed-point arithmetic, on every machine.

Its builds for ARM hand the resize to other libraries (Carotene, KleidiCV), which round in another way: a
quarter of the values is off by a code or two. Of pictures with three channels they take those that
shrink along both axes, and leave all others to OpenCV.
"""

from __future__ import annotations

import platform

import cv2
import numpy as np

from edge_agent.frames import Pixels
from edge_agent.geometry import Size

IS_OPENCVS_OWN = platform.machine() == "x86_64"
"""Whether cv2.resize is known to do its own arithmetic here."""


def resize(pixels: Pixels, size: Size, into: Pixels | None = None) -> Pixels:
    """``pixels`` (height, width, 3) resized to ``size``, written ``into`` where that is given."""
    if IS_OPENCVS_OWN:
        return _resized(pixels, size, cv2.INTER_LINEAR, into)
    return resize_around(pixels, size, into)


def resize_around(pixels: Pixels, size: Size, into: Pixels | None = None) -> Pixels:
    """The same without a picture that shrinks along both axes: an odd multiple of the rows that are wanted is
    computed, no fewer than there are now. The middle one of each group lies where the wanted row does.
    """
    height, width = size
    if pixels.shape[:2] == (2 * height, 2 * width):
        # What OpenCV itself makes of a linear resize to the half, and nobody else takes over.
        return _resized(pixels, size, cv2.INTER_AREA, into)
    if pixels.shape[0] <= height or pixels.shape[1] <= width:
        return _resized(pixels, size, cv2.INTER_LINEAR, into)
    rows = -(-pixels.shape[0] // height) | 1
    middle = _resized(pixels, (rows * height, width), cv2.INTER_LINEAR)[rows // 2 :: rows]
    if into is None:
        return middle
    np.copyto(into, middle)
    return into


def _resized(pixels: Pixels, size: Size, interpolation: int, into: Pixels | None = None) -> Pixels:
    resized = cv2.resize(pixels, (size[1], size[0]), dst=into, interpolation=interpolation)
    return np.asarray(resized, dtype=np.uint8) if into is None else into
