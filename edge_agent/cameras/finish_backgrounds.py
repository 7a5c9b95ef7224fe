"""What stands behind a guitar: walls, boards, cloth, rooms out of focus."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.cameras import finish_textures as textures
from edge_agent.cameras.finish_outlines import Colour, bgr, box, disc, scaled
from edge_agent.cameras.finish_textures import fill
from edge_agent.frames import Pixels

Rng = np.random.Generator
Size = tuple[int, int]
"""(height, width) in pixels."""

WALLS = (
    "d8d2c4", "bfb7a6", "8d9aa3", "6c7a72", "c9b79a", "a4867a", "54585c",
    "e4e0d8", "7c8fa6", "b5a3b0", "3c4650", "a9b8a0", "c78f74", "2b2b2e",
)  # fmt: skip
WOODS = (
    ("2a1a10", "6b4526"), ("5d3a1f", "b07c48"), ("8a6a48", "d9bd92"), ("4c4640", "a59c90"),
    ("1b1512", "4a3428"),
)  # fmt: skip
BRICKS = ("8a4632", "9a5a44", "6e4a40", "8d8880", "c8c2b8")
THINGS = (
    "b3202a", "d9452f", "7a1a2c", "9c6a70", "9fd0b4", "2f6ea8", "1a1a1c", "d8b27a", "c98a35", "8a4a1c",
    "e8e2cc", "41603a", "e0c040", "5a3d78", "7c7c80", "274060", "a05a3c", "f0f0f0", "3a2a20", "306858",
)  # fmt: skip
"""Common colours of things, among them every finish: the colour alone must not give the answer."""


def one_of(rng: Rng, codes: Sequence[str]) -> Colour:
    """One of these colours, given as red, green, blue in hexadecimal."""
    return bgr(codes[int(rng.integers(len(codes)))])


def colour_near(rng: Rng, colour: Colour, spread: float) -> Colour:
    """A colour like this one: brightness varies by ``spread`` (0..1, standard deviation), hue by half."""
    gain = rng.normal(1, spread) * rng.normal(1, spread * 0.45, 3)
    lift = 255 * rng.normal(0, spread / 8)
    blue, green, red = (int(np.clip(c * g + lift, 2, 253)) for c, g in zip(colour, gain, strict=True))
    return blue, green, red


def placed(rng: Rng, pixels_per_side: float, turn: float) -> npt.NDArray[np.float64]:
    """Somewhere on a texture that is to be ``pixels_per_side`` wide in the picture, turned by about ``turn``
    radians: (3, 3) from the picture's pixels to the texture's.
    """
    scale = textures.SIDE / pixels_per_side
    angle = rng.normal(0, turn)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    x, y = rng.uniform(0, textures.SIDE, 2)
    return np.array([[cosine, -sine, x], [sine, cosine, y], [0, 0, 1]])


def _plaster(rng: Rng, size: Size) -> Pixels:
    colour = colour_near(rng, one_of(rng, WALLS), 0.1)
    wall = textures.cut(textures.clouds(), placed(rng, max(size) * rng.uniform(0.5, 2), 1.0), size)
    depth = rng.uniform(0.02, 0.14)
    return textures.tinted(wall, (0, scaled(colour, 1 - depth)), (1, scaled(colour, 1 + depth)))


def _bricks(rng: Rng, size: Size) -> Pixels:
    wall = textures.cut(textures.bricks(), placed(rng, min(size) * rng.uniform(0.9, 2.0), 0.05), size)
    brick = colour_near(rng, one_of(rng, BRICKS), 0.12)
    mortar = colour_near(rng, bgr("b8b0a4"), 0.12)
    stops = (0, scaled(brick, 0.5)), (0.62, scaled(brick, 1.3)), (0.8, mortar), (1, scaled(mortar, 1.1))
    return textures.tinted(wall, *stops)


def _boards(rng: Rng, size: Size) -> Pixels:
    dark, light = (colour_near(rng, bgr(code), 0.1) for code in WOODS[int(rng.integers(len(WOODS)))])
    place = placed(rng, min(size) * rng.uniform(0.8, 2.2), 0.1)
    if rng.random() < 0.5:
        place = place @ np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    wood = textures.cut(textures.planks(), place, size)
    return textures.tinted(wood, (0, scaled(dark, 0.5)), (0.3, dark), (1, light))


def _cloth(rng: Rng, size: Size) -> Pixels:
    """A carpet, a blanket, a curtain in folds."""
    colour = colour_near(rng, one_of(rng, THINGS), 0.2)
    cloth = textures.cut(textures.weave(), placed(rng, min(size) * rng.uniform(1.2, 3), 0.4), size)
    pixels = textures.tinted(cloth, (0, scaled(colour, 0.6)), (1, scaled(colour, 1.15)))
    x = np.arange(64) / 64
    waves = np.sin(x * rng.uniform(8, 60) + 2 * np.sin(x * rng.uniform(3, 9)) + rng.uniform(0, 6))
    folds = np.asarray(100 * (1 + waves * rng.uniform(0, 0.45)), np.uint8)[None, :]
    return textures.shaded(pixels, textures.enlarged(folds, size), 1 / 110)


def _backdrop(rng: Rng, size: Size) -> Pixels:
    """A photographer's paper with a pool of light."""
    colour = colour_near(rng, one_of(rng, WALLS), 0.2)
    y, x = np.ogrid[0:1:24j, 0:1:32j]
    distance = np.hypot(y - rng.uniform(0.3, 0.7), x - rng.uniform(0.2, 0.8))
    glow = np.asarray(255 * np.clip(1.1 - distance * rng.uniform(0.9, 1.6), 0, 1), np.uint8)
    return textures.tinted(textures.enlarged(glow, size), (0, scaled(colour, 0.25)), (1, colour))


def _blurred_room(rng: Rng, size: Size) -> Pixels:
    """A room, a garden, a stage far out of focus: painted small, then enlarged; often with round lights."""
    small = np.empty((60, max(60 * size[1] // size[0], 2), 3), np.uint8)
    height, width = small.shape[:2]
    wall, ground = (colour_near(rng, one_of(rng, WALLS), 0.2) for _ in range(2))
    small[:] = wall
    small[int(height * rng.uniform(0.5, 1)) :] = ground
    for _ in range(int(rng.integers(3, 12))):
        x, y, tall, wide = (
            rng.uniform(0, width),
            rng.uniform(0, height),
            rng.uniform(4, 40),
            rng.uniform(3, 18),
        )
        fill(small, box(x, y, wide, tall), colour_near(rng, one_of(rng, WALLS + THINGS), 0.25))
    small = np.asarray(cv2.GaussianBlur(small, (0, 0), rng.uniform(1.2, 4)), np.uint8)
    if rng.random() < 0.35:
        lights = np.zeros_like(small)
        for _ in range(int(rng.integers(5, 25))):
            lamp = disc(rng.uniform(0, width), rng.uniform(0, height), rng.uniform(1.5, 3.5), 12)
            fill(lights, lamp, scaled(colour_near(rng, bgr("ffd9a0"), 0.2), rng.uniform(0.2, 0.7)))
        small = np.asarray(cv2.add(small, lights), np.uint8)
    return np.asarray(cv2.resize(small, (size[1], size[0]), interpolation=cv2.INTER_CUBIC), np.uint8)


def _amplifier(rng: Rng, size: Size) -> Pixels:
    """The grille cloth of an amplifier, with the edge of its cabinet and the piping between."""
    cloth = colour_near(rng, one_of(rng, ("2a2a2c", "8a7a5a", "b8b0a0", "5a4a3c")), 0.15)
    weave = textures.cut(textures.weave(), placed(rng, min(size) * rng.uniform(0.8, 1.6), 0.1), size)
    pixels = textures.tinted(weave, (0, scaled(cloth, 0.45)), (1, scaled(cloth, 1.3)))
    cabinet = colour_near(rng, one_of(rng, ("19191b", "3a2a20", "c8b890", "5a1c1c")), 0.15)
    top = size[0] * rng.uniform(0.02, 0.3)
    fill(pixels, box(size[1] / 2, top / 2 - size[0], size[1] * 9, top + 2 * size[0]), cabinet)
    fill(pixels, box(size[1] / 2, top, size[1] * 9, max(3.0, size[0] / 90)), bgr("d8d4c4"))
    return pixels


_BACKGROUNDS: tuple[Callable[[Rng, Size], Pixels], ...] = (
    _plaster, _plaster, _bricks, _boards, _boards, _cloth, _backdrop, _blurred_room, _blurred_room, _amplifier
)  # fmt: skip


def draw_background(rng: Rng, size: Size) -> Pixels:
    """A new picture of a wall or something like it, once in three with a floor below."""
    pixels = _BACKGROUNDS[int(rng.integers(len(_BACKGROUNDS)))](rng, size)
    if rng.random() < 0.33:
        line = int(size[0] * rng.uniform(0.55, 0.93))
        pixels[line:] = (_boards, _cloth, _plaster)[int(rng.integers(3))](rng, (size[0] - line, size[1]))
        skirting = int(size[0] * rng.uniform(0.01, 0.06))
        if rng.random() < 0.6:
            pixels[line - skirting : line] = colour_near(rng, one_of(rng, WALLS), 0.2)
        pixels[line : line + max(2, size[0] // 150)] //= 2
    return pixels
