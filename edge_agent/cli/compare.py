"""``edge-agent compare``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import numpy as np

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
from edge_agent.cli.model_options import dataset_argument, device_options, evaluation_options
from edge_agent.cli.options import json_option
from edge_agent.clock import Clock, SystemClock
from edge_agent.errors import GateError, UsageError
from edge_agent.workbench.cloud import read_predictions
from edge_agent.workbench.comparison import Comparison, Ran, Voice
from edge_agent.workbench.comparison import compare as compared
from edge_agent.workbench.comparison_tables import comparison_csv, comparison_tables
from edge_agent.workbench.dataset import Dataset
from edge_agent.workbench.evaluation import Evaluated
from edge_agent.workbench.files import markdown_page, write_files
from edge_agent.workbench.gates import Gate, parse_gate, shortfalls
from edge_agent.workbench.one_shot import Asked
from edge_agent.workbench.page import html_page
from edge_agent.workbench.report import size_and_device, unjudged


@click.command(
    epilog="""\b
Examples:
  edge-agent compare photos/ float.zip int8.zip
  edge-agent compare photos/ serving.zip new.zip --gate "recall>=-1pt" --gate "accuracy>=0pt"
  edge-agent compare photos/ finish.zip --cloud predictions.csv -o comparison/

DATASET is as for `edge-agent evaluate`. A gate is held by each model against the first: METRIC>=POINTSpt, in
percentage points; accuracy, or precision, recall or f1 of every label, or with "macro " before it of all.
The CSV file of --cloud has lines path,label,score; paths as the dataset names its images."""
)
@dataset_argument
@click.argument(
    "models", nargs=-1, required=True, type=click.Path(readable=False, path_type=Path), metavar="BUNDLE..."
)
@device_options
@evaluation_options
@click.option(
    "--cloud",
    type=click.Path(readable=False, path_type=Path),
    metavar="FILE",
    help="Predictions made elsewhere, as another column.",
)
@click.option(
    "--gate", "gates", multiple=True, metavar="GATE", help="Exit 1 where a model is worse than that allows."
)
@json_option
def compare(
    dataset: Path,
    models: Sequence[Path],
    device: str,
    library: str,
    runtime: str,
    workers: int,
    threshold: float | None,
    output: Path | None,
    cloud: Path | None,
    gates: Sequence[str],
    as_json: bool,
) -> None:
    """Compare models on the same labelled images: how right, how large, how fast, how alike.

    Figures are of the images that all of them could be asked for. One that cannot be read is counted and
    listed; the exit code is 1 then.
    """
    parsed = [parse_gate(text) for text in gates]
    if len(models) + (cloud is not None) < 2 or (parsed and len(models) < 2):
        raise UsageError("there is nothing to compare with", "name two models or more")
    request = Request(Asked(device, library, runtime), workers, threshold, output)
    images = labelled_images(dataset, output)
    clock = SystemClock()
    judged = {name: candidate(path, images, request, clock) for name, path in _named(models).items()}
    comparison = _comparison(images, judged, cloud, request, clock)
    if as_json:
        click.echo(json.dumps(comparison.as_json(), ensure_ascii=False))
    else:
        print_tables(comparison_tables(comparison))
    if output is not None:
        _write(output, comparison)
        forget(judged.values(), images, request)
    _hold(parsed, comparison)
    refuse_unreadable(comparison.unreadable, comparison.total)


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """By the files' and folders' names, or, where two are called alike, by the paths. Raises UsageError."""
    named = {path.name or str(path): path for path in paths}
    if len(named) < len(paths):
        named = {str(path): path for path in paths}
    if len(named) < len(paths):
        raise UsageError("a model is named twice", "name each once")
    return named


def _comparison(
    dataset: Dataset, judged: Mapping[str, Candidate], cloud: Path | None, request: Request, clock: Clock
) -> Comparison:
    """The predictions are read before the first model runs, for they may not fit."""
    elsewhere = [] if cloud is None else [_cloud_voice(cloud, dataset, next(iter(judged.values())))]
    evaluations = {name: answers_of(each, dataset, request, clock) for name, each in judged.items()}
    voices = [_voice(name, judged[name], evaluated) for name, evaluated in evaluations.items()]
    unreadable = {
        each.image: each for evaluated in evaluations.values() for each in unjudged(dataset, evaluated)
    }
    return compared(dataset, [*voices, *elsewhere], list(unreadable.values()), request.threshold)


def _voice(name: str, each: Candidate, evaluated: Evaluated) -> Voice:
    bundle, answers = each.vetted.bundle, evaluated.answers
    size_bytes, device = size_and_device(each.vetted, answers.devices)
    ran = Ran(bundle.short, size_bytes, device, answers.preprocess_ms, answers.inference_ms)
    return Voice(name, bundle.method, bundle.labels, each.truth, answers.images, answers.scores, ran)


def _cloud_voice(path: Path, dataset: Dataset, first: Candidate) -> Voice:
    """Its labels are the first model's."""
    bundle = first.vetted.bundle
    scores = read_predictions(path, dataset, bundle)
    every = np.arange(len(dataset.samples), dtype=np.int64)
    return Voice(path.name, bundle.method, bundle.labels, first.truth, every, scores, None)


def _write(output: Path, comparison: Comparison) -> None:
    tables = comparison_tables(comparison)
    files = {
        "comparison.json": json.dumps(comparison.as_json(), ensure_ascii=False, indent=1) + "\n",
        "comparison.md": markdown_page(tables),
        "comparison.csv": comparison_csv(comparison),
    }
    if has_plots():
        from edge_agent.workbench import plots  # matplotlib is only loaded where it is used

        files["comparison.html"] = html_page("Comparison", tables, plots.comparison_pictures(comparison))
    write_files(output, files)


def _hold(gates: Sequence[Gate], comparison: Comparison) -> None:
    """Raises GateError, which names the worst of what is worse."""
    below = [each for gate in gates for each in shortfalls(gate, comparison)]
    if below:
        worst = min(below, key=lambda each: each.found - each.first)
        more = f", and {len(below) - 1} more" if len(below) > 1 else ""
        raise GateError(f"{worst}{more}", "keep the first, or train more on images of that label")
