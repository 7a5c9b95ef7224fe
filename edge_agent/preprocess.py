"""A camera's picture becomes the tensor that a network was trained to see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from edge_agent import bilinear
from edge_agent.errors import ImageError, UnsupportedModelError
from edge_agent.frames import Pixels
from edge_agent.geometry import (
    CROP_METHODS,
    MAX_RESIZED_PIXELS,
    RESIZE_METHODS,
    Antialias,
    Crop,
    Geometry,
    MetadataGeometry,
    NamedGeometry,
    Step,
    check_geometry,
    seen_part,
    steps_for,
)
from edge_agent.resampling import resample
from edge_agent.tensors import Array, Quantization, TensorSpec

__all__ = [
    "CROP_METHODS",
    "RESIZE_METHODS",
    "Geometry",
    "InputConvention",
    "MetadataGeometry",
    "NamedGeometry",
    "Preprocessor",
]

_RAW = np.arange(256, dtype=np.uint8)
_SIGN_BIT = np.uint8(0x80)


@dataclass(frozen=True)
class InputConvention:
    """How a network wants its pictures: ``(pixel - mean) / std`` per channel, pixels 0..255.

    ``mean`` and ``std`` stand in the order of ``pixel_format``.
    """

    geometry: Geometry
    pixel_format: Literal["bgr", "rgb"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Preprocessor:
    """Turns pictures of any size into input tensors. Any number of threads may share one.

    Raises UnsupportedModelError unless ``spec`` is (1, height, width, 3) of uint8, int8 or float32
    and the convention can be carried out.
    """

    def __init__(self, convention: InputConvention, spec: TensorSpec) -> None:
        _check_spec(spec)
        check_geometry(convention.geometry)
        self.convention = convention
        self.spec = spec
        self._size = (spec.shape[1], spec.shape[2])
        self._dtype = np.dtype(spec.dtype)
        self._codes = _Codes(code_table(convention, spec))

    def prepare(self, pixels: Pixels, out: Array | None = None) -> Array:
        """The tensor of a picture (height, width, 3), uint8, B G R: shape and dtype of ``spec``.

        ``out`` is filled and returned where given; ValueError unless it is C-contiguous and of the
        tensor's shape and dtype.

        Raises ImageError for pixels of another kind, or a picture too narrow to be resized.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
            raise ImageError(
                f"a picture is (height, width, 3) of uint8, not {pixels.shape} of {pixels.dtype}"
            )
        if out is None:
            out = np.empty(self.spec.shape, dtype=self._dtype)
        elif out.shape != self.spec.shape or out.dtype != self._dtype or not out.flags.c_contiguous:
            raise ValueError(f"out must be {self.spec.shape} of {self._dtype}, contiguous")
        # Eight bits: the pixels land in the tensor and become codes where they lie.
        raw = out[0].view(np.uint8) if self._dtype.itemsize == 1 else np.empty(out.shape[1:], dtype=np.uint8)
        self._place(pixels, raw)
        self._codes.write(raw, out[0])
        return out

    def seen_part(self, pixels: Pixels) -> Pixels:
        """The part of a picture that reaches the network, a view. Raises ImageError as :meth:`prepare`."""
        part = seen_part(self.convention.geometry, pixels.shape[:2], self._size)
        return pixels[part.top : part.top + part.size[0], part.left : part.left + part.size[1]]

    def _place(self, pixels: Pixels, raw: Pixels) -> None:
        """Fill ``raw`` (the network's height, width, 3) with the picture, in the order of pixel_format."""
        steps = steps_for(self.convention.geometry, pixels.shape[:2], self._size)
        swap = self.convention.pixel_format == "rgb"
        for number, step in enumerate(steps, start=1):
            pixels = _take(pixels, step, None if swap or number < len(steps) else raw)
        if swap:
            cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=raw)
        elif pixels is not raw:
            np.copyto(raw, pixels)


def _take(pixels: Pixels, step: Step, into: Pixels | None) -> Pixels:
    """One step; a stretch is written ``into`` where that is given, a crop is a view."""
    if isinstance(step, Crop):
        return pixels[step.top : step.top + step.size[0], step.left : step.left + step.size[1]]
    if isinstance(step, Antialias):
        return resample(pixels, step)
    return bilinear.resize(pixels, step.size, into)


def code_table(convention: InputConvention, spec: TensorSpec) -> Array:
    """What each pixel value 0..255 becomes per channel: (256, 3) of the spec's dtype.

    Float: ``(p - mean) / std``. Integers: ``clip(rint(((p - mean) / std) / scale) + zero_point)``, halves
    to even; without quantisation scale is 1 and zero point 0.

    Raises UnsupportedModelError for numbers that make no codes.
    """
    mean, std = np.asarray(convention.mean, dtype=np.float64), np.asarray(convention.std, dtype=np.float64)
    if mean.shape != (3,) or std.shape != (3,) or not (np.isfinite([mean, std]).all() and std.all()):
        raise UnsupportedModelError(
            f"mean {convention.mean} and std {convention.std} cannot be", "three numbers each; no std is 0"
        )
    with np.errstate(over="ignore"):  # what overflows is clipped, or refused below
        real = (np.arange(256.0)[:, np.newaxis] - mean) / std
        if spec.dtype == "float32":
            table: Array = real.astype(np.float32)
            if not np.isfinite(table).all():
                raise UnsupportedModelError(f"std {convention.std} is too small")
            return table
        quantization = spec.quantization or Quantization(1.0, 0)
        if not (math.isfinite(quantization.scale) and quantization.scale > 0):
            raise UnsupportedModelError(f"the input's scale {quantization.scale} is not a positive number")
        codes = np.rint(real / quantization.scale) + quantization.zero_point
    limits = np.iinfo(spec.dtype)
    return codes.clip(limits.min, limits.max).astype(spec.dtype)


class _Codes:
    """Raw pixels to codes, by the cheapest way that gives what the table says."""

    def __init__(self, table: Array) -> None:
        alike = bool((table == table[:, :1]).all())
        bits = table.view(np.uint8) if table.dtype.itemsize == 1 else table
        self._raw = alike and bool((bits[:, 0] == _RAW).all())
        self._flip = alike and table.dtype == np.int8 and bool((bits[:, 0] == _RAW ^ _SIGN_BIT).all())
        # One table for all channels is looked up about twice as fast as three.
        self._table = np.ascontiguousarray(bits[:, 0] if alike else bits[np.newaxis])

    def write(self, raw: Pixels, out: Array) -> None:
        """``out`` becomes the codes of ``raw``, which for eight bits is the same memory."""
        if self._raw:
            if out.dtype == np.float32:
                np.copyto(out, raw)
        elif self._flip:
            np.bitwise_xor(raw, _SIGN_BIT, out=raw)
        else:
            cv2.LUT(raw, self._table, dst=out if out.dtype == np.float32 else raw)


def _check_spec(spec: TensorSpec) -> None:
    shape = spec.shape
    if len(shape) == 4 and shape[1] == 3 and shape[3] != 3:
        raise UnsupportedModelError(
            f"the input {shape} is channels first (NCHW)",
            "export the model for TensorFlow Lite: channels last",
        )
    if len(shape) != 4 or shape[0] != 1 or shape[3] != 3 or min(shape) < 1:
        raise UnsupportedModelError(
            f"the input {shape} is not (1, height, width, 3): one picture, three channels"
        )
    if shape[1] * shape[2] > MAX_RESIZED_PIXELS:
        raise UnsupportedModelError(f"the input {shape} is too large")
    if spec.dtype not in {"uint8", "int8", "float32"}:
        raise UnsupportedModelError(
            f"an input of {spec.dtype} is not supported", "uint8, int8 and float32 are"
        )
