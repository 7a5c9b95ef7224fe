"""Electric guitars of four types as flat parts: pickguard, neck, pickups, bridge, knobs, strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from edge_agent.cameras.finish_outlines import (
    J_BODY,
    J_GUARD,
    LP_BODY,
    LP_GUARD,
    LP_HEAD,
    S_BODY,
    S_GUARD,
    S_HEAD,
    T_BODY,
    T_GUARD,
    Colour,
    Points,
    bgr,
    box,
    disc,
    scaled,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """One flat part: a closed outline (n, 2) in cm, its colour (B, G, R) and whether it throws a shadow."""

    points: Points
    colour: Colour
    raised: bool = True


@dataclass(frozen=True)
class Guitar:
    """The painted body's outline and what is screwed to it.

    ``roundover_cm`` is the radius of its edge, ``carved`` whether the top is arched, ``binding`` the
    colour of the band around the top, where it has one.
    """

    outline: Points
    parts: tuple[Part, ...]
    roundover_cm: float
    carved: bool = False
    binding: Colour | None = None


GUARDS = [bgr(code) for code in ("f2efe6", "f2efe6", "d8e6d4", "161616", "5a2413", "efe6cc", "e9e4da")]
ROSEWOOD, MAPLE = bgr("3a2418"), bgr("d9b27c")
CHROME, CHROME_LIGHT, CHROME_DARK = bgr("b9bcc0"), bgr("eceef0"), bgr("5d6166")
CREAM, BLACK, WHITE, GOLD = bgr("e8d9b0"), bgr("151515"), bgr("f0ede6"), bgr("c9a24e")
_NUT_Y, _SCALE_CM = -54.8, 64.8


@dataclass
class _Bench:
    """Where a guitar is put together: parts in the order in which they lie upon each other."""

    parts: list[Part] = field(default_factory=list)

    def add(self, points: Points, colour: Colour, raised: bool = True) -> None:
        self.parts.append(Part(points, colour, raised))

    def metal(self, x: float, y: float, width: float, height: float, tilt: float = 0.0) -> None:
        """A polished plate: a dark rim, a grey face, a light band."""
        self.add(box(x, y, width, height, tilt), CHROME_DARK)
        self.add(box(x, y, width - 0.25, height - 0.25, tilt), CHROME, False)
        self.add(box(x, y - height * 0.16, width - 0.5, height * 0.3, tilt), CHROME_LIGHT, False)

    def knob(self, x: float, y: float, colour: Colour) -> None:
        """A knob with its lighter top."""
        self.add(disc(x, y, 1.25), scaled(colour, 0.62))
        self.add(disc(x - 0.08, y - 0.08, 0.92), colour, False)
        self.add(disc(x - 0.28, y - 0.3, 0.34, 10), scaled(colour, 1.3), False)

    def single_coil(self, y: float, colour: Colour, tilt: float = 0.0) -> None:
        """A narrow pickup with six pole pieces."""
        self.add(box(0, y, 8.4, 2.0, tilt), colour)
        for string in range(6):
            x = (string - 2.5) * 1.05
            self.add(disc(x * np.cos(tilt), y + x * np.sin(tilt), 0.27, 8), CHROME_DARK, False)

    def humbucker(self, y: float, covered: bool, ring: Colour) -> None:
        """A wide pickup in its ring, with a metal cover or two open coils."""
        self.add(box(0, y, 9.2, 4.6), ring)
        if covered:
            self.metal(0, y, 7.2, 3.7)
        else:
            for offset in (-0.95, 0.95):
                self.add(
                    box(0, y + offset, 7.0, 1.75), CREAM if ring == CREAM and offset < 0 else BLACK, False
                )
        for string in range(6):
            self.add(disc((string - 2.5) * 1.05, y + 0.95, 0.24, 8), CHROME, False)

    def neck(self, end_y: float, board: Colour, head: Points, head_colour: Colour) -> None:
        """Fretboard with frets and dots, headstock with tuners; ``end_y`` is the last fret's end."""
        for side in (-1, 1):
            for tuner in range(6 if side < 0 else 0) if head is S_HEAD else range(3):
                y = -61.5 - tuner * (2.4 if head is S_HEAD else 4.2)
                self.add(disc(side * 5.4, y, 0.85, 10), CHROME)
        self.add(head, head_colour)
        self.add(np.array([(-2.85, end_y), (-2.2, _NUT_Y), (2.2, _NUT_Y), (2.85, end_y)]), MAPLE)
        self.add(
            np.array([(-2.7, end_y - 0.2), (-2.05, _NUT_Y), (2.05, _NUT_Y), (2.7, end_y - 0.2)]), board, False
        )
        frets = _NUT_Y + _SCALE_CM * (1 - 2.0 ** (-np.arange(1, 23) / 12))
        for number, y in enumerate(frets[frets < end_y - 0.5], start=1):
            half = 2.1 + (y - _NUT_Y) / 80
            self.add(np.array([(-half, y), (half, y), (half, y + 0.16), (-half, y + 0.16)]), CHROME, False)
            if number in {3, 5, 7, 9, 12, 15, 17, 19, 21}:
                middle = y - (1.9 if number < 12 else 1.1)
                self.add(disc(0, middle, 0.38, 10), BLACK if board == MAPLE else WHITE, False)

    def strings(self, bridge_y: float) -> None:
        """Six strings from the bridge to the nut."""
        for string in range(6):
            low, high, half = (string - 2.5) * 1.05, (string - 2.5) * 0.7, 0.05 - 0.006 * string
            quad = [
                (low - half, bridge_y),
                (high - half, _NUT_Y),
                (high + half, _NUT_Y),
                (low + half, bridge_y),
            ]
            self.add(np.array(quad), CHROME if string < 3 else CHROME_LIGHT, False)


def _one(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


def _guard(bench: _Bench, rng: np.random.Generator, outline: Points) -> Colour:
    """A pickguard, or none once in six; the colour of its plastic parts."""
    colour = _one(rng, GUARDS)
    if rng.random() < 5 / 6:
        edge = bgr("d8d4c8") if sum(colour) < 250 else scaled(colour, 0.72)
        bench.add(outline, edge)
        centre = outline.mean(axis=0)
        bench.add((outline - centre) * 0.985 + centre, colour, False)
    return BLACK if sum(colour) < 250 else colour


def _s_type(rng: np.random.Generator) -> Guitar:
    bench = _Bench()
    plastic = _guard(bench, rng, S_GUARD)
    bench.neck(-7.4, _one(rng, (ROSEWOOD, MAPLE)), S_HEAD, MAPLE)
    cover = _one(rng, (plastic, WHITE, BLACK))
    for y, tilt in ((-4.6, 0.0), (0.2, 0.0)):
        bench.single_coil(y, cover, tilt)
    if rng.random() < 0.3:
        bench.humbucker(5.6, False, BLACK)
    else:
        bench.single_coil(5.4, cover, -0.17)
    bench.metal(0, 10.6, 7.6, 4.4)
    for string in range(6):
        bench.add(box((string - 2.5) * 1.08, 10.9, 0.8, 2.6), CHROME_LIGHT, False)
    for x, y in ((6.4, 7.4), (8.6, 11.2), (10.7, 14.4)):
        bench.knob(x, y, cover)
    bench.add(box(9.0, 5.4, 0.5, 2.2, -0.5), BLACK)
    bench.metal(11.7, 16.4, 2.6, 4.8, -0.7)
    bench.strings(10.8)
    return Guitar(S_BODY, tuple(bench.parts), 1.3)


def _t_type(rng: np.random.Generator) -> Guitar:
    bench = _Bench()
    _guard(bench, rng, T_GUARD)
    bench.neck(-6.8, _one(rng, (ROSEWOOD, MAPLE, MAPLE)), S_HEAD, MAPLE)
    bench.metal(0, -4.9, 7.4, 2.0)
    bench.metal(0, 10.0, 8.4, 8.2)
    bench.single_coil(8.2, BLACK, -0.22)
    for string in range(3):
        bench.add(
            box((string - 1) * 2.2, 12.2, 1.7, 1.5), GOLD if rng.random() < 0.4 else CHROME_LIGHT, False
        )
    bench.metal(9.9, 9.4, 3.2, 15.2)
    for y in (9.4, 13.8):
        bench.knob(9.9, y, CHROME)
    bench.add(box(9.9, 4.8, 0.5, 2.8, 0.3), BLACK)
    bench.strings(12.0)
    binding = _one(rng, (None, None, WHITE, CREAM))
    return Guitar(T_BODY, tuple(bench.parts), 0.6, binding=binding)


def _lp_type(rng: np.random.Generator) -> Guitar:
    bench = _Bench()
    if rng.random() < 0.6:
        bench.add(LP_GUARD, _one(rng, (CREAM, BLACK)))
    bench.neck(-6.4, ROSEWOOD, LP_HEAD, BLACK)
    covered, ring = bool(rng.random() < 0.6), _one(rng, (CREAM, BLACK))
    for y in (-3.8, 5.2):
        bench.humbucker(y, covered, ring)
    bench.metal(0, 9.8, 9.0, 1.5)
    bench.metal(0, 14.0, 10.0, 1.7)
    knob = _one(rng, (GOLD, BLACK, CREAM))
    for x, y in ((8.4, 9.6), (12.4, 11.4), (6.6, 14.6), (10.6, 16.6)):
        bench.knob(x, y, knob)
    bench.add(disc(-8.4, -11.0, 1.9), ring)
    bench.add(disc(-8.4, -11.0, 0.6, 10), CHROME, False)
    bench.strings(10.0)
    return Guitar(
        LP_BODY, tuple(bench.parts), 0.8, carved=True, binding=_one(rng, (CREAM, CREAM, WHITE, None))
    )


def _j_type(rng: np.random.Generator) -> Guitar:
    bench = _Bench()
    plastic = _guard(bench, rng, J_GUARD)
    bench.neck(-7.4, ROSEWOOD, S_HEAD, MAPLE)
    for y in (-3.6, 4.8):
        bench.add(box(0, y, 9.4, 3.8), plastic)
        for string in range(6):
            bench.add(disc((string - 2.5) * 1.05, y, 0.3, 8), CHROME_DARK, False)
    bench.metal(0, 9.4, 8.4, 2.0)
    bench.metal(0, 16.6, 5.6, 7.0)
    for x, y in ((9.4, 6.6), (10.8, 10.4)):
        bench.knob(x, y, plastic)
    bench.metal(7.4, -10.6, 1.4, 3.2, 0.3)
    bench.strings(16.0)
    return Guitar(J_BODY, tuple(bench.parts), 1.2)


_TYPES: tuple[Callable[[np.random.Generator], Guitar], ...] = (_s_type, _t_type, _lp_type, _j_type)


def build_guitar(rng: np.random.Generator) -> Guitar:
    """A guitar of one of four types, with parts as chance has them."""
    return _TYPES[int(rng.choice(4, p=(0.33, 0.25, 0.25, 0.17)))](rng)
