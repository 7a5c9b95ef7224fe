"""What a graph's image input expects of channels and range, read from its name, its size, its quantisation
and the constants that it meets first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edge_agent.preprocess import NamedGeometry
from edge_agent.tensors import Quantization, TensorSpec
from edge_agent.worker.protocol import HeadOp

PixelFormat = Literal["bgr", "rgb"]
Triple = tuple[float, float, float]

BGR_MEANS: Triple = (104.0, 117.0, 123.0)
"""ImageNet's means in B, G, R, as every Custom Vision compact graph has them."""

MEANS_TOLERANCE = 3.0
"""Quantising to int8 moves them by 0.5, Microsoft's older code says 105, 117, 124; B and R lie 19 apart."""

ONES_TOLERANCE = 0.02
"""Quantised to int8, 1 stays within 0.01."""

USUAL_RANGES = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))
RANGE_TOLERANCE = 0.025
"""Of the range's width: scale 1/128 with zero point 128 ends at 0.992, 1 being meant."""

PIXEL_CONSTANT = 2.0
"""A graph that adds more than this takes pixels: on 0..1 or -1..1 it would leave nothing of them."""

LEGACY_SIDE = 227
S1_SIDE = 300
RGB_NAMES = frozenset({"data", "image_tensor"})

ZEROS: Triple = (0.0, 0.0, 0.0)
ONES: Triple = (1.0, 1.0, 1.0)
HALVES: Triple = (127.5, 127.5, 127.5)

AS_THEY_ARE = "the graph takes 0..255 as they are"


@dataclass(frozen=True)
class Range:
    """Mean and deviation on 0..255, why, and what is doubtful; ``contradiction``: nothing fits."""

    mean: Triple
    std: Triple
    origin: str
    warning: str | None = None
    contradiction: str | None = None


@dataclass(frozen=True)
class Channels:
    """Channel order, the geometry that goes with such a graph where no metadata says one, and why."""

    pixel_format: PixelFormat
    geometry: NamedGeometry
    origin: str
    warning: str | None = None


@dataclass(frozen=True)
class HeadConstants:
    """What the graph itself does to its input first: multiply, then add (as written, SUB negated)."""

    factors: tuple[float, ...] | None = None
    addends: tuple[float, ...] | None = None

    @property
    def takes_pixels(self) -> bool:
        """Whether they only make sense on 0..255."""
        if self.factors is not None:
            return any(_near_all(self.factors, 1 / top, 0.05 / top) for top in (127.5, 128.0, 255.0))
        return self.addends is not None and max(map(abs, self.addends)) > PIXEL_CONSTANT


def read_input(spec: TensorSpec, head: Sequence[HeadOp], *, custom_vision: bool) -> tuple[Channels, Range]:
    """Channels and range of the input ``spec``, (1, height, width, 3), float32, uint8 or int8.

    ``custom_vision``: a manifest or metadata says that the model is an export.
    """
    constants = head_constants(head)
    name, side = bare_name(spec.name), spec.shape[1] if spec.shape[1] == spec.shape[2] else 0
    channels = _by_means(constants) or _by_name(name, side, constants)
    if channels is None and custom_vision:
        channels = _by_export(name, side)
    if channels is None:
        return _coral(spec), _coral_range(spec, constants)
    if name == "Placeholder" and side == LEGACY_SIDE and constants == HeadConstants():
        return channels, _legacy_range(spec)
    return channels, _custom_vision_range(spec, constants)


def bare_name(name: str) -> str:
    """A tensor's name without what converters put around it: ``serving_default_data:0`` is ``data``."""
    return re.sub(r"^serving_default_|_u?int8$", "", name.partition(":")[0])


def head_constants(head: Sequence[HeadOp]) -> HeadConstants:
    """The first addition's or subtraction's constants, behind at most a multiplication by about 1; or the
    factors of the first multiplication by something else.
    """
    for op in head:
        values = tuple(op.constants[0]) if op.constants else ()
        if op.op in ("QUANTIZE", "DEQUANTIZE"):
            continue
        if not values:
            break
        if op.op in ("MUL", "DIV"):
            if _near_all(values, 1.0, ONES_TOLERANCE):
                continue
            return HeadConstants(
                factors=values if op.op == "MUL" else tuple(1 / x if x else 0.0 for x in values)
            )
        if op.op in ("ADD", "SUB"):
            return HeadConstants(addends=values if op.op == "ADD" else tuple(-x for x in values))
        break
    return HeadConstants()


def _near_all(values: Sequence[float], wanted: float, tolerance: float) -> bool:
    return all(abs(value - wanted) <= tolerance for value in values)


def _by_means(constants: HeadConstants) -> Channels | None:
    """By three constants like ImageNet's means, of either sign."""
    addends = constants.addends
    if addends is None or len(addends) != 3 or len({x > 0 for x in addends}) != 1:
        return None
    for pixel_format, means in (("bgr", BGR_MEANS), ("rgb", BGR_MEANS[::-1])):
        if all(abs(abs(x) - mean) <= MEANS_TOLERANCE for x, mean in zip(addends, means, strict=True)):
            shown = ", ".join(f"{x:.0f}" for x in addends)
            origin = f"the graph adds {shown}: the means of {', '.join(pixel_format.upper())}"
            return Channels("bgr" if pixel_format == "bgr" else "rgb", NamedGeometry("docker"), origin)
    return None


def _by_name(name: str, side: int, constants: HeadConstants) -> Channels | None:
    """By the names that Custom Vision gives its inputs, with what else is told of each."""
    docker = NamedGeometry("docker")
    addends = constants.addends
    if addends is not None and len(set(addends)) == 1 and constants.takes_pixels:
        if name in RGB_NAMES:
            return Channels("rgb", docker, f"input {name!r} and one scalar mean: a Custom Vision S1 graph")
        if name == "Placeholder":
            return Channels("bgr", docker, "input 'Placeholder' and one scalar mean: a Custom Vision graph")
    if name == "data" and side == S1_SIDE:
        return Channels("rgb", docker, "input 'data' of 300 x 300: a Custom Vision S1 graph")
    if name == "Placeholder" and side == LEGACY_SIDE and constants == HeadConstants():
        origin = (
            "input 'Placeholder' of 227 x 227 without mean constants: a Custom Vision graph before May 2018"
        )
        return Channels("bgr", NamedGeometry("docs"), origin)
    return None


def _by_export(name: str, side: int) -> Channels:
    """By the manifest or the metadata alone: which of the service's graphs it would be."""
    docker = NamedGeometry("docker")
    if name in RGB_NAMES or side == S1_SIDE:
        return Channels(
            "rgb", docker, f"a Custom Vision export, input {name!r} of {side}: S1 graphs take RGB"
        )
    origin = f"a Custom Vision export, input {name!r} of {side}: compact graphs take BGR"
    return Channels("bgr", docker, origin, f"BGR is a guess: the graph has no mean constants; {_SAY_IT}")


_SAY_IT = "where scores are poor, say pixel_format, mean and std in bundle.toml"


def _coral(spec: TensorSpec) -> Channels:
    origin = f"input {spec.name!r} is of no Custom Vision graph: Coral's convention"
    return Channels("rgb", NamedGeometry("stretch"), origin)


def code_range(spec: TensorSpec) -> tuple[float, float] | None:
    """The reals that the least and the greatest code of an 8-bit input stand for; None for floats."""
    if spec.dtype == "float32":
        return None
    scale, zero = _quantization(spec).scale, _unsigned_zero_point(spec)
    return -zero * scale, (255 - zero) * scale


def usual_range(spec: TensorSpec) -> tuple[float, float] | None:
    """Which of the usual ranges an 8-bit input's codes amount to, None for none of them."""
    codes = code_range(spec)
    if codes is None:
        return None
    for low, high in USUAL_RANGES:
        slack = RANGE_TOLERANCE * (high - low)
        if abs(codes[0] - low) <= slack and abs(codes[1] - high) <= slack:
            return low, high
    return None


def raw_codes(spec: TensorSpec) -> tuple[Triple, Triple]:
    """Mean and deviation with which a pixel becomes its own code (minus 128 for int8).

    The code of a pixel u is (u - mean) / std / scale + zero_point. With std = 1 / scale that is
    u - mean + zero_point, which is u for mean = zero_point, and u - 128 for mean = zero_point + 128.
    """
    zero, inverse = float(_unsigned_zero_point(spec)), 1 / _quantization(spec).scale
    return (zero, zero, zero), (inverse, inverse, inverse)


def _quantization(spec: TensorSpec) -> Quantization:
    """Codes without quantisation are plain numbers (uint8 graphs that begin with a cast)."""
    return spec.quantization or Quantization(1.0, 0)


def _unsigned_zero_point(spec: TensorSpec) -> int:
    return _quantization(spec).zero_point + (128 if spec.dtype == "int8" else 0)


def _raw_range(spec: TensorSpec, usual: tuple[float, float]) -> Range:
    mean, std = raw_codes(spec)
    return Range(mean, std, f"the pixel is the code: the input's codes stand for {usual[0]:g}..{usual[1]:g}")


def _custom_vision_range(spec: TensorSpec, constants: HeadConstants) -> Range:
    """0..255 as they are, unless the input was quantised for another usual range."""
    codes, usual = code_range(spec), usual_range(spec)
    if codes is None:
        return Range(ZEROS, ONES, AS_THEY_ARE)
    if usual is not None and usual[1] == 1.0:
        raw = _raw_range(spec, usual)
        if not constants.takes_pixels:
            return raw
        contradiction = (
            f"the input's codes stand for {usual[0]:g}..1, but the graph's constants are for 0..255"
        )
        return Range(raw.mean, raw.std, raw.origin, contradiction=contradiction)
    if usual is None:
        warning = f"the input's codes stand for {codes[0]:.4g}..{codes[1]:.4g}, where 0..255 was expected"
        return Range(ZEROS, ONES, AS_THEY_ARE, warning)
    return Range(ZEROS, ONES, f"{AS_THEY_ARE}: the pixel is the code")


def _legacy_range(spec: TensorSpec) -> Range:
    """Means to be subtracted outside, unless the input was quantised without them."""
    usual = usual_range(spec)
    if usual is None:
        return Range(
            BGR_MEANS, ONES, "no mean constants in the graph: subtracted outside, as Microsoft's app does"
        )
    raw = _raw_range(spec, usual)
    warning = "the graph is of a kind that wants 104, 117, 123 subtracted, but its codes leave no room for it"
    return Range(raw.mean, raw.std, raw.origin, warning)


def _coral_range(spec: TensorSpec, constants: HeadConstants) -> Range:
    usual = usual_range(spec)
    if usual is not None:
        return _raw_range(spec, usual)
    if spec.dtype == "float32" and constants.takes_pixels:
        return Range(ZEROS, ONES, "the graph's own constants bring 0..255 to its range")
    guess = "a guess: -1..1, as most public models take"
    codes = code_range(spec)
    told = "a float input" if codes is None else f"codes that stand for {codes[0]:.4g}..{codes[1]:.4g}"
    return Range(HALVES, HALVES, guess, f"mean and std 127.5 are a guess ({told}); {_SAY_IT}")
