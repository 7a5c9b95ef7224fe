"""snapshots.py: a picture as a JPEG."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.images import decode_image
from edge_agent.snapshots import encode


def picture(height: int, width: int) -> np.ndarray:
    """A grey one."""
    return np.full((height, width, 3), 128, np.uint8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((90, 160), (90, 160)), ((900, 1600), (180, 320)), ((1600, 900), (320, 180)), ((4000, 2), (320, 1))],
)
def test_the_longer_side_is_bounded(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """Larger ones are made smaller, smaller ones stay."""
    jpeg = encode(picture(*size), 320, 80)
    assert expected == jpeg.size == decode_image(jpeg.encoded, "it").shape[:2]


def test_quality_is_paid_for_in_bytes() -> None:
    """The noisier the picture, the more it matters."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    assert len(encode(noise, 64, 10).encoded) < len(encode(noise, 64, 90).encoded)


@pytest.mark.parametrize("text", ["apple 58%", "", "x" * 300, "Äpfel", "リンゴ", "\U0001f34e\n\0"])
def test_a_caption_stands_below(text: str) -> None:
    """The picture above it is as it was, and so is the frame that it was made of."""
    frame = picture(120, 160)
    jpeg = encode(frame, 160, 95, text)
    shown = decode_image(jpeg.encoded, "it")
    assert (132, 160) == jpeg.size == shown.shape[:2]
    assert (frame == 128).all()
    assert np.abs(shown[:118].astype(int) - 128).max() <= 3
    assert (shown[121:].max() > 100) == bool(text)


def test_a_view_is_taken_as_it_is() -> None:
    """A region of a frame is no whole array."""
    frame = np.zeros((100, 100, 3), np.uint8)
    frame[20:40, 50:90] = 255
    shown = decode_image(encode(frame[20:40, 50:90], 100, 90).encoded, "it")
    assert (20, 40) == shown.shape[:2]
    assert 250 < shown.min()
