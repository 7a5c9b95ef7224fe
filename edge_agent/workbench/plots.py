"""An evaluation's pictures (owns matplotlib, the extra ``report``)."""

from __future__ import annotations

import io
import warnings

import numpy as np
from matplotlib.figure import Figure

from edge_agent.workbench.comparison import Comparison
from edge_agent.workbench.metrics import Calibration
from edge_agent.workbench.report import Report
from edge_agent.workbench.report_tables import MOST_SHOWN, NOTHING, WIDEST_CONFUSION

_DPI = 110
_BLUE, _ORANGE, _GREY = "#2b6cb0", "#dd6b20", "#888888"


def pictures(report: Report) -> list[tuple[str, bytes]]:
    """What each shows, and its PNG; only those that the report has something for."""
    card = report.card
    drawn = [("Precision and recall", _label_bars(report))]
    if card.confusion is not None and 1 < len(card.met) <= WIDEST_CONFUSION:
        drawn.append(("Confusion", _confusion(report)))
    if card.calibration is not None:
        drawn.append(
            ("Calibration: is a score of 0.9 right nine times in ten?", _reliability(card.calibration))
        )
    return [(shows, _png(figure)) for shows, figure in drawn]


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that the font does not have
        figure.savefig(stream, format="png", dpi=_DPI, bbox_inches="tight")
    return stream.getvalue()


def _label_bars(report: Report) -> Figure:
    met = [report.card.labels[place] for place in report.card.met]
    met = sorted(met, key=lambda each: each.f1)[:MOST_SHOWN][::-1]
    places = np.arange(len(met))
    figure = Figure(figsize=(8, 1.2 + 0.32 * len(met)))
    axes = figure.subplots()
    axes.barh(places + 0.2, [each.precision for each in met], 0.38, color=_BLUE, label="precision")
    axes.barh(places - 0.2, [each.recall for each in met], 0.38, color=_ORANGE, label="recall")
    axes.set_yticks(places, [_plain(each.label) for each in met])
    axes.set_xlim(0, 1)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    return figure


def _confusion(report: Report) -> Figure:
    """Each row in shares of its label's images, so that a rare label is seen as well as a frequent one."""
    card = report.card
    assert card.confusion is not None
    columns = [*card.met, len(card.labels)] if card.nothing else list(card.met)
    counts = card.confusion[np.ix_(card.met, columns)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [*(_plain(each.label) for each in card.labels), NOTHING]
    figure = Figure(figsize=(2.5 + 0.5 * len(columns), 2.2 + 0.42 * len(card.met)))
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), [names[place] for place in columns], rotation=45, ha="right")
    axes.set_yticks(range(len(card.met)), [names[place] for place in card.met])
    axes.set_xlabel("answered")
    axes.set_ylabel("is")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    return figure


def _reliability(calibration: Calibration) -> Figure:
    """Above, how often answers of a score are right; below, how many there are of it."""
    figure = Figure(figsize=(6, 5.5))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    filled = [each for each in calibration.bins if each.count]
    upper.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1, label="perfect")
    upper.plot(
        [each.confidence for each in filled],
        [each.accuracy for each in filled],
        color=_BLUE,
        marker="o",
        label=f"expected calibration error {calibration.error:.3f}",
    )
    upper.set_ylabel("share that is right")
    upper.set_ylim(-0.02, 1.02)
    upper.legend(frameon=False)
    bins = calibration.bins
    width = bins[0].high - bins[0].low
    lower.bar([each.low for each in bins], [each.count for each in bins], width, align="edge", color=_BLUE)
    lower.set_xlabel("score")
    lower.set_ylabel("answers")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    return figure


def _plain(label: str) -> str:
    """Short enough for an axis, no formula, and shown in a legend whatever it begins with."""
    short = label if len(label) <= 30 else f"{label[:29]}…"
    return f" {short}".replace("$", r"\$")


def comparison_pictures(comparison: Comparison) -> list[tuple[str, bytes]]:
    """Each model's recall and precision, label by label."""
    return [(name.capitalize(), _png(_dots(comparison, name))) for name in ("recall", "precision")]


def _dots(comparison: Comparison, name: str) -> Figure:
    """A row per label, a dot per model; the first model's are hollow, so that the others show within."""
    labels = comparison.labels[:MOST_SHOWN][::-1]
    figure = Figure(figsize=(8, 1.4 + 0.28 * len(labels)))
    axes = figure.subplots()
    for number, contender in enumerate(comparison.contenders):
        values = [getattr(contender.label(label), name) for label in labels]
        size, fill = (10, "none") if number == 0 else (5, None)
        axes.plot(values, range(len(labels)), "o", ms=size, mfc=fill, label=_plain(contender.name))
    axes.set_yticks(range(len(labels)), [_plain(label) for label in labels])
    axes.set_xlim(right=1.03)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    return figure
