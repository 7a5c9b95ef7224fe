"""A comparison as tables for people, and as a CSV file for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from edge_agent.workbench.comparison import Comparison, Contender, Run
from edge_agent.workbench.report import Timing
from edge_agent.workbench.report_tables import MOST_SHOWN, percent, three, unreadable_table
from edge_agent.workbench.tables import Table, csv_text


def comparison_tables(comparison: Comparison) -> list[Table]:
    """All figures side by side, then each label's."""
    names = tuple(each.name for each in comparison.contenders)
    rows = tuple((what, *map(figure, comparison.contenders)) for what, figure in _FIGURES)
    title = f"{comparison.judged} of {comparison.total} images of {comparison.dataset}"
    tables = [Table(title, ("figure", *names), rows, frozenset(names))]
    tables.append(_labels(comparison))
    if comparison.unreadable:
        tables.append(unreadable_table(comparison.unreadable))
    return tables


def comparison_csv(comparison: Comparison) -> str:
    """A row per figure and label, a column per model; shares from 0 to 1."""
    names = [each.name for each in comparison.contenders]
    rows = [[what, *map(value, comparison.contenders)] for what, value in _VALUES]
    for label in comparison.labels:
        for what in ("precision", "recall", "f1", "average_precision"):
            values = [getattr(each.label(label), what) for each in comparison.contenders]
            rows.append([f"{what}: {label}", *values])
    return csv_text(["figure", *names], rows)


def _labels(comparison: Comparison) -> Table:
    """Precision and recall of each; of many those in which the models differ most."""
    labels, title = comparison.labels, "Precision / recall"
    if len(labels) > MOST_SHOWN:
        title = f"{title} of the {MOST_SHOWN} labels whose F1 differs most, of {len(labels)}"
        labels = tuple(sorted(labels, key=lambda label: -_spread(comparison, label))[:MOST_SHOWN])
    names = tuple(each.name for each in comparison.contenders)
    rows = tuple(
        (label, str(comparison.contenders[0].label(label).support), *_rates(comparison, label))
        for label in labels
    )
    return Table(title, ("label", "images", *names), rows, frozenset({"images", *names}))


def _rates(comparison: Comparison, label: str) -> Iterator[str]:
    for contender in comparison.contenders:
        each = contender.label(label)
        yield f"{three(each.precision)} / {three(each.recall)}"


def _spread(comparison: Comparison, label: str) -> float:
    scores = [each.label(label).f1 for each in comparison.contenders]
    return max(scores) - min(scores)


def _run(each: Contender, text: Callable[[Run], str]) -> str:
    return "-" if each.run is None else text(each.run)


def _ms(timing: Timing) -> str:
    return f"{timing.p50:.2f} / {timing.p99:.2f}"


def _error(each: Contender) -> str:
    return three(None if each.card.calibration is None else each.card.calibration.error)


_FIGURES: tuple[tuple[str, Callable[[Contender], str]], ...] = (
    ("digest", lambda each: _run(each, lambda run: run.digest)),
    ("model, bytes", lambda each: _run(each, lambda run: f"{run.size_bytes:,}")),
    ("device", lambda each: _run(each, lambda run: run.device)),
    ("threshold", lambda each: f"{each.card.threshold:g}"),
    ("correct", lambda each: str(each.card.correct)),
    ("failed", lambda each: str(each.card.failed)),
    ("of them below the threshold", lambda each: str(each.card.nothing)),
    ("accuracy", lambda each: percent(each.card.accuracy)),
    ("agreement with the first", lambda each: percent(each.agreement)),
    ("macro precision", lambda each: three(each.card.macro.precision)),
    ("macro recall", lambda each: three(each.card.macro.recall)),
    ("macro F1", lambda each: three(each.card.macro.f1)),
    ("average precision", lambda each: three(each.card.average_precision)),
    ("calibration error", _error),
    ("preprocess p50 / p99, ms", lambda each: _run(each, lambda run: _ms(run.preprocess_ms))),
    ("inference p50 / p99, ms", lambda each: _run(each, lambda run: _ms(run.inference_ms))),
)

_VALUES: tuple[tuple[str, Callable[[Contender], Any]], ...] = (
    ("digest", lambda each: each.run and each.run.digest),
    ("size_bytes", lambda each: each.run and each.run.size_bytes),
    ("device", lambda each: each.run and each.run.device),
    ("correct", lambda each: each.card.correct),
    ("failed", lambda each: each.card.failed),
    ("nothing", lambda each: each.card.nothing),
    ("accuracy", lambda each: each.card.accuracy),
    ("agreement", lambda each: each.agreement),
    ("macro_precision", lambda each: each.card.macro.precision),
    ("macro_recall", lambda each: each.card.macro.recall),
    ("macro_f1", lambda each: each.card.macro.f1),
    ("average_precision", lambda each: each.card.average_precision),
    ("inference_p50_ms", lambda each: each.run and each.run.inference_ms.p50),
    ("inference_p99_ms", lambda each: each.run and each.run.inference_ms.p99),
)
