"""Grey textures that paints and scenery are cut from: made once, tileable, 1024 x 1024, uint8."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.arenas import return_free_pages
from edge_agent.cameras.finish_outlines import Colour, Points
from edge_agent.frames import Pixels

Grey = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]

SIDE = 1024

Made = TypeVar("Made", Grey, Pixels)


def _made_once(make: Callable[[], Made]) -> Callable[[], Made]:
    """Kept from then on, without the many times larger arrays that it is made from."""

    @cache
    def made() -> Made:
        texture = make()
        return_free_pages()
        return texture

    return made


def _fractal(seed: int, cells: tuple[int, int], octaves: int) -> Field:
    """Value noise that tiles: sum of ``octaves`` of cells (rows, columns), each twice as fine, 0..1."""
    rng = np.random.default_rng(seed)
    total = np.zeros((SIDE, SIDE), np.float32)
    for octave in range(octaves):
        rows, columns = min(SIDE, cells[0] << octave), min(SIDE, cells[1] << octave)
        grid = np.pad(rng.random((rows, columns), np.float32), 2, mode="wrap")
        scale_y, scale_x = SIDE // rows, SIDE // columns
        fine = cv2.resize(
            grid, ((columns + 4) * scale_x, (rows + 4) * scale_y), interpolation=cv2.INTER_CUBIC
        )
        total += fine[2 * scale_y :, 2 * scale_x :][:SIDE, :SIDE] * np.float32(0.55**octave)
    return _stretched(total)


def _stretched(values: Field) -> Field:
    """Values moved to 0..1, the outer half percent clipped."""
    low, high = np.percentile(values[::4, ::4], (0.5, 99.5))
    return np.asarray(np.clip((values - low) / (high - low), 0, 1), np.float32)


def _grey(values: Field) -> Grey:
    return np.asarray(np.clip(values, 0, 1) * 255, np.uint8)


@_made_once
def clouds() -> Grey:
    """Soft blotches: plaster, dirt, foliage out of focus."""
    return _grey(_fractal(1, (4, 4), 7))


@_made_once
def grain() -> Grey:
    """Plain-sawn wood, the grain along y: year rings bent by noise, and fine pores."""
    bend = _fractal(2, (1, 4), 3)
    x = np.arange(SIDE, dtype=np.float32)[None, :] / SIDE
    rings = (22 * x + 9 * bend) % 1.0
    rings = np.where(rings < 0.8, rings / 0.8, (1 - rings) / 0.2) ** 2
    rings *= 0.3 + 0.7 * _fractal(15, (1, 8), 2)
    pores = _fractal(3, (8, 256), 3)
    shade = 0.5 * rings + 0.35 * pores + 0.3 * _fractal(4, (1, 16), 3)
    return _grey(1 - _stretched(np.asarray(shade, np.float32)))


@_made_once
def flame() -> Grey:
    """Curly maple: bands across the grain that fade and wander."""
    bend, strength = _fractal(5, (4, 4), 3), _fractal(6, (4, 8), 2)
    y = np.arange(SIDE, dtype=np.float32)[:, None] / SIDE
    bands = np.sin(2 * np.pi * (22 * y + 2.6 * bend)) * (0.35 + 0.65 * strength)
    return _grey(_stretched(np.asarray(bands + 0.35 * _fractal(7, (8, 256), 2), np.float32)))


@_made_once
def planks() -> Grey:
    """Eight boards with seams, each of its own shade."""
    rng = np.random.default_rng(8)
    board = np.arange(SIDE) // (SIDE // 8)
    shade = rng.uniform(-0.16, 0.16, 8)[board][None, :]
    wood = grain().astype(np.float32) / 255
    for index in range(8):
        columns = board == index
        wood[:, columns] = np.roll(wood[:, columns], int(rng.integers(SIDE)), axis=0)
    seam = (np.arange(SIDE) % (SIDE // 8) < 5)[None, :]
    return _grey(np.asarray(np.where(seam, 0.05, 0.25 + 0.6 * wood + shade), np.float32))


@_made_once
def bricks() -> Grey:
    """A running bond, 8 x 16 bricks: mortar light, each brick of its own shade."""
    rng = np.random.default_rng(9)
    height, width = SIDE // 16, SIDE // 8
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    row = y // height
    shifted = (x + (row % 2) * (width // 2)) % SIDE
    tone = rng.uniform(0.0, 0.62, (16, 8))[row, shifted // width]
    tone += 0.22 * (_fractal(10, (32, 32), 4) - 0.5)
    mortar = (y % height < 7) | (shifted % width < 7)
    wall = np.where(mortar, 0.88 + 0.2 * (_fractal(11, (64, 64), 3) - 0.5), tone)
    return np.asarray(cv2.GaussianBlur(_grey(np.asarray(wall, np.float32)), (0, 0), 1.4), np.uint8)


@_made_once
def weave() -> Grey:
    """Cloth: tweed, carpet, grille cloth."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) * np.float32(2 * np.pi / 16)
    threads = np.sin(x + np.sin(y)) * np.cos(y - np.sin(x))
    return _grey(0.5 + 0.28 * np.asarray(threads, np.float32) + 0.5 * (_fractal(12, (256, 256), 2) - 0.5))


@_made_once
def sparkle() -> Grey:
    """White noise around 128, sigma 40: metal flakes and the camera's noise."""
    noise = np.random.default_rng(13).standard_normal((SIDE, SIDE), np.float32)
    return np.asarray(np.clip(128 + 40 * noise, 0, 255), np.uint8)


@_made_once
def colour_noise() -> Pixels:
    """White noise around 128, sigma 40, half of it common to the three channels."""
    noise = np.random.default_rng(14).standard_normal((SIDE, SIDE, 4), np.float32)
    return np.asarray(np.clip(128 + 28 * (noise[..., :3] + noise[..., 3:]), 0, 255), np.uint8)


def cut(texture: Grey, to_texture: npt.NDArray[np.float64], size: tuple[int, int]) -> Grey:
    """A (height, width) piece: ``to_texture`` (3, 3) leads from its pixels to the texture's, which tiles."""
    shape = (size[1], size[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpPerspective(texture, to_texture, shape, flags=flags, borderMode=cv2.BORDER_WRAP), np.uint8
    )


def tinted(values: Grey, *stops: tuple[float, Colour]) -> Pixels:
    """Grey values as colours: each stop is a place (0..1) and the colour there."""
    places = [place * 255 for place, _ in stops]
    ramp = np.stack(
        [np.interp(np.arange(256), places, [colour[c] for _, colour in stops]) for c in range(3)], axis=1
    )
    return np.asarray(cv2.applyColorMap(values, ramp.astype(np.uint8)[:, None, :]), np.uint8)


def fill(picture: Grey, points: Points, colour: Colour | int) -> None:
    """Fill a polygon (pixels) in place, anti-aliased; colour or grey picture alike."""
    value = (colour,) if isinstance(colour, int) else colour
    cv2.fillPoly(picture, [np.round(points * 16).astype(np.int32)], value, cv2.LINE_AA, 4)


def cover(under: Pixels, over: Pixels, mask: Grey) -> None:
    """Lay ``over`` on ``under`` in place where ``mask`` is 255, mixed between."""
    weight = mask.astype(np.float32) * np.float32(1 / 255)
    under[:] = cv2.blendLinear(over, under, weight, 1 - weight)


def shaded(pixels: Pixels, shade: Grey, scale: float) -> Pixels:
    """Pixels times a grey picture times ``scale``, saturated."""
    return np.asarray(cv2.multiply(pixels, cv2.cvtColor(shade, cv2.COLOR_GRAY2BGR), scale=scale), np.uint8)


def enlarged(small: Grey, size: tuple[int, int]) -> Grey:
    """A small smooth picture at (height, width)."""
    return np.asarray(cv2.resize(small, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), np.uint8)


def halved(mask: Grey) -> Grey:
    """At half size; a single row or column as it is."""
    if min(mask.shape[:2]) < 2:
        return mask
    return np.asarray(cv2.resize(mask, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def softened(mask: Grey, sigma: float) -> Grey:
    """Gaussian blur for any ``sigma`` (pixels) at the price of a small one: shrunk meanwhile."""
    factor = max(1, min(int(sigma / 2), *(side // 4 for side in mask.shape[:2])))
    if factor > 1:
        shrunk = cv2.resize(mask, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
        blurred = cv2.GaussianBlur(shrunk, (0, 0), sigma / factor)
        return enlarged(np.asarray(blurred, np.uint8), (mask.shape[0], mask.shape[1]))
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.4, sigma)), np.uint8)
