"""How much worse than the first a model may be, and whether it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_agent.errors import UsageError
from edge_agent.workbench.comparison import Comparison, Contender

_GATE = re.compile(r"(macro )?(accuracy|precision|recall|f1)\s*>=\s*([+-]?\d+(?:\.\d+)?)\s*pt")

_ROUNDING = 1e-9
"""Points: 0.99 - 1 is a little less than -0.01 in binary."""


@dataclass(frozen=True)
class Gate:
    """``metric`` of a model minus that of the first must be at least so many percentage points.

    For each label that some image has; with ``macro``, and for accuracy, over all.
    """

    text: str
    metric: str
    macro: bool
    points: float


@dataclass(frozen=True)
class Shortfall:
    """Where a model falls below a gate; ``label`` is None where the figure is that of all labels."""

    gate: str
    model: str
    label: str | None
    first: float
    found: float

    def __str__(self) -> str:
        what = f"{self.label}: " if self.label is not None else ""
        change = 100 * (self.found - self.first)
        return (
            f"{self.model} fails {self.gate}: {what}{100 * self.found:.2f} %, the first has "
            f"{100 * self.first:.2f} % ({change:+.2f} points)"
        )


def parse_gate(text: str) -> Gate:
    """``recall>=-1pt``, ``macro f1>=0pt``, ``accuracy>=-0.5pt``. Raises UsageError."""
    match = _GATE.fullmatch(" ".join(text.lower().split()))
    if match is None or (match[1] and match[2] == "accuracy"):
        raise UsageError(
            f"{text!r} is no gate",
            "write accuracy, precision, recall or f1 (or macro recall ...), >= and points: recall>=-1pt",
        )
    return Gate(text, match[2], bool(match[1]), float(match[3]))


def shortfalls(gate: Gate, comparison: Comparison) -> list[Shortfall]:
    """Where models that ran here are worse than the first by more than the gate allows, worst first."""
    first, *others = comparison.contenders
    found = [
        Shortfall(gate.text, each.name, label, _value(gate, first, label), _value(gate, each, label))
        for each in others
        if each.run is not None
        for label in _labels(gate, comparison)
    ]
    below = [each for each in found if 100 * (each.found - each.first) < gate.points - _ROUNDING]
    return sorted(below, key=lambda each: each.found - each.first)


def _labels(gate: Gate, comparison: Comparison) -> tuple[str | None, ...]:
    return (None,) if gate.macro or gate.metric == "accuracy" else comparison.labels


def _value(gate: Gate, contender: Contender, label: str | None) -> float:
    if gate.metric == "accuracy":
        return contender.card.accuracy
    part = contender.card.macro if label is None else contender.label(label)
    value = getattr(part, gate.metric)
    assert isinstance(value, float)
    return value
