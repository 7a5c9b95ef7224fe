"""Pillow's antialiased BILINEAR resize from its formula, bit for bit, and only of the part that is wanted.

A triangle filter as wide as the reduction. For ``M`` pixels to ``N``: ``s = M / N``, ``q = max(s, 1)``,
``c = (i + 0.5) * s``; output ``i`` has the taps ``max(0, int(c - q + 0.5)) <= k < min(M, int(c + q + 0.5))``
with the weights ``1 - |(k - c + 0.5) / q|`` (at least 0), normalised to 1 and held in 22 fractional bits.
First along the rows, then along the columns, eight bits in between.

This is Pillow 10, which Microsoft's container pins; Pillow 13 turns the order of the passes round for some
tall pictures, and so differs there by one code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.frames import Pixels
from edge_agent.geometry import Antialias

_FRACTION_BITS = 22
_OUTPUTS_AT_ONCE = 16
# 90 kB of sums for 640 x 480: they stay in the cache, which halves the time of all at once.


@dataclass(frozen=True, eq=False)
class Taps:
    """For each wanted output along one axis: its source indices and weights, (taps, outputs) each."""

    indices: npt.NDArray[np.intp]
    weights: npt.NDArray[np.int32]
    first: int
    end: int


def resample(pixels: Pixels, step: Antialias) -> Pixels:
    """``pixels`` (height, width, 3) resized to ``step.size``, of it the window (height, width, 3)."""
    window = step.window
    rows = taps_of(pixels.shape[0], step.size[0], window.top, window.size[0])
    columns = taps_of(pixels.shape[1], step.size[1], window.left, window.size[1])
    # Taps gather whole rows, so the pass along the rows runs on the transposed picture.
    needed = pixels[rows.first : rows.end, columns.first : columns.end]
    narrowed = _weighted_rows(np.asarray(cv2.transpose(needed), dtype=np.uint8), columns)
    return _weighted_rows(np.asarray(cv2.transpose(narrowed), dtype=np.uint8), rows)


@lru_cache(maxsize=32)
def taps_of(length: int, resized: int, start: int, count: int) -> Taps:
    """The taps of ``count`` outputs from ``start``, where an axis of ``length`` becomes ``resized`` pixels.

    ``indices`` count from ``first``; source pixels outside ``first`` .. ``end`` are not needed.
    """
    scale = length / resized
    support = max(scale, 1.0)
    center = (np.arange(start, start + count) + 0.5) * scale
    low = np.maximum(np.trunc(center - support + 0.5), 0).astype(np.intp)
    high = np.minimum(np.trunc(center + support + 0.5), length).astype(np.intp)
    taken = low + np.arange(int((high - low).max()))[:, np.newaxis]
    triangle = 1.0 - np.abs((taken - center + 0.5) * (1.0 / support))
    triangle[(taken >= high) | (triangle < 0.0)] = 0.0
    # Summed one after the other: numpy's own sum adds in pairs and may differ in the last bit.
    normalised = triangle / np.add.accumulate(triangle)[-1]
    weights = (normalised * (1 << _FRACTION_BITS) + 0.5).astype(np.int32)
    first = int(low.min())
    end = int(high.max())
    indices = np.minimum(taken, end - 1) - first
    for array in (indices, weights):
        array.setflags(write=False)
    return Taps(indices, weights, first, end)


def _weighted_rows(rows: Pixels, taps: Taps) -> Pixels:
    """(n, m, 3) to (outputs, m, 3): each output the weighted sum of its rows, rounded."""
    flat = rows.reshape(rows.shape[0], -1)
    outputs = taps.weights.shape[1]
    result = np.empty((outputs, flat.shape[1]), dtype=np.uint8)
    for start in range(0, outputs, _OUTPUTS_AT_ONCE):
        some = slice(start, start + _OUTPUTS_AT_ONCE)
        total = np.full((len(result[some]), flat.shape[1]), 1 << (_FRACTION_BITS - 1), dtype=np.int32)
        product = np.empty_like(total)
        for indices, weights in zip(taps.indices[:, some], taps.weights[:, some], strict=True):
            np.multiply(flat[indices], weights[:, np.newaxis], out=product)
            total += product
        total >>= _FRACTION_BITS
        np.minimum(total, 255, out=result[some], casting="unsafe")
    return result.reshape(-1, *rows.shape[1:])
