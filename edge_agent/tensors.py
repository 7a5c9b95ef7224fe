"""What a tensor is: shape, element type, quantisation. Runs on Python 3.9."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Optional, Tuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Quantization:
    """Affine quantisation of a whole tensor: real = (code - zero_point) * scale."""

    scale: float
    zero_point: int

    def dequantize(self, codes: Array) -> npt.NDArray[np.float32]:
        """Codes of any integer type to float32 reals, same shape."""
        return (codes.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape (batch first, (1, height, width, channels) for images), element type by numpy
    name ("uint8", "int8", "float32") and quantisation (None: real values).
    """

    name: str
    shape: Tuple[int, ...]
    dtype: str
    quantization: Optional[Quantization] = None

    @property
    def nbytes(self) -> int:
        """Bytes of one tensor."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize
