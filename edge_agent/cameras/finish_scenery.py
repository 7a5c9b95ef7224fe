"""What stands behind and before a guitar, and the things in pictures without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.cameras import finish_textures as textures
from edge_agent.cameras.finish_outlines import Colour, Points, bgr, box, disc, scaled, smooth
from edge_agent.frames import Pixels

Rng = np.random.Generator

WALLS = [
    "d8d2c4",
    "bfb7a6",
    "8d9aa3",
    "6c7a72",
    "c9b79a",
    "a4867a",
    "54585c",
    "e4e0d8",
    "7c8fa6",
    "b5a3b0",
    "3c4650",
    "a9b8a0",
    "c78f74",
    "2b2b2e",
]
WOODS = (
    ("2a1a10", "6b4526"),
    ("5d3a1f", "b07c48"),
    ("8a6a48", "d9bd92"),
    ("4c4640", "a59c90"),
    ("1b1512", "4a3428"),
)
THINGS = [
    "b3202a",
    "d9452f",
    "7a1a2c",
    "9c6a70",
    "9fd0b4",
    "2f6ea8",
    "1a1a1c",
    "d8b27a",
    "c98a35",
    "8a4a1c",
    "e8e2cc",
    "41603a",
    "e0c040",
    "5a3d78",
    "7c7c80",
    "274060",
    "a05a3c",
    "f0f0f0",
    "3a2a20",
    "306858",
]


def one_of(rng: Rng, codes: Sequence[str]) -> Colour:
    """One of these colours, given as red, green, blue in hexadecimal."""
    return bgr(codes[int(rng.integers(len(codes)))])


def colour_near(rng: Rng, colour: Colour, spread: float) -> Colour:
    """A colour like this one: common and single-channel gain by about ``spread`` (0..1)."""
    gain = rng.normal(1, spread) * rng.normal(1, spread * 0.45, 3)
    blue, green, red = (
        int(np.clip(c * g + 255 * rng.normal(0, spread / 8), 2, 253))
        for c, g in zip(colour, gain, strict=True)
    )
    return blue, green, red


def placed(rng: Rng, pixels_per_side: float, turn: float = 0.3) -> npt.NDArray[np.float64]:
    """A random place, slight turn and perspective: from picture pixels to a texture that is to be
    ``pixels_per_side`` wide in the picture.
    """
    scale = textures.SIDE / pixels_per_side
    angle = rng.normal(0, turn)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    x, y = rng.uniform(0, textures.SIDE, 2)
    return np.array([[cosine, -sine, x], [sine, cosine, y], [rng.normal(0, 1e-4), rng.normal(0, 1e-4), 1]])


def fill(picture: npt.NDArray[np.uint8], points: Points, colour: Colour | int) -> None:
    """A polygon in pixels, anti-aliased."""
    cv2.fillPoly(picture, [np.round(points * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)


def _plaster(rng: Rng, size: tuple[int, int]) -> Pixels:
    colour = colour_near(rng, one_of(rng, WALLS), 0.1)
    wall = textures.cut(textures.clouds(), placed(rng, max(size) * rng.uniform(0.5, 2)), size)
    depth = rng.uniform(0.02, 0.16)
    return textures.tinted(wall, (0, scaled(colour, 1 - depth)), (1, scaled(colour, 1 + depth)))


def _bricks(rng: Rng, size: tuple[int, int]) -> Pixels:
    wall = textures.cut(textures.bricks(), placed(rng, min(size) * rng.uniform(0.9, 2.0), 0.05), size)
    brick = colour_near(rng, one_of(rng, ("8a4632", "9a5a44", "6e4a40", "8d8880", "c8c2b8")), 0.12)
    mortar = colour_near(rng, bgr("b8b0a4"), 0.12)
    return textures.tinted(
        wall, (0, scaled(brick, 0.5)), (0.62, scaled(brick, 1.3)), (0.8, mortar), (1, scaled(mortar, 1.1))
    )


def _boards(rng: Rng, size: tuple[int, int]) -> Pixels:
    dark, light = (bgr(code) for code in WOODS[int(rng.integers(len(WOODS)))])
    place = placed(rng, min(size) * rng.uniform(0.8, 2.2), 0.1)
    if rng.random() < 0.5:
        place = place @ np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    wood = textures.cut(textures.planks(), place, size)
    return textures.tinted(
        wood, (0, scaled(dark, 0.5)), (0.3, colour_near(rng, dark, 0.1)), (1, colour_near(rng, light, 0.1))
    )


def _cloth(rng: Rng, size: tuple[int, int]) -> Pixels:
    colour = colour_near(rng, one_of(rng, THINGS), 0.2)
    cloth = textures.cut(textures.weave(), placed(rng, min(size) * rng.uniform(1.2, 3), 0.4), size)
    pixels = textures.tinted(cloth, (0, scaled(colour, 0.5)), (1, scaled(colour, 1.2)))
    stripes = np.sin(np.arange(size[1]) * rng.uniform(0.02, 0.12) + rng.uniform(0, 6)) * rng.uniform(0, 0.5)
    folds = np.broadcast_to(np.asarray(100 * (1 + stripes), np.uint8)[None, :, None], pixels.shape)
    return np.asarray(cv2.multiply(pixels, np.ascontiguousarray(folds), scale=1 / 110), np.uint8)


def _backdrop(rng: Rng, size: tuple[int, int]) -> Pixels:
    colour = colour_near(rng, one_of(rng, WALLS), 0.2)
    y, x = np.mgrid[0:24, 0:32].astype(np.float32)
    distance = np.hypot(y / 24 - rng.uniform(0.3, 0.7), x / 32 - rng.uniform(0.2, 0.8))
    glow = np.asarray(255 * np.clip(1.1 - distance * rng.uniform(0.9, 1.6), 0, 1), np.uint8)
    spot = cv2.resize(glow, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return textures.tinted(np.asarray(spot, np.uint8), (0, scaled(colour, 0.25)), (1, colour))


def _blurred_room(rng: Rng, size: tuple[int, int]) -> Pixels:
    """A room, a garden or lamps far out of focus: painted small, then enlarged."""
    height, width = 30, 30 * size[1] // size[0]
    small = np.empty((height, width, 3), np.uint8)
    small[:] = colour_near(rng, one_of(rng, WALLS), 0.15)
    for _ in range(int(rng.integers(4, 14))):
        shape = (
            disc
            if rng.random() < 0.4
            else lambda x, y, r: box(x, y, r * rng.uniform(0.6, 3), r * rng.uniform(0.6, 3))
        )
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(1.5, 9)
        fill(small, shape(x, y, radius), colour_near(rng, one_of(rng, THINGS), 0.25))
    small = np.asarray(cv2.GaussianBlur(small, (0, 0), rng.uniform(0.6, 1.8)), np.uint8)
    return np.asarray(cv2.resize(small, (size[1], size[0]), interpolation=cv2.INTER_CUBIC), np.uint8)


def _amplifier(rng: Rng, size: tuple[int, int]) -> Pixels:
    """The grille cloth of an amplifier, with its frame and piping."""
    cloth = colour_near(rng, one_of(rng, ("2a2a2c", "8a7a5a", "b8b0a0", "5a4a3c")), 0.15)
    weave = textures.cut(textures.weave(), placed(rng, min(size) * rng.uniform(0.8, 1.6), 0.1), size)
    pixels = textures.tinted(weave, (0, scaled(cloth, 0.45)), (1, scaled(cloth, 1.3)))
    frame = colour_near(rng, one_of(rng, ("19191b", "3a2a20", "c8b890", "5a1c1c")), 0.15)
    top = size[0] * rng.uniform(0.02, 0.3)
    fill(pixels, box(size[1] / 2, top / 2 - 4, size[1] * 1.6, top), frame)
    fill(pixels, box(size[1] / 2, top, size[1] * 1.6, max(3.0, size[0] / 90)), bgr("d8d4c4"))
    return pixels


_BACKGROUNDS: tuple[Callable[[Rng, tuple[int, int]], Pixels], ...] = (
    _plaster, _plaster, _bricks, _boards, _boards, _cloth, _backdrop, _blurred_room, _blurred_room,
    _amplifier,
)  # fmt: skip


def draw_background(rng: Rng, size: tuple[int, int]) -> Pixels:
    """A wall or something like it, once in three with a floor below."""
    pixels = _BACKGROUNDS[int(rng.integers(len(_BACKGROUNDS)))](rng, size)
    if rng.random() < 0.35:
        line = int(size[0] * rng.uniform(0.55, 0.95))
        floor = (_boards, _cloth, _plaster)[int(rng.integers(3))](rng, (size[0] - line, size[1]))
        pixels[line:] = floor
        skirting = size[0] // 30
        if rng.random() < 0.6:
            pixels[max(0, line - skirting) : line] = colour_near(rng, bgr("dcd8ce"), 0.2)
        pixels[line : line + max(2, skirting // 5)] //= 2
    return pixels


def draw_things(rng: Rng, pixels: Pixels, count: int, outside: float) -> None:
    """Boxes, pots, cushions, discs in common colours, shaded from one side, with a soft shadow.

    ``outside`` keeps them away from the middle: 0 anywhere, 1 only at the border.
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    for _ in range(count):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(outside * 0.52, 0.62)
        x, y = width / 2 + width * reach * np.cos(angle), height / 2 + height * reach * np.sin(angle)
        radius = side * rng.uniform(0.05, 0.26 - 0.1 * outside)
        _draw_thing(rng, pixels, (x, y), radius)


def _thing_outline(rng: Rng, x: float, y: float, radius: float) -> Points:
    kind = rng.integers(4)
    if kind == 0:
        return disc(x, y, radius, 40)
    if kind == 1:
        return box(x, y, radius * rng.uniform(0.8, 2.6), radius * rng.uniform(0.8, 2.6), rng.normal(0, 0.3))
    corners = disc(0, 0, radius, int(rng.integers(5, 9)))
    corners = corners * rng.uniform(0.6, 1.35, (len(corners), 1)) + (x, y)
    return corners if kind == 2 else smooth([(px, py) for px, py in corners])


def _draw_thing(rng: Rng, pixels: Pixels, centre: tuple[float, float], radius: float) -> None:
    outline = _thing_outline(rng, *centre, radius)
    colour = colour_near(rng, one_of(rng, THINGS), 0.2)
    low = np.maximum(np.floor(outline.min(axis=0)).astype(int) - 12, 0)
    high = np.minimum(np.ceil(outline.max(axis=0)).astype(int) + 12, (pixels.shape[1], pixels.shape[0]))
    if np.any(high - low < 4):
        return
    region = pixels[low[1] : high[1], low[0] : high[0]]
    size = (region.shape[0], region.shape[1])
    mask = np.zeros(size, np.uint8)
    fill(mask, outline - low, 255)
    shade = cv2.GaussianBlur(
        cv2.resize(mask, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA), (0, 0), max(1.0, radius / 26)
    )
    soft = cv2.resize(shade, (region.shape[1], region.shape[0]), interpolation=cv2.INTER_LINEAR)
    region[:] = np.asarray(cv2.multiply(region, cv2.merge([255 - soft // 3] * 3), scale=1 / 255), np.uint8)
    ramp = textures.cut(textures.clouds(), placed(rng, radius * 8, 3), size)
    mixed = np.asarray(cv2.addWeighted(soft, 0.75, np.asarray(ramp, np.uint8), 0.3, 0), np.uint8)
    face = textures.tinted(mixed, (0.2, scaled(colour, 0.35)), (0.8, colour), (1, scaled(colour, 1.12)))
    if rng.random() < 0.35:
        wood = textures.cut(textures.grain(), placed(rng, radius * 4, 3), size)
        face = np.asarray(cv2.multiply(face, cv2.merge([wood // 2 + 128] * 3), scale=1 / 200), np.uint8)
    cover(region, face, mask)


def cover(under: Pixels, over: Pixels, mask: textures.Grey) -> None:
    """Lay ``over`` on ``under`` in place, by a mask of 0..255."""
    weight = mask.astype(np.float32) * np.float32(1 / 255)
    under[:] = cv2.blendLinear(over, under, weight, 1 - weight)


def draw_in_front(rng: Rng, pixels: Pixels) -> None:
    """Something that hides a part: a strap, a cable, a stand's bar, leaves."""
    height, width = pixels.shape[:2]
    side, kind = min(height, width), rng.integers(4)
    x, y = width * rng.uniform(0.15, 0.85), height * rng.uniform(0.15, 0.85)
    colour = colour_near(rng, one_of(rng, THINGS), 0.2)
    if kind == 0:
        band = box(x, y, side * 3, side * rng.uniform(0.05, 0.12), rng.uniform(0, np.pi))
        fill(pixels, band, scaled(colour, 0.6))
        fill(pixels, (band - (x, y)) * (1, 0.94) + (x, y), colour)
    elif kind == 1:
        ends = np.array([[rng.uniform(-0.2, 1.2) * width, rng.uniform(-0.2, 1.2) * height] for _ in range(4)])
        t = np.linspace(0, 1, 40)[:, None]
        cable = (
            (1 - t) ** 3 * ends[0]
            + 3 * t * (1 - t) ** 2 * ends[1]
            + 3 * t**2 * (1 - t) * ends[2]
            + t**3 * ends[3]
        )
        line, thick = [np.round(cable * 16).astype(np.int32)], max(2, side // 90)
        cv2.polylines(pixels, line, False, scaled(colour, 0.4), thick + 2, cv2.LINE_AA, 4)
        cv2.polylines(pixels, line, False, scaled(colour, 0.7), thick, cv2.LINE_AA, 4)
    elif kind == 2:
        metal = bgr("2a2a2c") if rng.random() < 0.6 else bgr("a8acb0")
        tilt, thick = rng.normal(0, 0.25), side * rng.uniform(0.015, 0.035)
        fill(pixels, box(x, y, thick, side * 3, tilt), scaled(metal, 0.6))
        fill(pixels, box(x - thick * 0.15, y, thick * 0.4, side * 3, tilt), scaled(metal, 1.4))
    else:
        green = colour_near(rng, bgr("3f6b35"), 0.2)
        for _ in range(7):
            place = rng.normal(0, side * 0.06, 2)
            leaf = disc(0, 0, side * rng.uniform(0.05, 0.1), 14) * (0.32, 1) @ _turn(rng.uniform(0, 6.3))
            fill(pixels, leaf + (np.array([x, y]) + place), scaled(green, rng.uniform(0.6, 1.3)))


def _turn(angle: float) -> npt.NDArray[np.float64]:
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
