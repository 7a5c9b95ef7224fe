"""One captured picture and when it was taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""An upright picture: (height, width, 3), uint8, B G R."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A captured picture.

    ``number`` counts the captures of its camera from 1, dropped ones included;
    ``captured_ns`` is CLOCK_MONOTONIC, for intervals; ``captured_at_ns`` is Unix time, for messages;
    ``source`` names the picture where the source is a file or a folder.
    """

    pixels: Pixels
    number: int
    captured_ns: int
    captured_at_ns: int
    source: str | None = None
