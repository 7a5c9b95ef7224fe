"""Still pictures: upright, eight bits, and nothing but an ImageError for what is none."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.errors import ImageError
from edge_agent.frames import Pixels
from edge_agent.image_headers import exif_orientation, read_header
from edge_agent.images import IMAGE_SUFFIXES, MAX_BYTES, decode_image, read_image
from edge_agent.tensors import Array
from tests.places import CUSTOM_VISION, need_data

PICTURE: Pixels = np.random.default_rng(7).integers(0, 256, (24, 40, 3), dtype=np.uint8)

UPRIGHT = {
    1: PICTURE,
    2: PICTURE[:, ::-1],
    3: PICTURE[::-1, ::-1],
    4: PICTURE[::-1],
    5: PICTURE.transpose(1, 0, 2),
    6: np.rot90(PICTURE, -1),
    7: PICTURE.transpose(1, 0, 2)[::-1, ::-1],
    8: np.rot90(PICTURE, 1),
}
"""What each orientation says the stored PICTURE looks like (EXIF 2.3, tag 0x0112)."""


def encoded(suffix: str, pixels: Array = PICTURE, *flags: int) -> bytes:
    """The picture as a file of the kind that the suffix names."""
    done, array = cv2.imencode(suffix, pixels, flags)
    assert done
    return array.tobytes()


def exif(orientation: int, order: str = "<") -> bytes:
    """An EXIF block that holds an orientation and nothing else."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(order + "IH", 8, 1) + entry + b"\0\0\0\0"


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk with its length and checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def turned_jpeg(orientation: int, order: str = "<") -> bytes:
    """PICTURE stored as it is, with an orientation to be undone."""
    plain = encoded(".jpg")
    block = b"Exif\0\0" + exif(orientation, order)
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[2:]


def turned_png(orientation: int) -> bytes:
    """PICTURE stored as it is, with an orientation to be undone."""
    plain = encoded(".png")
    return plain[:33] + png_chunk(b"eXIf", exif(orientation)) + plain[33:]


def turned_webp(orientation: int) -> bytes:
    """PICTURE stored as it is (lossless), with an orientation to be undone."""
    picture = encoded(".webp", PICTURE, cv2.IMWRITE_WEBP_QUALITY, 101)[12:]
    extended = (
        struct.pack("<4sIB3x", b"VP8X", 10, 0x08) + (39).to_bytes(3, "little") + (23).to_bytes(3, "little")
    )
    block = exif(orientation)
    body = b"WEBP" + extended + picture + struct.pack("<4sI", b"EXIF", len(block)) + block
    return b"RIFF" + struct.pack("<I", len(body)) + body


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header claims a size, with next to nothing behind it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")


def jpeg_of_size(width: int, height: int) -> bytes:
    """A JPEG whose header claims a size."""
    plain = encoded(".jpg")
    return plain.replace(struct.pack(">HH", 24, 40), struct.pack(">HH", height, width), 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file", [turned_png, turned_webp], ids=["png", "webp"])
def test_every_orientation_is_undone(file: Callable[[int], bytes], orientation: int) -> None:
    """A lossless picture comes back upright for all eight EXIF orientations."""
    assert np.array_equal(UPRIGHT[orientation], decode_image(file(orientation), "turned"))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_a_jpeg_is_undone_as_opencv_does(orientation: int, order: str) -> None:
    """For JPEG, where OpenCV applies EXIF itself in every version, both agree, in either byte order."""
    file = turned_jpeg(orientation, order)
    expected = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
    assert expected is not None
    assert np.array_equal(expected, decode_image(file, "turned"))


@need_data
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_stills_of_the_reference_set_are_upright(orientation: int) -> None:
    """A landscape picture stays one for 1 and 3, and stands for 6 and 8."""
    pixels = read_image(CUSTOM_VISION / "vectors" / "images" / f"exif_{orientation}.jpg")
    assert ((64, 96, 3) if orientation in {1, 3} else (96, 64, 3)) == pixels.shape


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_out_of_range_is_upright(orientation: int) -> None:
    """Only 1 to 8 mean anything; the rest is ignored, as viewers do."""
    assert exif_orientation(exif(orientation)) == 1
    assert np.array_equal(PICTURE, decode_image(turned_png(orientation), "odd"))


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_suffix_is_readable(suffix: str, tmp_path: Path) -> None:
    """Whatever the folder camera picks by its name, the reader reads."""
    file = tmp_path / f"picture{suffix}"
    file.write_bytes(encoded(suffix))
    assert read_image(file).shape == PICTURE.shape


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_lossless_pictures_come_back_as_they_were(suffix: str) -> None:
    """B G R in, B G R out."""
    assert np.array_equal(PICTURE, decode_image(encoded(suffix), "lossless"))


def test_sixteen_bits_become_the_upper_eight() -> None:
    """A 16-bit picture keeps its upper byte."""
    deep = PICTURE.astype(np.uint16) * 256 + 99
    assert np.array_equal(PICTURE, decode_image(encoded(".png", deep), "deep"))


def test_grey_becomes_three_equal_channels() -> None:
    """Grey, of 8 and of 16 bits, is B = G = R."""
    grey = PICTURE[:, :, 0]
    expected = np.dstack([grey, grey, grey])
    assert np.array_equal(expected, decode_image(encoded(".png", grey), "grey"))
    assert np.array_equal(expected, decode_image(encoded(".png", grey.astype(np.uint16) * 256), "grey"))


def test_alpha_is_dropped() -> None:
    """A transparent pixel keeps its colour."""
    alpha = np.dstack([PICTURE, np.zeros((24, 40), np.uint8)])
    assert np.array_equal(PICTURE, decode_image(encoded(".png", alpha), "glass"))


def test_a_palette_is_looked_up() -> None:
    """A palette picture gives the palette's colours."""
    header = struct.pack(">IIBBBBB", 2, 1, 8, 3, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"PLTE", bytes([1, 2, 3, 10, 20, 30]))
    chunks += png_chunk(b"IDAT", zlib.compress(bytes([0, 0, 1]))) + png_chunk(b"IEND", b"")
    assert decode_image(b"\x89PNG\r\n\x1a\n" + chunks, "palette").tolist() == [[[3, 2, 1], [30, 20, 10]]]


def test_chunks_that_draw_nothing_never_reach_the_decoder() -> None:
    """A broken colour profile beside sound pixels is no reason to fail, nor to print."""
    plain = encoded(".png")
    broken = plain[:33] + png_chunk(b"iCCP", b"sRGB\0\0junk") + plain[33:]
    assert plain == read_header(broken).encoded


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_file_cut_short_is_refused_in_silence(
    suffix: str, kept: float, capfd: pytest.CaptureFixture[str]
) -> None:
    """Half a picture is none, and nothing but the error tells it."""
    whole = encoded(suffix)
    reason = "damaged" if suffix == ".bmp" else "cut short"  # a BMP need not say how long it is
    with pytest.raises(ImageError, match=f"cannot read the picture half: it is {reason}"):
        decode_image(whole[: int(len(whole) * kept)], "half")
    assert capfd.readouterr().err == ""


def test_a_damaged_png_is_refused_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    """A wrong checksum is found before the decoder, which would print, sees the file."""
    damaged = bytearray(encoded(".png"))
    damaged[60] ^= 1
    with pytest.raises(ImageError, match="it is damaged; check the file"):
        decode_image(bytes(damaged), "damaged")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "bomb",
    [
        png_of_size(50_000, 50_000),
        png_of_size(0, 10),
        png_of_size(2**31 - 1, 2**31 - 1),
        jpeg_of_size(50_000, 50_000),
        encoded(".bmp")[:18] + struct.pack("<ii", 50_000, -50_000) + encoded(".bmp")[26:],
        encoded(".bmp")[:18] + struct.pack("<ii", -40, 24) + encoded(".bmp")[26:],
    ],
    ids=["png", "nothing", "largest", "jpeg", "bmp", "negative"],
)
def test_the_size_in_the_header_is_judged_before_memory_is_taken(bomb: bytes) -> None:
    """A picture of 50000 x 50000 would need 7.5 GB: the decoder never hears of it."""
    with pytest.raises(ImageError, match="pixels are outside the limit"):
        decode_image(bomb, "bomb")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"hello, world", "it is not a JPEG, PNG, BMP or WebP file"),
        (b"GIF89a" + bytes(100), "it is not a JPEG, PNG, BMP or WebP file"),
        (b"\xff\xd8\xff\xd9", "it holds no picture"),
        (b"\xff\xd8\xff\xe0", "it is cut short"),
        (b"\xff\xd8\x00\x00", "it is damaged"),
        (b"RIFF\x04\0\0\0WEBP", "it holds no picture"),
    ],
)
def test_what_is_no_picture_is_called_so(content: bytes, reason: str) -> None:
    """The error says in one line what the bytes are not, with a remedy."""
    with pytest.raises(ImageError) as caught:
        decode_image(content, "thing")
    assert f"cannot read the picture thing: {reason}; check the file, or save it again as JPEG or PNG" == str(
        caught.value
    )


def test_paths_that_hold_no_picture_are_image_errors(tmp_path: Path) -> None:
    """Missing, a folder, a pipe (which must not be opened), an impossible name, too large: one line each."""
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    expected = {
        tmp_path / "missing.jpg": "No such file",
        tmp_path: "it is not a file",
        pipe: "it is not a file",
        Path("nul\0name.jpg"): "null",
        large: "over the limit",
    }
    for path, reason in expected.items():
        with pytest.raises(ImageError, match=reason) as caught:
            read_image(path)
        assert caught.value.remedy is not None
        assert "\n" not in str(caught.value)


WHOLE = [turned_jpeg(6), turned_png(6), turned_webp(6), encoded(".bmp"), encoded(".webp")]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    file=st.sampled_from(WHOLE),
    changes=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=8),
    kept=st.floats(0, 1),
    rest=st.binary(max_size=8),
)
def test_damage_gives_a_picture_or_an_image_error(
    file: bytes, changes: list[tuple[int, int]], kept: float, rest: bytes
) -> None:
    """Whatever is done to a file, the reader returns pixels or raises ImageError, nothing else."""
    content = bytearray(file)
    for place, value in changes:
        content[place % len(content)] = value
    try:
        pixels = decode_image(bytes(content[: round(len(content) * kept)]) + rest, "damaged")
    except ImageError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


@given(st.binary(max_size=64))
def test_any_exif_block_has_an_orientation(block: bytes) -> None:
    """Whatever the EXIF block says, the answer is 1 to 8."""
    assert exif_orientation(block) in range(1, 9)
    assert exif_orientation(b"II*\0" + block) in range(1, 9)
