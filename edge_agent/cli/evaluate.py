"""``edge-agent evaluate``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edge_agent.cli.evaluating import (
    Candidate,
    Request,
    answers_of,
    candidate,
    forget,
    has_plots,
    labelled_images,
    print_tables,
    refuse_unreadable,
)
from edge_agent.cli.model_options import (
    dataset_argument,
    device_options,
    evaluation_options,
    model_option,
)
from edge_agent.cli.options import json_option
from edge_agent.clock import SystemClock
from edge_agent.errors import UsageError
from edge_agent.workbench.dataset import Dataset
from edge_agent.workbench.evaluation import Evaluated
from edge_agent.workbench.files import report_files, write_files
from edge_agent.workbench.images_csv import Said, copy_worst, images_csv
from edge_agent.workbench.one_shot import Asked
from edge_agent.workbench.page import html_page
from edge_agent.workbench.report import Report, make_report
from edge_agent.workbench.report_tables import report_tables
from edge_agent.workbench.scorecard import answered_labels


@click.command(
    epilog="""\b
Examples:
  edge-agent evaluate photos/ -m finish.zip
  edge-agent evaluate labels.csv -m finish/ -o evaluation/ --worst 20

DATASET is a folder with a folder of images per label, or a CSV file of lines path,label[,label...].
With -o it leaves evaluation.json, .md and .html, labels.csv, confusion.csv and images.csv there, and what was
answered so far: stopped, the same command goes on from where it was."""
)
@dataset_argument
@model_option
@device_options
@evaluation_options
@click.option(
    "--worst",
    type=click.IntRange(min=1),
    metavar="N",
    help="Copy the N surest mistakes to DIR/worst, their scores in the names.",
)
@json_option
def evaluate(
    dataset: Path,
    model: Path,
    device: str,
    library: str,
    runtime: str,
    workers: int,
    threshold: float | None,
    output: Path | None,
    worst: int | None,
    as_json: bool,
) -> None:
    """Measure how right a model is on labelled images, and how long it takes.

    Images are prepared and run as the agent does it. One that cannot be read is counted and listed; the exit
    code is 1 then.
    """
    if worst is not None and output is None:
        raise UsageError("--worst needs a folder to copy to", "name one with -o")
    clock, request = SystemClock(), Request(Asked(device, library, runtime), workers, threshold, output)
    images = labelled_images(dataset, output)
    judged = candidate(model, images, request, clock)
    evaluated = answers_of(judged, images, request, clock)
    report = make_report(images, judged.truth, judged.vetted, evaluated, threshold, workers)
    if as_json:
        click.echo(json.dumps(report.as_json(), ensure_ascii=False))
    else:
        print_tables(report_tables(report))
    if output is not None:
        _write(output, images, judged, evaluated, report, worst)
        forget([judged], images, request)
    refuse_unreadable(report.unreadable, report.total)


def _write(
    output: Path,
    dataset: Dataset,
    judged: Candidate,
    evaluated: Evaluated,
    report: Report,
    worst: int | None,
) -> None:
    """All files; the pictures need matplotlib."""
    bundle, answers = judged.vetted.bundle, evaluated.answers
    answered = answered_labels(answers.scores, bundle.method, report.card.threshold)
    said = Said(dataset.samples, bundle.labels, judged.truth[answers.images], answered, answers)
    tables = report_tables(report)
    files = report_files(report, tables) | {"images.csv": images_csv(said)}
    if has_plots():
        from edge_agent.workbench import plots  # matplotlib is only loaded where it is used

        files["evaluation.html"] = html_page("Evaluation", tables, plots.pictures(report))
    write_files(output, files)
    if worst is not None:
        copy_worst(said, worst, output / "worst")
