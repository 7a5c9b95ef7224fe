"""Still pictures from files and from memory, upright and in eight bits."""

from __future__ import annotations

import stat
from pathlib import Path

import cv2
import numpy as np

from edge_agent.errors import ImageError
from edge_agent.frames import Pixels
from edge_agent.image_headers import ImageHeader, read_header

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
"""File name endings that are taken for pictures: lower case, with the dot."""

MAX_PIXELS = 1 << 26
"""67 million: just above a 64-megapixel camera (9152 x 6944), 200 MB when decoded."""

MAX_BYTES = 1 << 28
"""An uncompressed picture of MAX_PIXELS, and some more."""

_REMEDY = "check the file, or save it again as JPEG or PNG"
# Orientation comes from image_headers: what OpenCV applies by itself differs by format and version.
_DECODE_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

# OpenCV writes its complaints about a damaged file to stderr beside failing; ImageError tells the failure.
_set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # OpenCV 4, and 5
_set_log_level(0)


def read_image(path: Path) -> Pixels:
    """The picture in a JPEG, PNG, BMP or WebP file, upright: (height, width, 3), uint8, B G R.

    All eight EXIF orientations are applied, in every format that has them. Grey, palette, 16-bit and
    CMYK pictures are brought to this form; an alpha channel is dropped.

    Raises ImageError: missing, unreadable, no file, no picture, cut short, damaged or too large.
    """
    try:
        found = path.stat()
        # Before opening: the mere opening of a pipe may wait for ever.
        if not stat.S_ISREG(found.st_mode):
            raise ImageError(f"cannot read the picture {path}: it is not a file", "name a picture file")
        if found.st_size > MAX_BYTES:
            raise ImageError(
                f"cannot read the picture {path}: {found.st_size} bytes are over the limit of {MAX_BYTES}",
                "make it smaller",
            )
        encoded = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(
            f"cannot read the picture {path}: {reason}", "check the path and its permissions"
        ) from error
    return decode_image(encoded, str(path))


def decode_image(encoded: bytes, name: str) -> Pixels:
    """As :func:`read_image`, of a file already in memory; ``name`` is for the error only.

    A JPEG whose content was damaged in the middle may still decode, the rest of it grey: its format
    has no checksum. One that was merely cut off is refused.

    Raises ImageError.
    """
    try:
        header = read_header(encoded)
    except ValueError as error:
        raise ImageError(f"cannot read the picture {name}: it {error}", _REMEDY) from error
    if not 0 < header.height * header.width <= MAX_PIXELS or header.width < 0:
        raise ImageError(
            f"cannot read the picture {name}: {header.width} x {header.height} pixels are outside the limit "
            f"of 1 to {MAX_PIXELS}",
            "make it smaller",
        )
    return _turn_upright(_decode(header, name), header.orientation)


def _decode(header: ImageHeader, name: str) -> Pixels:
    try:
        decoded = cv2.imdecode(np.frombuffer(header.encoded, dtype=np.uint8), _DECODE_FLAGS)
    except cv2.error as error:
        raise ImageError(f"cannot read the picture {name}: {error.err or error}", _REMEDY) from error
    if decoded is None:
        raise ImageError(f"cannot read the picture {name}: it is damaged or of an unknown kind", _REMEDY)
    return np.asarray(decoded, dtype=np.uint8)


def _turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo the EXIF orientation 1..8: transposed from 5 on, then mirrored as the number says."""
    if orientation >= 5:
        pixels = np.asarray(cv2.transpose(pixels), dtype=np.uint8)
    axes = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}  # cv2.flip: 1 left and right, 0 top and bottom, -1 both
    if orientation in axes:
        pixels = np.asarray(cv2.flip(pixels, axes[orientation]), dtype=np.uint8)
    return pixels
