"""A picture as a JPEG: all of it or a part, made smaller, with a line of text below."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from edge_agent.errors import ImageError
from edge_agent.frames import Pixels

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LINE_SHARE = 18
"""A caption is this part of the longer side high."""


@dataclass(frozen=True)
class SnapshotStyle:
    """``kind``: all of the frame, or the part that the model sees; ``max_size`` bounds the longer side, in
    pixels, without the caption; ``quality`` 1..100.
    """

    kind: Literal["frame", "crop"] = "frame"
    caption: bool = False
    max_size: int = 1280
    quality: int = 80


@dataclass(frozen=True)
class Jpeg:
    """An encoded picture, and its (height, width)."""

    encoded: bytes
    size: tuple[int, int]


def encode(pixels: Pixels, max_size: int, quality: int, caption: str | None = None) -> Jpeg:
    """The JPEG of a picture (height, width, 3), uint8, B G R, which is left as it is.

    The font has ASCII only: accents are dropped, and every other sign is shown as "?". Raises ImageError.
    """
    height, width = pixels.shape[:2]
    share = min(1.0, max_size / max(height, width))
    if share < 1.0:
        size = max(1, round(width * share)), max(1, round(height * share))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    if caption is not None:
        pixels = _with_caption(pixels, _drawable(caption))
    try:
        done, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error as error:
        raise ImageError(f"the picture cannot be encoded: {error.err or error}") from error
    if not done:
        raise ImageError("the picture cannot be encoded")
    return Jpeg(encoded.tobytes(), (pixels.shape[0], pixels.shape[1]))


def _with_caption(pixels: Pixels, text: str) -> Pixels:
    """White on black in a strip below, as large as the strip and the width let it be."""
    height, width = pixels.shape[:2]
    strip = max(12, max(height, width) // _LINE_SHARE)
    (drawn_width, drawn_height), below = cv2.getTextSize(text, _FONT, 1.0, 1)
    scale = min(0.7 * strip / max(drawn_height + below, 1), 0.96 * width / max(drawn_width, 1))
    taller = cv2.copyMakeBorder(pixels, 0, strip, 0, 0, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    at = round(0.02 * width), height + round(strip / 2 + scale * (drawn_height - below) / 2)
    thickness = max(1, round(scale * 1.5))
    cv2.putText(taller, text, at, _FONT, scale, (255, 255, 255), thickness, cv2.LINE_AA)
    return np.asarray(taller, np.uint8)


def _drawable(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text)
    bare = "".join(each for each in folded if not unicodedata.combining(each))
    return bare.encode("ascii", "replace").decode()
