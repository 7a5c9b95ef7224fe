"""What the bytes of a still picture say of themselves, before any decoder sees them.

Size, EXIF orientation, and whether the file is whole. A decoder allocates what a header asks for,
turns pictures differently from one version to the next, and prints its complaints to stderr;
these few reads make the size a decision and the orientation a fact, and refuse most damage first.

Every function raises ValueError with the end of a sentence that begins "cannot read the picture: it".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

UPRIGHT = 1
_ORIENTATION_TAG = 0x0112
_SHORT = 3
_START_OF_SCAN, _END_OF_IMAGE, _APP1 = 0xDA, 0xD9, 0xE1
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class ImageHeader:
    """Stored height and width in pixels, before ``orientation`` (EXIF, 1..8) is applied.

    ``encoded`` is what to decode: for PNG without the chunks that describe but do not draw.
    """

    height: int
    width: int
    orientation: int
    encoded: bytes


def read_header(encoded: bytes) -> ImageHeader:
    """The header of a JPEG, PNG, BMP or WebP file, told by its first bytes."""
    try:
        if encoded.startswith(b"\xff\xd8"):
            return _jpeg(encoded)
        if encoded.startswith(_PNG_SIGNATURE):
            return _png(encoded)
        if encoded.startswith(b"BM"):
            return _bmp(encoded)
        if encoded.startswith(b"RIFF") and encoded[8:12] == b"WEBP":
            return _webp(encoded)
    except (struct.error, IndexError) as error:
        raise ValueError("is cut short") from error
    raise ValueError("is empty" if not encoded else "is not a JPEG, PNG, BMP or WebP file")


def exif_orientation(tiff: bytes) -> int:
    """The orientation in an EXIF block (a TIFF header and its first directory); upright where it has none."""
    if tiff[:4] not in {b"II*\0", b"MM\0*"}:
        return UPRIGHT
    order = "<" if tiff[:1] == b"I" else ">"
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(entries):
            tag, kind, _count, value = struct.unpack_from(order + "HHIH", tiff, directory + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG:
                return int(value) if kind == _SHORT and 1 <= value <= 8 else UPRIGHT
    except struct.error:
        return UPRIGHT
    return UPRIGHT


def _jpeg(encoded: bytes) -> ImageHeader:
    size: tuple[int, int] | None = None
    orientation: int | None = None
    at = 2
    while True:
        marker, start, end = _jpeg_segment(encoded, at)
        if marker in _START_OF_FRAME:
            size = struct.unpack_from(">HH", encoded, start + 1)
        elif marker == _APP1 and orientation is None and encoded[start : start + 6] == b"Exif\0\0":
            orientation = exif_orientation(encoded[start + 6 : end])
        elif marker in {_START_OF_SCAN, _END_OF_IMAGE}:
            break
        at = end
    if size is None or marker == _END_OF_IMAGE:
        raise ValueError("holds no picture")
    if encoded.rfind(b"\xff\xd9", end) < 0:
        raise ValueError("is cut short")
    return ImageHeader(size[0], size[1], orientation or UPRIGHT, encoded)


def _jpeg_segment(encoded: bytes, at: int) -> tuple[int, int, int]:
    """The marker at ``at``, where its content starts and where the next marker is."""
    if encoded[at] != 0xFF:
        raise ValueError("is damaged")
    while encoded[at] == 0xFF:  # a marker may be preceded by any number of fill bytes
        at += 1
    marker = encoded[at]
    if marker in _STANDALONE or marker == _END_OF_IMAGE:
        return marker, at + 1, at + 1
    (length,) = struct.unpack_from(">H", encoded, at + 1)
    return marker, at + 3, at + 1 + max(2, length)


def _png(encoded: bytes) -> ImageHeader:
    orientation = UPRIGHT
    drawn = [encoded[:8]]
    for kind, start, end in _png_chunks(encoded):
        if kind == b"eXIf":
            orientation = exif_orientation(encoded[start + 8 : end - 4])
        # Upper case: critical. The others (profiles, text) draw nothing, and a decoder may grumble at them.
        elif kind[:1].isupper() or kind == b"tRNS":
            if zlib.crc32(encoded[start + 4 : end - 4]) != int.from_bytes(encoded[end - 4 : end], "big"):
                raise ValueError("is damaged")
            drawn.append(encoded[start:end])
    if len(drawn) < 3 or drawn[1][4:8] != b"IHDR":
        raise ValueError("holds no picture")
    width, height = struct.unpack_from(">II", drawn[1], 8)
    return ImageHeader(height, width, orientation, b"".join(drawn))


def _png_chunks(encoded: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk, length and checksum included, up to IEND."""
    at = len(_PNG_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", encoded, at)
        end = at + 12 + length
        if end > len(encoded):
            raise ValueError("is cut short")
        yield kind, at, end
        at = end


def _bmp(encoded: bytes) -> ImageHeader:
    (header_bytes,) = struct.unpack_from("<I", encoded, 14)
    width, height = struct.unpack_from("<HH" if header_bytes == 12 else "<ii", encoded, 18)
    return ImageHeader(abs(height), width, UPRIGHT, encoded)  # a negative height: stored top down


def _webp(encoded: bytes) -> ImageHeader:
    (riff_bytes,) = struct.unpack_from("<I", encoded, 4)
    if riff_bytes + 8 > len(encoded):
        raise ValueError("is cut short")
    width, height = _webp_size(encoded)
    orientation = UPRIGHT
    at = 12
    while at + 8 <= riff_bytes + 8:
        kind, length = struct.unpack_from("<4sI", encoded, at)
        if kind == b"EXIF":
            orientation = exif_orientation(encoded[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
        at += 8 + length + length % 2
    return ImageHeader(height, width, orientation, encoded)


def _webp_size(encoded: bytes) -> tuple[int, int]:
    kind = encoded[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(encoded[24:27], "little"), 1 + int.from_bytes(encoded[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", encoded, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", encoded, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("holds no picture")
