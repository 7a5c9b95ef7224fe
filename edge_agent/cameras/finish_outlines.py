"""Outlines of guitars and simple shapes, in centimetres: x to the treble side, y from neck to tail.

The origin lies on the strings in the middle of the body; the bridge is near y = 10, the nut near -55.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
"""Corners (n, 2), x then y."""

Colour = tuple[int, int, int]
"""(B, G, R), 0..255."""


def bgr(code: str) -> Colour:
    """``"d9402f"`` (red, green, blue) as (B, G, R)."""
    red, green, blue = bytes.fromhex(code)
    return blue, green, red


def scaled(colour: Colour, factor: float) -> Colour:
    """A darker or lighter colour."""
    blue, green, red = (min(255, int(channel * factor)) for channel in colour)
    return blue, green, red


def smooth(corners: Sequence[tuple[float, float]], steps: int = 8) -> Points:
    """The closed Catmull-Rom curve through ``corners``, ``steps`` points a side."""
    p1 = np.asarray(corners, float)[:, None, :]
    p0, p2, p3 = (np.roll(p1, shift, axis=0) for shift in (1, -1, -2))
    t = (np.arange(steps) / steps)[None, :, None]
    curve = p1 + 0.5 * t * ((p2 - p0) + t * ((2 * p0 - 5 * p1 + 4 * p2 - p3) + t * (3 * (p1 - p2) + p3 - p0)))
    return np.asarray(curve, float).reshape(-1, 2)


def box(x: float, y: float, width: float, height: float, tilt: float = 0.0) -> Points:
    """A rectangle with slightly rounded corners around (x, y); ``tilt`` in radians."""
    w, h, r = width / 2, height / 2, min(width, height) * 0.09
    corners = [
        (r - w, -h),
        (w - r, -h),
        (w, r - h),
        (w, h - r),
        (w - r, h),
        (r - w, h),
        (-w, h - r),
        (-w, r - h),
    ]
    cosine, sine = np.cos(tilt), np.sin(tilt)
    turned = np.array(corners) @ np.array([[cosine, sine], [-sine, cosine]])
    return np.asarray(turned + np.array([x, y]), float)


def disc(x: float, y: float, radius: float, sides: int = 18) -> Points:
    """A circle as a polygon."""
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


S_BODY = smooth([
    (-3.2, -9.4), (-4.9, -10.6), (-6.6, -13.4), (-8.4, -17.6), (-10.4, -20.6), (-12.6, -20.5),
    (-14.3, -17.2), (-14.4, -12.0), (-12.6, -6.8), (-11.1, -2.4), (-11.6, 2.2), (-13.9, 6.8),
    (-15.9, 11.6), (-15.4, 16.6), (-11.6, 20.3), (-5.2, 21.7), (2.0, 21.6), (9.0, 20.2), (14.2, 16.6),
    (16.2, 11.6), (15.2, 6.4), (12.6, 2.0), (11.2, -2.2), (11.3, -6.2), (12.9, -10.4), (14.0, -14.2),
    (13.4, -16.6), (11.5, -16.9), (9.4, -14.4), (7.4, -10.8), (5.4, -8.4), (3.2, -7.8),
])  # fmt: skip
T_BODY = smooth([
    (-3.0, -14.6), (-7.6, -15.4), (-11.8, -14.6), (-14.0, -11.4), (-13.6, -7.0), (-11.9, -2.8),
    (-11.7, 1.2), (-13.6, 5.4), (-15.7, 9.8), (-15.9, 14.4), (-13.4, 18.4), (-7.6, 20.4), (0.0, 20.8),
    (7.6, 20.4), (13.4, 18.4), (15.9, 14.4), (15.7, 9.8), (13.6, 5.4), (11.7, 1.2), (11.8, -2.8),
    (13.2, -6.6), (13.9, -10.2), (12.9, -13.2), (10.9, -13.8), (9.0, -11.8), (7.2, -9.2), (5.2, -7.6),
    (3.2, -7.4),
])  # fmt: skip
LP_BODY = smooth([
    (-3.0, -14.0), (-6.8, -15.9), (-10.8, -15.7), (-13.2, -12.8), (-13.2, -8.6), (-11.4, -4.4),
    (-11.0, -0.2), (-12.8, 4.0), (-15.6, 8.4), (-16.7, 13.4), (-15.2, 18.2), (-10.8, 21.4), (-4.6, 22.6),
    (4.6, 22.6), (10.8, 21.4), (15.2, 18.2), (16.7, 13.4), (15.6, 8.4), (12.8, 4.0), (11.0, -0.2),
    (11.2, -4.2), (12.6, -8.2), (12.8, -11.4), (11.0, -12.8), (8.9, -11.2), (7.0, -8.6), (5.0, -7.0),
    (3.2, -7.0),
])  # fmt: skip
J_BODY = smooth([
    (-3.2, -9.4), (-5.2, -11.8), (-7.2, -16.0), (-9.4, -20.0), (-11.8, -21.0), (-13.8, -18.4),
    (-14.2, -13.0), (-12.8, -7.0), (-11.6, -1.6), (-12.4, 3.6), (-15.2, 9.0), (-17.1, 14.8),
    (-15.8, 20.2), (-10.8, 23.6), (-4.0, 24.0), (3.4, 22.4), (10.4, 19.2), (15.4, 14.2), (16.9, 8.4),
    (15.0, 2.6), (12.2, -2.4), (11.4, -7.4), (12.6, -12.4), (13.8, -16.4), (12.8, -18.8), (10.6, -17.8),
    (8.2, -13.2), (5.6, -9.0), (3.2, -7.8),
])  # fmt: skip

S_GUARD = smooth([
    (-3.4, -9.2), (-5.2, -10.4), (-7.2, -13.8), (-9.0, -16.2), (-10.9, -15.8), (-11.2, -12.0),
    (-9.8, -6.4), (-8.4, -1.0), (-8.2, 3.4), (-6.9, 6.8), (-4.6, 7.7), (0.0, 7.6), (3.8, 8.0),
    (5.6, 11.2), (8.2, 14.8), (11.0, 15.8), (13.0, 13.0), (12.4, 8.0), (10.2, 3.0), (9.2, -1.8),
    (9.3, -6.4), (10.6, -10.6), (10.2, -12.9), (8.2, -10.2), (5.8, -7.9), (3.3, -7.2),
])  # fmt: skip
T_GUARD = smooth([
    (-3.2, -7.6), (-3.8, -12.2), (-6.4, -13.8), (-10.2, -13.0), (-11.6, -9.8), (-10.2, -5.0),
    (-9.2, -0.2), (-9.4, 4.2), (-7.2, 6.2), (-4.0, 5.9), (0.0, 5.9), (4.0, 5.8), (7.4, 4.6), (8.9, 1.2),
    (9.0, -3.6), (7.4, -7.0), (4.6, -7.2),
])  # fmt: skip
LP_GUARD = smooth(
    [(3.7, -5.2), (6.0, -4.6), (8.2, -0.6), (9.8, 4.6), (8.8, 7.6), (6.0, 8.4), (4.4, 6.0), (4.0, 0.0)]
)
J_GUARD = smooth([
    (-3.4, -9.0), (-5.8, -12.0), (-8.2, -16.6), (-10.6, -17.4), (-11.2, -12.6), (-10.2, -5.6),
    (-9.6, 0.6), (-10.6, 6.4), (-8.0, 9.2), (-3.6, 8.4), (2.0, 8.2), (5.6, 9.6), (8.0, 13.4),
    (11.4, 13.0), (13.2, 8.6), (12.0, 2.6), (10.0, -3.4), (10.0, -9.6), (10.8, -13.4), (9.6, -14.0),
    (7.4, -10.8), (5.2, -7.8), (3.3, -7.4),
])  # fmt: skip
S_HEAD = np.array([
    (-2.1, -55), (-2.4, -58), (-4.2, -60.5), (-4.6, -63), (-4.2, -74), (-2.2, -77), (0.8, -76),
    (1.6, -73.4), (0.8, -72), (2.6, -61), (3.6, -58.5), (2.4, -56.6), (2.1, -55),
])  # fmt: skip
LP_HEAD = np.array([
    (-2.1, -55), (-3.4, -58.5), (-4.1, -71), (-2.6, -71.8), (0, -70.6), (2.6, -71.8), (4.1, -71),
    (3.4, -58.5), (2.1, -55),
])  # fmt: skip
