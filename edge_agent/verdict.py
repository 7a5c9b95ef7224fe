"""What vetting found of a bundle, in plain values: what is known of it need not be found again."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_agent.errors import ProtocolError
from edge_agent.tensors import Array
from edge_agent.worker.protocol import GraphDescription, description_from_json

SCHEMA = 2
"""To be raised when other things are found, or by other pictures: older verdicts are none then."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """A bundle of this digest may serve, as far as ``runtime`` (name and version) on the CPU can tell.

    ``inference_ms`` is the first inference, ``typical_ms`` the median of some more, ``answers`` are the raw
    outputs for the bundle's probes; 0, 0 and () where the CPU cannot run it.
    """

    digest: str
    runtime: str
    graph: GraphDescription
    inference_ms: float
    typical_ms: float
    answers: tuple[Array, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values with a checksum; :func:`verdict_from_json` reads them."""
        content = {
            "schema": SCHEMA,
            "digest": self.digest,
            "runtime": self.runtime,
            "graph": self.graph.to_json(),
            "inference_ms": self.inference_ms,
            "typical_ms": self.typical_ms,
            "answers": [_array_to_json(answer) for answer in self.answers],
        }
        return {**content, "sha256": _checksum(content)}


def verdict_from_json(value: Any) -> Verdict:
    """The inverse of :meth:`Verdict.to_json`. Raises ProtocolError, also for one of another schema, or
    that is not what was written.
    """
    try:
        if value["schema"] != SCHEMA:
            raise ProtocolError(f"a verdict of schema {value['schema']!r}")
        if value["sha256"] != _checksum({each: value[each] for each in value if each != "sha256"}):
            raise ProtocolError("a verdict that is not what was written")
        inference_ms, typical_ms = float(value["inference_ms"]), float(value["typical_ms"])
        if not (math.isfinite(inference_ms) and math.isfinite(typical_ms)):
            raise ProtocolError("a verdict with an inference of no time")
        return Verdict(
            digest=str(value["digest"]),
            runtime=str(value["runtime"]),
            graph=description_from_json(value["graph"]),
            inference_ms=inference_ms,
            typical_ms=typical_ms,
            answers=tuple(_array_from_json(answer) for answer in value["answers"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ProtocolError(f"malformed verdict: {error!r}") from error


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _array_to_json(array: Array) -> dict[str, Any]:
    codes = base64.b64encode(array.tobytes()).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "codes": codes}


def _array_from_json(value: Any) -> Array:
    codes = base64.b64decode(value["codes"], validate=True)
    return np.frombuffer(codes, np.dtype(value["dtype"])).reshape([int(size) for size in value["shape"]])
