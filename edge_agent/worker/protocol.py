"""What crosses the socket between the daemon and a worker: a JSON header and raw bytes, no pickle.

A message is ``>II`` (bytes of header, bytes of payload), the header as JSON in UTF-8, the payload.
Runs on Python 3.9.
"""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

from edge_agent.errors import ProtocolError
from edge_agent.tensors import Quantization, TensorSpec

MAX_HEADER = 1 << 20
"""Bytes. A description of a graph with a thousand operators takes some 100 KB."""

MAX_PAYLOAD = 1 << 26
"""Bytes: a float32 input of 2000 x 2000 x 3 fits, a garbled length does not."""

_LENGTHS = struct.Struct(">II")

Payload = Union[bytes, bytearray, memoryview]


@dataclass(frozen=True)
class HeadOp:
    """One operator on the way from the input into the graph, with the values of its small
    constants (at most 16 elements each).
    """

    op: str
    constants: List[List[float]] = field(default_factory=list)


@dataclass(frozen=True)
class GraphDescription:
    """What the runtime says of a model: the specs of inputs and outputs, the first operators that
    the input meets (at most 8, up to the first that is not elementwise), operators by count.
    """

    runtime: str
    inputs: Tuple[TensorSpec, ...]
    outputs: Tuple[TensorSpec, ...]
    head: Tuple[HeadOp, ...]
    op_counts: Mapping[str, int]

    def to_json(self) -> Dict[str, Any]:
        """Plain values; :func:`description_from_json` reads them."""
        return asdict(self)


def description_from_json(value: Any) -> GraphDescription:
    """The inverse of :meth:`GraphDescription.to_json`. Raises ProtocolError."""
    try:
        return GraphDescription(
            runtime=str(value["runtime"]),
            inputs=tuple(spec_from_json(spec) for spec in value["inputs"]),
            outputs=tuple(spec_from_json(spec) for spec in value["outputs"]),
            head=tuple(
                HeadOp(str(op["op"]), [[float(x) for x in row] for row in op["constants"]])
                for op in value["head"]
            ),
            op_counts={str(op): int(count) for op, count in value["op_counts"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ProtocolError(f"malformed graph description: {error!r}") from error


def spec_from_json(value: Any) -> TensorSpec:
    """A TensorSpec from plain values. Raises ProtocolError."""
    try:
        quantization: Optional[Quantization] = None
        if value["quantization"] is not None:
            scale, zero_point = value["quantization"]["scale"], value["quantization"]["zero_point"]
            quantization = Quantization(float(scale), int(zero_point))
        return TensorSpec(
            name=str(value["name"]),
            shape=tuple(int(size) for size in value["shape"]),
            dtype=str(value["dtype"]),
            quantization=quantization,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ProtocolError(f"malformed tensor spec: {error!r}") from error
