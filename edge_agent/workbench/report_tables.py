"""A report as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.workbench.report import Report, Timing, Unjudged
from edge_agent.workbench.scorecard import LabelScore
from edge_agent.workbench.tables import Table

MOST_SHOWN = 40
"""Rows of a table of labels that a page or a terminal has use for; the files have them all."""

WIDEST_CONFUSION = 25
"""Labels up to which the whole matrix is readable."""

MOST_CONFUSED = 10

NOTHING = "(nothing)"
"""What stands for an answer without any label of at least the threshold."""


def report_tables(report: Report) -> list[Table]:
    """In the order in which they are read."""
    tables = [_summary(report), _labels(report)]
    confused = _confused(report)
    if confused.rows:
        tables.append(confused)
    if report.card.confusion is not None and 1 < len(report.card.met) <= WIDEST_CONFUSION:
        tables.append(_confusion(report))
    if report.unreadable:
        tables.append(unreadable_table(report.unreadable))
    return tables


def unreadable_table(unreadable: Sequence[Unjudged]) -> Table:
    """Each image that could not be read."""
    rows = tuple((each.image, each.reason) for each in unreadable)
    return Table("Images that could not be read", ("image", "reason"), rows)


def percent(share: float) -> str:
    """0.9971 as "99.71 %"."""
    return f"{100 * share:.2f} %"


def three(value: float | None) -> str:
    """A rate, or "-" where there is none."""
    return "-" if value is None else f"{value:.3f}"


def times(timing: Timing) -> str:
    """Mean, median and 99th percentile."""
    return f"mean {timing.mean:.2f}, p50 {timing.p50:.2f}, p99 {timing.p99:.2f} ms"


def _summary(report: Report) -> Table:
    card, model = report.card, report.model
    failed = (
        f"{card.failed}, {card.nothing} of them below the threshold" if card.nothing else f"{card.failed}"
    )
    rows = [
        ("model", f"{model.name} {model.digest}, {model.method}"),
        ("device", f"{report.device}, {report.runtime}, {report.workers} side by side"),
        ("threshold", f"{card.threshold:g}"),
        ("total", str(report.total)),
        ("correct", str(card.correct)),
        ("failed", failed),
        ("unreadable", str(len(report.unreadable))),
        ("accuracy", percent(card.accuracy)),
    ]
    for name, each in (("macro", card.macro), ("micro", card.micro), ("weighted", card.weighted)):
        rows.append((name, f"precision {each.precision:.3f}, recall {each.recall:.3f}, F1 {each.f1:.3f}"))
    rows.append(("average precision", three(card.average_precision)))
    if card.calibration is not None:
        rows.append(("calibration", f"error {card.calibration.error:.3f}, Brier score {card.brier:.4f}"))
    rows.append(("preprocess", times(report.preprocess_ms)))
    rows.append(("inference", times(report.inference_ms)))
    return Table(f"{model.name} on {report.dataset}", ("figure", "value"), tuple(rows))


def _labels(report: Report) -> Table:
    """Those that occur; of many the worst."""
    met = [report.card.labels[place] for place in report.card.met]
    title = "Labels"
    if len(met) > MOST_SHOWN:
        title = f"The {MOST_SHOWN} labels of the lowest F1, of {len(met)}"
        met = sorted(met, key=lambda each: each.f1)[:MOST_SHOWN]
    numbers = ("images", "answered", "precision", "recall", "F1", "AP", "best threshold", "its F1")
    return Table(title, ("label", *numbers), tuple(map(_label, met)), frozenset(numbers))


def _label(each: LabelScore) -> tuple[str, ...]:
    best = each.best_threshold
    return (
        each.label,
        str(each.support),
        str(each.answered),
        three(each.precision),
        three(each.recall),
        three(each.f1),
        three(each.average_precision),
        # Rounded down, so that what reached it still does.
        "-" if best is None else f"{int(best.threshold * 1e4) / 1e4:.4f}",
        "-" if best is None else three(best.f1),
    )


def _confused(report: Report) -> Table:
    confusion = report.card.confusion
    rows: list[tuple[str, str, str]] = []
    if confusion is not None:
        names = [*(each.label for each in report.card.labels), NOTHING]
        pairs = [
            (int(confusion[true, said]), names[true], names[said])
            for true, said in zip(*confusion.nonzero(), strict=True)
            if true != said
        ]
        pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
        rows = [(true, said, str(count)) for count, true, said in pairs[:MOST_CONFUSED]]
    return Table("Most often confused", ("is", "was taken for", "times"), tuple(rows), frozenset({"times"}))


def _confusion(report: Report) -> Table:
    """Rows are what is true, columns what was answered, numbered like the rows."""
    confusion, met = report.card.confusion, report.card.met
    assert confusion is not None
    columns = [*met, len(report.card.labels)] if report.card.nothing else list(met)
    heads = [*map(str, range(1, len(met) + 1)), NOTHING][: len(columns)]
    rows = tuple(
        (f"{number} {report.card.labels[true].label}", *(str(confusion[true, said]) for said in columns))
        for number, true in enumerate(met, start=1)
    )
    return Table("Confusion", ("is \\ answered", *heads), rows, frozenset(heads))
