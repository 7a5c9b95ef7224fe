"""One model on one dataset, with a progress bar, and words for whoever stops it: for evaluate and compare."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click

from edge_agent.cli.model_options import warn
from edge_agent.cli.progress import progress_bar
from edge_agent.cli.table import table
from edge_agent.clock import Clock
from edge_agent.errors import DatasetError, UsageError, one_line
from edge_agent.vetting import VettedBundle, vet_bundle
from edge_agent.workbench.dataset import Dataset, read_dataset
from edge_agent.workbench.evaluation import Evaluated, Telling, evaluate, journal_key
from edge_agent.workbench.files import not_written
from edge_agent.workbench.journal import Journal
from edge_agent.workbench.matching import truth_of
from edge_agent.workbench.one_shot import Asked
from edge_agent.workbench.report import Unjudged
from edge_agent.workbench.scorecard import Flags
from edge_agent.workbench.tables import Table
from edge_agent.worker_process import WorkerSettings


@dataclass(frozen=True)
class Candidate:
    """A model, and which of its labels are true of each image of the dataset, (images, labels)."""

    vetted: VettedBundle
    truth: Flags


@dataclass(frozen=True)
class Request:
    """What is asked for beside images and models; ``output`` is a folder for files and journals, or None."""

    asked: Asked
    workers: int
    threshold: float | None
    output: Path | None


def labelled_images(path: Path, output: Path | None) -> Dataset:
    """The dataset, its warnings told.

    Raises DatasetError, and UsageError where reports would lie among the images.
    """
    if output is not None and output.resolve().is_relative_to(path.resolve()):
        raise UsageError(f"{output} lies in the dataset", "name a folder outside with -o")
    dataset = read_dataset(path)
    for warning in dataset.warnings:
        warn(warning)
    return dataset


def candidate(path: Path, dataset: Dataset, request: Request, clock: Clock) -> Candidate:
    """The model at ``path``, proven to run and to know the dataset's labels.

    Raises BundleError, DatasetError.
    """
    vetted = vet_bundle(path, WorkerSettings(runtime=request.asked.runtime), clock)
    for warning in vetted.bundle.warnings:
        warn(warning)
    return Candidate(vetted, truth_of(dataset, vetted.bundle))


def answers_of(each: Candidate, dataset: Dataset, request: Request, clock: Clock) -> Evaluated:
    """Ask the model for every image; Ctrl-C tells how to go on. Raises as :func:`evaluate`."""
    vetted = each.vetted
    with closing(_journal(each, dataset, request)) as journal:
        try:
            with progress_bar(vetted.bundle.name) as progress:
                telling = Telling(progress, warn)
                return evaluate(dataset, vetted, request.asked, request.workers, journal, clock, telling)
        except KeyboardInterrupt:
            done = f"stopped after {len(journal.answered())} of {len(dataset.samples)} images"
            how = (
                "nothing is kept of them: with -o DIR they would be"
                if request.output is None
                else "the same command goes on from there"
            )
            click.echo(f"{done}; {how}", err=True)
            raise


def forget(models: Iterable[Candidate], dataset: Dataset, request: Request) -> None:
    """Remove the journals of what is told in full. Raises EvaluationError."""
    for each in models:
        path = _journal_path(each, dataset, request)
        if path is not None:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise not_written(path, error) from error


def print_tables(tables: Sequence[Table]) -> None:
    """On stdout, an empty line between them."""
    for number, each in enumerate(tables):
        click.echo(("\n" if number else "") + each.title)
        rows = [[one_line(cell) for cell in row] for row in each.rows]
        for line in table(each.headers, rows, each.right):
            click.echo(line)


def refuse_unreadable(unreadable: Sequence[Unjudged], total: int) -> None:
    """Raises DatasetError where there are any: the figures are not those of all images that were named."""
    if unreadable:
        what = f"{len(unreadable)} of {total} images could not be read, such as {unreadable[0].image}"
        raise DatasetError(what, "mend them, or take them out; the report lists them")


def has_plots() -> bool:
    """Whether matplotlib is there; where it is not, how to get it is said."""
    found = importlib.util.find_spec("matplotlib") is not None
    if not found:
        warn("no HTML report: matplotlib is not installed; pip install matplotlib")
    return found


def _journal(each: Candidate, dataset: Dataset, request: Request) -> Journal:
    path = _journal_path(each, dataset, request)
    labels = len(each.vetted.bundle.labels)
    if path is None:
        return Journal.temporary(labels)
    return Journal.at(path, _key(each, dataset, request), labels)


def _journal_path(each: Candidate, dataset: Dataset, request: Request) -> Path | None:
    if request.output is None:
        return None
    return request.output / f"evaluation-{_key(each, dataset, request)[:12]}.journal"


def _key(each: Candidate, dataset: Dataset, request: Request) -> str:
    return journal_key(dataset, each.vetted, request.asked)
