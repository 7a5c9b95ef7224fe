"""Things around a guitar, before it, and in pictures without one."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from edge_agent.cameras import finish_textures as textures
from edge_agent.cameras.finish_backgrounds import THINGS, Rng, colour_near, one_of, placed
from edge_agent.cameras.finish_outlines import Colour, Points, bgr, box, disc, scaled, smooth
from edge_agent.cameras.finish_textures import fill
from edge_agent.frames import Pixels

Shapes = list[tuple[Points, Colour]]
"""Outlines about the origin, about 2 across, y down, and their colours, the farthest first."""


def _cushion(rng: Rng, colour: Colour) -> Shapes:
    w, h, pinch = rng.uniform(0.7, 1.1), rng.uniform(0.6, 1.0), rng.uniform(0.86, 0.96)
    corners = [
        (-w, -h),
        (0, -h * pinch),
        (w, -h),
        (w * pinch, 0),
        (w, h),
        (0, h * pinch),
        (-w, h),
        (-w * pinch, 0),
    ]
    return [(smooth(corners), colour)]


def _books(rng: Rng, colour: Colour) -> Shapes:
    shapes: Shapes = []
    y = 1.0
    for _ in range(int(rng.integers(2, 7))):
        thick, wide, x = rng.uniform(0.16, 0.34), rng.uniform(1.3, 2.0), rng.normal(0, 0.07)
        shapes.append((box(x, y - thick / 2, wide, thick), colour))
        shapes.append((box(x + wide * 0.06, y - thick / 2, wide * 0.88, thick * 0.6), bgr("d8ccb0")))
        y -= thick
        colour = colour_near(rng, one_of(rng, THINGS), 0.2)
    return shapes


def _mug(_: Rng, colour: Colour) -> Shapes:
    bowl = smooth(
        [(-0.6, -0.8), (0.6, -0.8), (0.62, 0.0), (0.55, 0.75), (0.0, 0.85), (-0.55, 0.75), (-0.62, 0.0)]
    )
    rim, tea = disc(0, -0.78, 0.62) * (1, 0.3) + (0, -0.55), disc(0, -0.78, 0.52) * (1, 0.26) + (0, -0.57)
    return [
        (disc(0.68, -0.05, 0.42), colour),
        (disc(0.68, -0.05, 0.26), scaled(colour, 0.35)),
        (bowl, colour),
        (rim, scaled(colour, 1.15)),
        (tea, bgr("2a1a12")),
    ]


def _plant(rng: Rng, colour: Colour) -> Shapes:
    green = colour_near(rng, bgr("3f6b35"), 0.2)
    shapes: Shapes = []
    for _ in range(int(rng.integers(8, 18))):
        angle, reach = rng.normal(0, 0.8), rng.uniform(0.5, 1.3)
        leaf = (disc(0, -0.5, 0.5, 12) * (rng.uniform(0.2, 0.45), reach)) @ turned(angle)
        shapes.append((leaf + np.array([0, 0.2]), scaled(green, rng.uniform(0.6, 1.4))))
    shapes.append((np.array([(-0.5, 0.2), (0.5, 0.2), (0.36, 1.0), (-0.36, 1.0)]), colour))
    shapes.append((box(0, 0.22, 1.14, 0.2), scaled(colour, 1.1)))
    return shapes


def _sleeve(rng: Rng, colour: Colour) -> Shapes:
    """A record's sleeve or a framed picture."""
    shapes: Shapes = [(box(0, 0, 1.8, 1.8), scaled(colour, 0.5)), (box(0, 0, 1.6, 1.6), colour)]
    for _ in range(int(rng.integers(1, 5))):
        x, y, radius = *rng.uniform(-0.4, 0.4, 2), rng.uniform(0.1, 0.4)
        outline = (
            disc(x, y, radius) if rng.random() < 0.5 else box(x, y, radius * 1.6, radius, rng.normal(0, 0.5))
        )
        shapes.append((outline, colour_near(rng, one_of(rng, THINGS), 0.2)))
    return shapes


def _record(_: Rng, colour: Colour) -> Shapes:
    rings = [
        (disc(0, 0, radius, 40), bgr(code))
        for radius, code in ((1, "141416"), (0.8, "1e1e20"), (0.6, "151517"))
    ]
    return [*rings, (disc(0, 0, 0.36), colour), (disc(0, 0, 0.04, 8), bgr("d0d0d0"))]


def _cabinet(rng: Rng, colour: Colour) -> Shapes:
    """A loudspeaker: one or two cones in a box."""
    shapes: Shapes = [
        (box(0, 0, 1.4, 2.0), scaled(colour, 0.6)),
        (box(0, 0, 1.26, 1.86), scaled(colour, 0.42)),
    ]
    for y in (0.4, -0.45) if rng.random() < 0.7 else (0.0,):
        radius = rng.uniform(0.3, 0.5)
        for part, code in ((1.0, "3a3a3c"), (0.85, "161618"), (0.4, "4a4a4c")):
            shapes.append((disc(0, y, radius * part, 28), bgr(code)))
    return shapes


def _vase(rng: Rng, colour: Colour) -> Shapes:
    """Curves like a guitar's, and no guitar."""
    y = np.linspace(-1, 1, 8)
    half = rng.uniform(0.25, 0.8, 8)
    return [(smooth([*zip(half, y, strict=True), *zip(-half[::-1], y[::-1], strict=True)]), colour)]


def _crate(rng: Rng, colour: Colour) -> Shapes:
    wide, tall = rng.uniform(0.8, 2.0, 2)
    tilt = rng.normal(0, 0.15)
    return [
        (box(0, 0, wide, tall, tilt), scaled(colour, 0.8)),
        (box(0, 0, wide * 0.92, tall * 0.92, tilt), colour),
    ]


_THINGS: tuple[Callable[[Rng, Colour], Shapes], ...] = (
    _cushion, _cushion, _books, _mug, _plant, _sleeve, _record, _cabinet, _vase, _crate
)  # fmt: skip


def draw_things(rng: Rng, pixels: Pixels, count: int, outside: bool) -> None:
    """Draw ``count`` things in place, each with a soft shadow; ``outside`` keeps them near the border."""
    height, width = pixels.shape[:2]
    for _ in range(count):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.48 if outside else 0.0, 0.62)
        centre = np.array([width * (0.5 + reach * np.cos(angle)), height * (0.5 + reach * np.sin(angle))])
        radius = min(height, width) * rng.uniform(0.08, 0.2 if outside else 0.4)
        kind = _THINGS[int(rng.integers(len(_THINGS)))]
        turn = turned(rng.normal(0, 0.12)) * radius
        shapes = kind(rng, colour_near(rng, one_of(rng, THINGS), 0.2))
        _draw_thing(rng, pixels, [(points @ turn + centre, colour) for points, colour in shapes], radius)


def _draw_thing(rng: Rng, pixels: Pixels, shapes: Shapes, radius: float) -> None:
    """Fill the shapes (pixels), darken them toward one side and their edges, and the ground around them."""
    corners = np.concatenate([points for points, _ in shapes])
    margin = radius * 0.3
    low = np.maximum((corners.min(axis=0) - margin).astype(int), 0)
    high = np.minimum((corners.max(axis=0) + margin).astype(int), (pixels.shape[1], pixels.shape[0]))
    if np.any(high - low < 8):
        return
    region = pixels[low[1] : high[1], low[0] : high[0]]
    size = (region.shape[0], region.shape[1])
    mask = np.zeros(size, np.uint8)
    for points, _ in shapes:
        fill(mask, points - low, 255)
    soft = textures.softened(mask, radius * 0.13)
    region[:] = textures.shaded(region, 255 - soft // 2, 1 / 255)
    for points, colour in shapes:
        fill(region, points - low, colour)
    ramp = np.linspace(*((70, 130) if rng.random() < 0.5 else (130, 70)), 16)[None, :].astype(np.uint8)
    tone = np.asarray(cv2.addWeighted(soft, 0.42, textures.enlarged(ramp, size), 1, 0), np.uint8)
    if rng.random() < 0.3:
        wood = textures.cut(textures.grain(), placed(rng, radius * 5, 3), size)
        tone = np.asarray(cv2.addWeighted(tone, 0.75, wood, 0.3, 0), np.uint8)
    region[:] = textures.shaded(region, np.where(mask > 127, tone, np.uint8(200)), 1 / 200)


def draw_in_front(rng: Rng, pixels: Pixels) -> None:
    """Something that hides a part: a strap, a cable, a stand's bar, leaves."""
    colour = colour_near(rng, one_of(rng, THINGS), 0.2)
    (_strap, _cable, _bar, _leaves)[int(rng.integers(4))](rng, pixels, colour)


def _strap(rng: Rng, pixels: Pixels, colour: Colour) -> None:
    side, centre = min(pixels.shape[:2]), _place(rng, pixels)
    wide = side * rng.uniform(0.04, 0.09)
    way = turned(rng.uniform(0, np.pi))
    band = np.array([(-2 * side, 0), (-side, wide), (0, 0), (side, wide), (2 * side, 0)])
    for inset, shade in ((1.0, 0.5), (0.86, 1.0), (0.72, 0.85)):
        half = np.array([0, wide * inset])
        fill(pixels, np.concatenate([band - half, (band + half)[::-1]]) @ way + centre, scaled(colour, shade))


def _cable(rng: Rng, pixels: Pixels, colour: Colour) -> None:
    """A curve that enters at one side of the picture and leaves at another."""
    middle, reach = _place(rng, pixels, 0.1), max(pixels.shape[:2])
    first = rng.uniform(0, 2 * np.pi)
    ends = [_place(rng, pixels, 0.5) for _ in range(4)]
    ends[0] = middle + np.array([0, reach]) @ turned(first)
    ends[3] = middle + np.array([0, reach]) @ turned(first + rng.uniform(1.2, 5))
    t = np.linspace(0, 1, 40)[:, None]
    line = (
        (1 - t) ** 3 * ends[0]
        + 3 * t * (1 - t) ** 2 * ends[1]
        + 3 * t**2 * (1 - t) * ends[2]
        + t**3 * ends[3]
    )
    points, thick = [np.round(line * 16).astype(np.int32)], max(2, min(pixels.shape[:2]) // 100)
    cv2.polylines(pixels, points, False, scaled(colour, 0.25), thick + 2, cv2.LINE_AA, 4)
    cv2.polylines(pixels, points, False, scaled(colour, 0.6), thick, cv2.LINE_AA, 4)


def _bar(rng: Rng, pixels: Pixels, _: Colour) -> None:
    side, centre = min(pixels.shape[:2]), _place(rng, pixels)
    metal, tilt, thick = (
        one_of(rng, ("2a2a2c", "a8acb0")),
        rng.normal(0, 0.25),
        side * rng.uniform(0.012, 0.025),
    )
    fill(pixels, box(centre[0], centre[1], thick, side * 4, tilt), scaled(metal, 0.6))
    fill(pixels, box(centre[0] - thick * 0.15, centre[1], thick * 0.4, side * 4, tilt), scaled(metal, 1.4))


def _leaves(rng: Rng, pixels: Pixels, _: Colour) -> None:
    side, centre = min(pixels.shape[:2]), _place(rng, pixels)
    for points, colour in _plant(rng, bgr("3f6b35"))[:-2]:
        fill(pixels, (points * side * 0.16) @ turned(rng.normal(0, 0.3)) + centre, colour)


def _place(rng: Rng, pixels: Pixels, reach: float = 0.35) -> Points:
    height, width = pixels.shape[:2]
    return np.array([width, height]) * (0.5 + rng.uniform(-reach, reach, 2))


def turned(angle: float) -> Points:
    """(2, 2): row vectors times this are turned by ``angle`` radians."""
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
