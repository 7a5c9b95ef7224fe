"""What an evaluation leaves in a folder, each file whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_agent.errors import EvaluationError
from edge_agent.workbench.report import Report
from edge_agent.workbench.report_tables import NOTHING
from edge_agent.workbench.tables import Table, csv_text, markdown


def write_files(folder: Path, contents: Mapping[str, str]) -> None:
    """Write each text under its name. Raises EvaluationError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            _replace(folder / name, text)
    except OSError as error:
        raise not_written(folder, error) from error


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def not_written(folder: Path, error: OSError) -> EvaluationError:
    """Why the folder does not have it all."""
    return EvaluationError(f"cannot write {folder}: {error.strerror}", "name another folder with -o")


def copy_file(source: Path, target: Path) -> None:
    """Copy an image. Raises EvaluationError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        raise not_written(target, error) from error


def markdown_page(tables: Sequence[Table]) -> str:
    """The tables one below the other."""
    return "\n\n".join("\n".join(markdown(table)) for table in tables) + "\n"


def report_files(report: Report, tables: Sequence[Table]) -> dict[str, str]:
    """JSON, Markdown, and a CSV file each of the labels and of the confusion matrix, by file name."""
    files = {
        "evaluation.json": json.dumps(report.as_json(), ensure_ascii=False, indent=1) + "\n",
        "evaluation.md": markdown_page(tables),
        "labels.csv": _labels_csv(report),
    }
    if report.card.confusion is not None:
        names, counts = report.card.met_confusion()
        rows = [[name, *row] for name, row in zip(names, counts, strict=True)]
        files["confusion.csv"] = csv_text(["is \\ answered", *names, NOTHING], rows)
    return files


def _labels_csv(report: Report) -> str:
    rates = ("precision", "recall", "f1", "average_precision")
    headers = ("label", "images", "answered", *rates, "best_threshold", "best_f1")
    rows = []
    for each in report.card.labels:
        best = each.best_threshold
        threshold, f1 = (None, None) if best is None else (best.threshold, best.f1)
        values = (getattr(each, rate) for rate in rates)
        rows.append((each.label, each.support, each.answered, *values, threshold, f1))
    return csv_text(headers, rows)
