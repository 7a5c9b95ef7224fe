"""What the Edge TPU would run of a network: the compiler's own word where it is known, else a prediction.

The compiler takes one stretch of the network: from the first operator that maps to the first one behind it
that does not. All that needs the answer of that one stays on the CPU too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from edge_agent.workbench.edgetpu_operators import FIXES, OPERATORS, Finding
from edge_agent.workbench.graph import EIGHT_BITS, Graph, Operator, Tensor

CACHE_BYTES = 8 << 20
"""The memory on the chip; what the compiler's program leaves of it holds parameters (6.9 to 7.6 MiB)."""

COMPILED = "edgetpu-custom-op"
FLOATS = frozenset({"float32", "float16"})

INNER_SIDES = 3
"""Only that many sides of a tensor, the last ones, may be larger than 1."""


class Verdict(StrEnum):
    """Where an operator runs, as far as is known."""

    MAPS = "Edge TPU"
    UNPROVEN = "unproven"
    CPU = "CPU"


@dataclass(frozen=True)
class Row:
    """``count`` operators of one kind with the same verdict for the same reason; ``fix`` may be ""."""

    operator: str
    count: int
    verdict: Verdict
    reason: str
    fix: str = ""


@dataclass(frozen=True)
class Mapping:
    """All operators, and whether the parameters (bytes) of those on the Edge TPU fit into its cache.

    ``supposed``: the network is float, and this is what would hold of it in 8 bits.
    """

    rows: tuple[Row, ...]
    parameters: int
    supposed: bool = False

    def count(self, verdict: Verdict) -> int:
        """How many operators have it."""
        return sum(row.count for row in self.rows if row.verdict is verdict)

    @property
    def fits(self) -> bool:
        """Whether the parameters fit at all."""
        return self.parameters <= CACHE_BYTES

    @property
    def summary(self) -> str:
        """In one line."""
        maps, unproven, cpu = map(self.count, Verdict)
        parts = [f"{maps} of {maps + unproven + cpu} operators map"]
        parts += [f"{unproven} are unproven"] if unproven else []
        parts += [f"{cpu} stay on the CPU"] if cpu else []
        return ", ".join(parts)


def predict(graph: Graph) -> Mapping:
    """From the published table of operators. It is a prediction: only the compiler knows.

    An Edge TPU takes 8 bits alone; of a float network it is said what would map once it is converted.
    """
    supposed = graph.scheme in ("float32", "float16", "dynamic")
    found = _placed(_in_eight_bits(graph) if supposed else graph)
    counts = Counter((operator.name, *_verdict(operator, finding)) for operator, finding in found)
    on_it = (operator for operator, finding in found if _verdict(operator, finding)[0] is not Verdict.CPU)
    used = {index for operator in on_it for index in operator.inputs}
    return Mapping(
        rows=tuple(
            Row(name, count, verdict, reason, fix) for (name, verdict, reason, fix), count in counts.items()
        ),
        parameters=sum(_eight_bit_size(graph.tensors[index]) for index in used),
        supposed=supposed,
    )


def _in_eight_bits(graph: Graph) -> Graph:
    """A float network as it would be in int8, its constants' DEQUANTIZE gone."""
    unfolded = {
        operator.outputs[0]: operator.inputs[0]
        for operator in graph.operators
        if operator.name == "DEQUANTIZE" and graph.takes(operator)[0].is_constant
    }
    return replace(
        graph,
        tensors=tuple(
            replace(tensor, dtype="int8") if tensor.dtype in FLOATS else tensor for tensor in graph.tensors
        ),
        operators=tuple(
            replace(operator, inputs=tuple(unfolded.get(index, index) for index in operator.inputs))
            for operator in graph.operators
            if operator.outputs[0] not in unfolded
        ),
    )


def _eight_bit_size(tensor: Tensor) -> int:
    """Bytes of a constant, one for each element where it is float still."""
    return tensor.elements if tensor.is_constant and tensor.dtype in FLOATS else tensor.constant_bytes


def _verdict(operator: Operator, finding: Finding | None) -> tuple[Verdict, str, str]:
    if operator.name == COMPILED:
        return Verdict.MAPS, "compiled", ""
    if finding is None:
        return Verdict.MAPS, "", ""
    return Verdict.UNPROVEN if finding.doubt else Verdict.CPU, finding.reason, finding.fix


_BEFORE, _ON_IT, _BEHIND = range(3)


def _placed(graph: Graph) -> Sequence[tuple[Operator, Finding | None]]:
    """Each operator with what keeps it off, the place in the network included."""
    place: dict[int, int] = {}
    placed = []
    for operator in graph.operators:
        before = max((place.get(index, _BEFORE) for index in operator.inputs), default=_BEFORE)
        finding = look(graph, operator)
        possible = finding is None or finding.doubt
        if before == _BEHIND and possible:
            finding = Finding("behind one that stays on the CPU")
        here = _BEHIND if before == _BEHIND else (_ON_IT if possible else before and _BEHIND)
        place.update(dict.fromkeys(operator.outputs, here))
        placed.append((operator, finding))
    return placed


def look(graph: Graph, operator: Operator) -> Finding | None:
    """What keeps one operator off by itself; None: nothing does."""
    if operator.name == COMPILED:
        return None
    rule = OPERATORS.get(operator.name)
    if rule is None:
        return Finding("the Edge TPU has no such operator", FIXES.get(operator.name, ""))
    moving = [tensor for tensor in (*graph.takes(operator), *graph.gives(operator)) if not tensor.is_constant]
    other = next((tensor for tensor in moving if tensor.dtype not in EIGHT_BITS), None)
    if other is not None:
        return Finding(f"it works on {other.dtype}", FIXES.get(operator.name, ""))
    wide = next((tensor for tensor in moving if _is_wide(tensor)), None)
    if wide is not None:
        return Finding(f"{list(wide.shape)} has more than {INNER_SIDES} sides", "use fewer dimensions")
    return rule(graph, operator)


def _is_wide(tensor: Tensor) -> bool:
    return any(side > 1 for side in tensor.shape[:-INNER_SIDES])
