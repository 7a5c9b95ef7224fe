"""Pictures of guitars by their finish, drawn from a seed.

The bundled model was trained on such pictures, and the camera ``scene:finishes`` shows them: a picture
with a known answer, on any machine, without a camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.cameras import finish_textures as textures
from edge_agent.cameras.finish_backgrounds import draw_background
from edge_agent.cameras.finish_guitars import Guitar, Part, build_guitar
from edge_agent.cameras.finish_outlines import Points
from edge_agent.cameras.finish_paints import FINISHES, Light, light_top, paint
from edge_agent.cameras.finish_textures import cover, enlarged, fill, shaded, softened
from edge_agent.cameras.finish_things import draw_in_front, draw_things
from edge_agent.errors import UsageError
from edge_agent.frames import Pixels

NO_GUITAR = "Negative"
"""The label of a picture without a guitar, named as Custom Vision names it."""

LABELS: tuple[str, ...] = tuple(sorted([*FINISHES, NO_GUITAR], key=str.casefold))

TRAIN_SEEDS = range(1_000_000)
VALIDATION_SEEDS = range(1_000_000, 2_000_000)
TEST_SEEDS = range(2_000_000, 3_000_000)
SCENE_SEEDS = range(3_000_000, 4_000_000)

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Pose:
    """``to_pixels`` (3, 3) leads from centimetres on the guitar to pixels."""

    to_pixels: Matrix
    pixels_per_cm: float

    def project(self, points: Points) -> Points:
        """(n, 2) in cm to (n, 2) in pixels."""
        moved = points @ self.to_pixels[:, :2].T + self.to_pixels[:, 2]
        return np.asarray(moved[:, :2] / moved[:, 2:], float)


def render(seed: int, label: str | None = None, size: tuple[int, int] = (480, 640)) -> tuple[Pixels, str]:
    """Draw one picture of (height, width) ``size``; the same seed gives the same bytes.

    Returns the pixels (height, width, 3) uint8 B G R and the label; without ``label`` the seed chooses one.
    With another label, the same seed gives the same guitar in the same place in another finish.
    Raises UsageError for an unknown label.
    """
    streams = [np.random.default_rng((seed, part)) for part in range(6)]
    chosen = LABELS[int(streams[0].integers(len(LABELS)))] if label is None else label
    if chosen not in LABELS:
        raise UsageError(f"no finish is called {chosen!r}", f"the finishes are {', '.join(LABELS)}")
    scenery, posing, building, painting, photographing = streams[1:]
    pixels = draw_background(scenery, size)
    if chosen == NO_GUITAR:
        draw_things(scenery, pixels, int(scenery.integers(0, 8)), outside=False)
    else:
        draw_things(scenery, pixels, int(scenery.integers(0, 4)), outside=True)
        _draw_guitar(pixels, build_guitar(building), _pose(posing, size), chosen, painting)
    if scenery.random() < 0.25:
        draw_in_front(scenery, pixels)
    return _photographed(photographing, pixels), chosen


def _pose(rng: np.random.Generator, size: tuple[int, int]) -> _Pose:
    """Mostly upright, sometimes lying; the body's length is 50 to 110 % of the picture's shorter side."""
    side = min(size)
    scale = side * rng.uniform(0.5, 1.1) / 42
    angle = rng.normal(0, 0.3) if rng.random() < 0.6 else rng.uniform(-np.pi, np.pi)
    mirror = -1.0 if rng.random() < 0.08 else 1.0
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    x, y = np.array([size[1], size[0]]) / 2 + rng.uniform(-0.13, 0.13, 2) * side
    tilt = rng.normal(0, 0.0022, 2)
    flat = np.array([[cosine * mirror, -sine, 0], [sine * mirror, cosine, 0], [tilt[0], tilt[1], 1]])
    move = np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
    return _Pose(move @ flat, scale)


def _draw_guitar(pixels: Pixels, guitar: Guitar, pose: _Pose, label: str, rng: np.random.Generator) -> None:
    """Shadow, painted body, then the parts upon it."""
    azimuth, height = rng.uniform(-np.pi, 0), rng.uniform(0.5, 1.2)
    toward = (np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height))
    light = Light(toward, float(rng.uniform(0.15, 1.0)))
    outline = pose.project(guitar.outline)
    neck = [
        pose.project(part.points) for part in guitar.parts if part.points[:, 1].min() < -50 and part.raised
    ]
    away = -np.array(toward[:2]) * pose.pixels_per_cm
    distance = rng.uniform(0.8, 5)
    _cast_shadow(
        pixels, [outline, *neck], away * distance, pose.pixels_per_cm * distance * 0.4, rng.uniform(0.3, 0.7)
    )
    _draw_body(pixels, guitar, pose, label, light, rng)
    raised = [pose.project(part.points) for part in guitar.parts if part.raised]
    _cast_shadow(pixels, raised, away * 0.45, pose.pixels_per_cm * 0.22, 0.5)
    _draw_parts(pixels, guitar.parts, pose)


def _cast_shadow(pixels: Pixels, shapes: list[Points], offset: Points, blur: float, depth: float) -> None:
    """Darken where ``shapes`` (pixels), moved by ``offset``, keep the light away; computed at half size."""
    size = (pixels.shape[0], pixels.shape[1])
    shade = np.full(((size[0] + 1) // 2, (size[1] + 1) // 2), 255, np.uint8)
    for shape in shapes:
        fill(shade, (shape + offset) / 2, int(255 * (1 - depth)))
    pixels[:] = shaded(pixels, enlarged(softened(shade, blur / 2), size), 1 / 255)


def _draw_body(
    pixels: Pixels, guitar: Guitar, pose: _Pose, label: str, light: Light, rng: np.random.Generator
) -> None:
    outline = pose.project(guitar.outline)
    low = np.maximum(np.floor(outline.min(axis=0)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(outline.max(axis=0)).astype(int) + 2, (pixels.shape[1], pixels.shape[0]))
    region = pixels[low[1] : high[1], low[0] : high[0]]
    mask = np.zeros(region.shape[:2], np.uint8)
    fill(mask, outline - low, 255)
    to_cm = np.linalg.inv(pose.to_pixels) @ np.array([[1, 0, low[0]], [0, 1, low[1]], [0, 0, 1.0]])
    top = paint(rng, label, mask, to_cm, pose.pixels_per_cm)
    if guitar.binding is not None:
        line = [np.round((outline - low) * 16).astype(np.int32)]
        cv2.polylines(
            top, line, True, guitar.binding, max(1, round(pose.pixels_per_cm * 1.1)), cv2.LINE_AA, 4
        )
    carve = 5.0 * pose.pixels_per_cm if guitar.carved else 0.0
    metallic = FINISHES[label].flake > 0
    cover(
        region,
        light_top(rng, top, mask, light, metallic, guitar.roundover_cm * pose.pixels_per_cm, carve),
        mask,
    )


def _draw_parts(pixels: Pixels, parts: tuple[Part, ...], pose: _Pose) -> None:
    corners = np.cumsum([len(part.points) for part in parts])[:-1]
    projected = np.split(pose.project(np.concatenate([part.points for part in parts])), corners)
    for part, points in zip(parts, projected, strict=True):
        fill(pixels, points, part.colour)


def _photographed(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """The light in the room and what a camera makes of it: blur, exposure, colour cast, noise, JPEG."""
    pixels = _uneven_light(rng, pixels)
    side = min(pixels.shape[:2])
    if rng.random() < 0.12:
        pixels = _moved(rng, pixels, side)
    else:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), side / 480 * rng.uniform(0.35, 1.3)), np.uint8)
    pixels = np.asarray(cv2.LUT(pixels, _tone_curves(rng)), np.uint8)
    pixels = _noisy(rng, pixels)
    if rng.random() < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))]
        encoded = cv2.imencode(".jpg", pixels, quality)[1]
        pixels = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return pixels


def _uneven_light(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """Brighter toward a lamp, darker in the corners; once in eight the bars of a window's shadow."""
    y, x = np.ogrid[-1:1:60j, -1:1:80j]
    angle, fall = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.28)
    light = 1 + fall * (x * np.cos(angle) + y * np.sin(angle)) - rng.uniform(0, 0.2) * (x * x + y * y - 0.6)
    if rng.random() < 0.12:
        bars = np.sin((x * np.cos(angle + 1.2) + y * np.sin(angle + 1.2)) * rng.uniform(4, 9))
        light *= 1 - rng.uniform(0.1, 0.35) * np.clip(bars * 4, 0, 1)
    soft = np.clip(light * 128, 0, 255).astype(np.uint8)
    return shaded(pixels, enlarged(soft, (pixels.shape[0], pixels.shape[1])), 1 / 128)


def _moved(rng: np.random.Generator, pixels: Pixels, side: int) -> Pixels:
    """A hand that shook: a short line as the blur."""
    length = max(3, int(side / 480 * rng.uniform(4, 12)))
    kernel = np.zeros((length, length), np.float32)
    reach, angle = (length - 1) / 2, rng.uniform(0, np.pi)
    step = np.array([np.cos(angle), np.sin(angle)]) * reach
    start, end = np.round(reach - step).astype(int), np.round(reach + step).astype(int)
    cv2.line(kernel, (int(start[0]), int(start[1])), (int(end[0]), int(end[1])), 1.0, 1, cv2.LINE_AA)
    return np.asarray(cv2.filter2D(pixels, -1, kernel / kernel.sum()), np.uint8)


def _tone_curves(rng: np.random.Generator) -> Pixels:
    """Exposure, warmth, tint, contrast and haze as one table (1, 256, 3) for B, G, R."""
    exposure, warmth, tint = 2 ** rng.normal(0, 0.24), rng.normal(0.01, 0.05), rng.normal(0, 0.018)
    gain = exposure * np.array([1 - warmth, 1 + tint, 1 + warmth])
    value = np.linspace(0, 1, 256)[:, None] ** (2.2 * 2 ** rng.normal(0, 0.1)) * gain
    shoulder = np.where(value > 0.7, 0.7 + 0.3 * np.tanh((value - 0.7) / 0.3), value)
    haze = rng.uniform(0, 0.04)
    curve = haze + (1 - haze) * shoulder ** (1 / 2.2)
    return np.asarray(np.clip(curve * 255, 0, 255).astype(np.uint8)[None], np.uint8)


def _noisy(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """The sensor's noise; its texture is repeated where the picture is larger."""
    height, width = pixels.shape[:2]
    noise = textures.colour_noise()
    y, x = (int(v) for v in rng.integers(0, textures.SIDE // 4, 2))
    if y + height > textures.SIDE or x + width > textures.SIDE:
        noise = np.tile(noise, (1 + (y + height) // textures.SIDE, 1 + (x + width) // textures.SIDE, 1))
    strength = abs(rng.normal(0, 0.085)) + 0.015
    part = noise[y : y + height, x : x + width]
    return np.asarray(cv2.addWeighted(pixels, 1, part, strength, -128 * strength), np.uint8)
