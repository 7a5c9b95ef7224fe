"""Rotation and region."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.cameras import CameraSettings, Rotation
from edge_agent.cameras.picture import as_bgr, upright
from edge_agent.errors import CameraSetupError


def marked(height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Each pixel tells its row and column."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.arange(height)[:, None]
    pixels[..., 1] = np.arange(width)[None, :]
    return pixels


@pytest.mark.parametrize(
    ("rotate", "shape", "corner"),
    [(0, (4, 6), (0, 0)), (90, (6, 4), (3, 0)), (180, (4, 6), (3, 5)), (270, (6, 4), (0, 5))],
)
def test_a_picture_is_turned_clockwise(
    rotate: Rotation, shape: tuple[int, int], corner: tuple[int, int]
) -> None:
    """90 brings the lower left corner to the upper left, as turning a photo to the right does."""
    turned = upright(marked(4, 6), rotate, None)
    assert (*shape, 3) == turned.shape
    assert corner == (turned[0, 0, 0], turned[0, 0, 1])


def test_a_region_is_of_the_upright_picture() -> None:
    """Whoever measures a region does it on the picture as it is shown."""
    turned = upright(marked(10, 20), 90, None)
    part = upright(marked(10, 20), 90, (0.5, 0.25, 0.5, 0.5))
    assert np.array_equal(turned[5:15, 5:10], part)


def test_a_region_copies_nothing() -> None:
    """Cutting a region out of a large frame costs no time."""
    pixels = marked(10, 20)
    assert np.shares_memory(pixels, upright(pixels, 0, (0.1, 0.1, 0.5, 0.5)))


def test_a_mask_is_of_the_upright_picture() -> None:
    """Before the region is taken, so that another region does not move what nobody is to see."""
    pixels = np.full((10, 20, 3), 200, np.uint8)
    turned = upright(pixels, 90, (0.0, 0.5, 1.0, 0.5), [(0.5, 0.0, 0.5, 0.75)])
    expected = np.full((10, 10, 3), 200, np.uint8)
    expected[:5, 5:] = 0
    assert np.array_equal(expected, turned)
    assert (pixels == 200).all()


def test_a_mask_covers_every_pixel_that_it_touches() -> None:
    """A hair of what is to be hidden is too much. The source's own picture stays: it may show it again."""
    pixels = np.full((10, 10, 3), 200, np.uint8)
    seen = upright(pixels, 0, None, [(0.19, 0.0, 0.02, 0.11), (0.9, 0.9, 0.1, 0.1)])
    expected = pixels.copy()
    expected[0:2, 1:3] = 0
    expected[9, 9] = 0
    assert np.array_equal(expected, seen)
    assert (pixels == 200).all()


fractions = st.floats(0, 1)


@given(st.integers(1, 50), st.integers(1, 50), fractions, fractions, fractions, fractions)
def test_a_region_always_has_a_pixel(
    height: int, width: int, x: float, y: float, region_width: float, region_height: float
) -> None:
    """However small the picture or the region, something is left to classify."""
    region = (x, y, min(region_width, 1 - x), min(region_height, 1 - y))
    part = upright(marked(height, width), 0, region)
    assert 1 <= part.shape[0] <= height
    assert 1 <= part.shape[1] <= width


@pytest.mark.parametrize(
    "region",
    [(0.5, 0.0, 0.6, 1.0), (-0.1, 0.0, 0.5, 0.5), (0.0, 0.0, 0.0, 1.0), (0.0, 0.0, float("nan"), 1.0)],
)
def test_a_region_outside_the_picture_is_refused(region: tuple[float, float, float, float]) -> None:
    """What lies outside can never be looked at, so it is told before the camera starts."""
    with pytest.raises(CameraSetupError, match="region"):
        CameraSettings("door", "0", region=region)
    with pytest.raises(CameraSetupError, match="mask"):
        CameraSettings("door", "0", mask=((0.0, 0.0, 1.0, 1.0), region))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
def test_grey_becomes_bgr(shape: tuple[int, ...]) -> None:
    """An infrared camera gives pictures of one channel."""
    bgr = as_bgr(np.full(shape, 7, np.uint8))
    assert bgr is not None
    assert np.array_equal(np.full((4, 6, 3), 7), bgr)


@pytest.mark.parametrize(
    "odd", [np.zeros((0, 0, 3), np.uint8), np.zeros((4, 6, 2), np.uint8), np.zeros((4, 6), np.uint16)]
)
def test_what_is_no_picture_is_none(odd: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
    """Raw bytes of a pixel format that OpenCV left alone do not reach a model."""
    assert as_bgr(odd) is None
