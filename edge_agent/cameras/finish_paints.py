"""The finishes themselves: what a painted body looks like before and after light falls on it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.cameras import finish_textures as textures
from edge_agent.cameras.finish_backgrounds import colour_near
from edge_agent.cameras.finish_outlines import Colour, bgr, scaled
from edge_agent.frames import Pixels

Field = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Finish:
    """How a label is painted.

    ``stops`` go from the middle of the body (0) to its edge (1); one stop is a plain colour.
    ``flake`` is the contrast of the metal flakes, ``grain`` how much of the wood shows through,
    ``figured`` whether that wood may be flamed maple, ``spread`` how far batch and age move the colour.
    """

    stops: tuple[tuple[float, Colour], ...]
    flake: float = 0.0
    grain: float = 0.0
    figured: bool = False
    spread: float = 0.05


FINISHES: dict[str, Finish] = {
    "black": Finish(((0, bgr("141416")),), spread=0.12),
    "bordeaux metallic": Finish(((0, bgr("4c0d18")),), flake=0.5, spread=0.07),
    "burgundy mist": Finish(((0, bgr("8e6064")),), flake=0.35, spread=0.06),
    "dakota red": Finish(((0, bgr("b01a26")),)),
    "fiesta red": Finish(((0, bgr("d5432f")),)),
    "honey burst": Finish(
        ((0, bgr("dfa448")), (0.45, bgr("cf8a33")), (0.8, bgr("9c5420")), (1, bgr("7a3c17"))),
        grain=0.5,
        figured=True,
    ),
    "lake placid blue": Finish(((0, bgr("235484")),), flake=0.4, spread=0.06),
    "natural": Finish(((0, bgr("d6ac72")),), grain=0.8, spread=0.07),
    "olympic white": Finish(((0, bgr("ebe3ca")),), spread=0.035),
    "surf green": Finish(((0, bgr("9bd0b3")),)),
    "tobacco sunburst": Finish(
        ((0, bgr("d59a44")), (0.38, bgr("b06a26")), (0.68, bgr("4a200f")), (0.85, bgr("1c0c08"))),
        grain=0.35,
        figured=True,
    ),
}


@dataclass(frozen=True)
class Light:
    """Where the light comes from: ``toward`` is the unit vector to it (x right, y down, z to the camera)."""

    toward: tuple[float, float, float]
    gloss: float
    """0 satin .. 1 fresh lacquer."""


def paint(
    rng: np.random.Generator,
    label: str,
    mask: textures.Grey,
    to_cm: npt.NDArray[np.float64],
    pixels_per_cm: float,
) -> Pixels:
    """The painted top under even light, (height, width, 3) like ``mask``.

    ``to_cm`` (3, 3) leads from the mask's pixels to centimetres on the guitar.
    """
    finish = FINISHES[label]
    gain = colour_near(rng, (128, 128, 128), finish.spread)
    stops = [(place, _toned(colour, gain)) for place, colour in finish.stops]
    if len(stops) == 1:
        top = np.empty((*mask.shape, 3), np.uint8)
        top[:] = stops[0][1]
    else:
        reach = rng.uniform(7.5, 10.5)
        top = textures.tinted(_from_edge(mask, pixels_per_cm * reach, rng), *stops)
    if finish.grain:
        top = _grained(rng, top, finish, to_cm)
    if finish.flake:
        top = _flaked(rng, top, finish.flake)
    return top


def _toned(colour: Colour, gain: Colour) -> Colour:
    blue, green, red = (int(np.clip(c * g / 128, 0, 255)) for c, g in zip(colour, gain, strict=True))
    return blue, green, red


def _from_edge(mask: textures.Grey, reach: float, rng: np.random.Generator) -> textures.Grey:
    """255 at the edge of the body, 0 at ``reach`` pixels inside: how a burst is sprayed. Half size inside."""
    half = textures.halved(mask)
    depth = cv2.distanceTransform(cv2.threshold(half, 127, 255, cv2.THRESH_BINARY)[1], cv2.DIST_L2, 5)
    # Where there is no edge at all the distance is the largest float.
    depth = cv2.GaussianBlur(np.minimum(depth, 2 * reach), (0, 0), max(0.6, reach * rng.uniform(0.05, 0.09)))
    near = np.clip(255 - depth * (510 / reach), 0, 255).astype(np.uint8)
    return np.asarray(
        cv2.resize(near, (mask.shape[1], mask.shape[0]), interpolation=cv2.INTER_LINEAR), np.uint8
    )


def _grained(rng: np.random.Generator, top: Pixels, finish: Finish, to_cm: npt.NDArray[np.float64]) -> Pixels:
    """Wood under clear lacquer, its grain along the strings, in two bookmatched or glued halves."""
    figured = finish.figured and rng.random() < 0.5
    texture = textures.flame() if figured else textures.grain()
    scale = textures.SIDE / rng.uniform(22, 36)
    move = np.array([[scale, 0, rng.uniform(0, 1024)], [0, scale * 0.6, rng.uniform(0, 1024)], [0, 0, 1]])
    wood = textures.cut(texture, move @ to_cm, (top.shape[0], top.shape[1]))
    depth = finish.grain * rng.uniform(0.7, 1.2) * (0.7 if figured else 1.0)
    shade = textures.tinted(
        wood,
        (0, scaled((150, 176, 190), 1 - 0.62 * depth)),
        (0.5, (186, 190, 192)),
        (1, scaled((200, 200, 200), 1 + 0.12 * depth)),
    )
    return np.asarray(cv2.multiply(top, shade, scale=1 / 190), np.uint8)


def _flaked(rng: np.random.Generator, top: Pixels, contrast: float) -> Pixels:
    """Metal flakes: single pixels that flash or turn away."""
    x, y = (int(v) for v in rng.integers(0, textures.SIDE // 2, 2))
    noise = textures.sparkle()[y:, x:]
    if noise.shape[0] < top.shape[0] or noise.shape[1] < top.shape[1]:
        noise = np.tile(textures.sparkle(), (2 + top.shape[0] // 1024, 2 + top.shape[1] // 1024))[y:, x:]
    noise = noise[: top.shape[0], : top.shape[1]]
    strength = contrast * rng.uniform(0.5, 1.0)
    even = np.asarray(cv2.addWeighted(noise, strength, noise, 0, 128 * (1 - strength)), np.uint8)
    return textures.shaded(top, even, 1 / 128)


def light_top(
    rng: np.random.Generator,
    top: Pixels,
    mask: textures.Grey,
    light: Light,
    metallic: bool,
    edge: float,
    carve: float,
) -> Pixels:
    """The top with the light's shading, its edge rounded over ``edge`` pixels, arched over ``carve`` pixels
    (0: flat), and what the lacquer reflects.
    """
    small = textures.halved(mask)
    slope_x, slope_y = _slopes(small, edge / 2, 0.7)
    if carve:
        wide_x, wide_y = _slopes(small, carve / 2, 0.35)
        slope_x, slope_y = slope_x + wide_x, slope_y + wide_y
    x, y, z = light.toward
    norm = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
    facing = (slope_x * x + slope_y * y + z) * norm
    shade = 0.55 + 0.45 * facing / z
    if metallic:
        shade *= _flop(rng, small.shape)
    rim = light.gloss * 150 * np.clip(_half_facing(slope_x, slope_y, norm, light), 0, 1) ** 40
    glare = rim + _reflections(rng, small.shape, light.gloss)
    size = (mask.shape[0], mask.shape[1])
    lit = textures.shaded(
        top, textures.enlarged(np.clip(shade * 128, 0, 255).astype(np.uint8), size), 1 / 128
    )
    shine = textures.enlarged(np.clip(glare, 0, 255).astype(np.uint8), size)
    return np.asarray(cv2.add(lit, cv2.cvtColor(shine, cv2.COLOR_GRAY2BGR)), np.uint8)


def _slopes(mask: textures.Grey, radius: float, steepness: float) -> tuple[Field, Field]:
    """The outward slope of a dome whose edge is rounded over ``radius`` pixels, along x and y."""
    height = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(0.8, radius / 2))
    unit = np.float32(-steepness * max(0.8, radius / 2) * 2.2 / 255)
    return (
        np.asarray(cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / 8) * unit, np.float32),
        np.asarray(cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / 8) * unit, np.float32),
    )


def _half_facing(slope_x: Field, slope_y: Field, norm: Field, light: Light) -> Field:
    """Cosine between the surface and the half-way vector (Blinn), less what a flat top reflects."""
    x, y, z = light.toward
    length = np.sqrt(x * x + y * y + (z + 1) ** 2)
    facing = (slope_x * x + slope_y * y + (z + 1)) * norm / length
    return np.asarray(np.where(norm > 0.998, 0, facing), np.float32)


def _flop(rng: np.random.Generator, shape: tuple[int, ...]) -> Field:
    """How metal flakes throw the light back: a broad bright lobe across the body."""
    angle, place, width = rng.uniform(0, np.pi), rng.uniform(-0.3, 0.3), rng.uniform(0.25, 0.5)
    y, x = np.ogrid[-0.5 : 0.5 : shape[0] * 1j, -0.5 : 0.5 : shape[1] * 1j]
    across = (x * np.cos(angle) + y * np.sin(angle) - place) / width
    return np.asarray(0.72 + 0.62 * np.exp(-(across**2)), np.float32)


def _reflections(rng: np.random.Generator, shape: tuple[int, ...], gloss: float) -> Field:
    """A window with its bars or a lamp mirrored in the lacquer, and the paler half of the room."""
    room = np.zeros((96, 96), np.uint8)
    for _ in range(int(rng.integers(0, 3))):
        centre, span, bright = rng.uniform(8, 88, 2), rng.uniform(4, 22, 2), rng.uniform(60, 210)
        slant = np.array([[1, rng.normal(0, 0.4)], [rng.normal(0, 0.4), 1]])
        panes = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)) if rng.random() < 0.5 else ((0, 0),)
        for pane in panes:
            half = 0.44 if len(panes) == 4 else 1.0
            corners = (np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half + pane) * span / 2
            quad = [np.round((corners @ slant + centre) * 16).astype(np.int32)]
            cv2.fillPoly(room, quad, int(bright), cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(room.astype(np.float32), (0, 0), 0.7 + 6 * (1 - gloss) ** 2)
    sky = np.linspace(rng.uniform(0, 22), 0, 96, dtype=np.float32)[:: int(rng.choice([-1, 1])), None]
    mirrored = soft * np.float32(gloss) + sky
    return np.asarray(cv2.resize(mirrored, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)
