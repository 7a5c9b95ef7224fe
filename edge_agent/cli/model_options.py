"""Options of the commands that run a model: which one, and on what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edge_agent.edgetpu import LIBRARY
from edge_agent.workbench.evaluation import cores

model_option = click.option(
    "-m",
    "--model",
    required=True,
    type=click.Path(readable=False, path_type=Path),
    metavar="BUNDLE",
    help="Folder, .zip or .tflite.",
)


def device_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``device``, ``library`` and ``runtime``: what runs a model."""
    for option in (_runtime_option, _library_option, _device_option):
        command = option(command)
    return command


def warn(warning: str) -> None:
    """On stderr, in one line."""
    click.echo(f"warning: {warning}", err=True)


_device_option = click.option(
    "--device",
    type=click.Choice(["auto", "edgetpu", "cpu"]),
    default="auto",
    show_default=True,
    help="Where to run it; auto: on the Edge TPU where there is one, else on the CPU.",
)
_library_option = click.option(
    "--library", default=LIBRARY, show_default=True, metavar="PATH", help="libedgetpu."
)
_runtime_option = click.option(
    "--runtime",
    type=click.Choice(["auto", "litert", "tflite-runtime"]),
    default="auto",
    show_default=True,
    help="Which TensorFlow Lite runtime.",
)

dataset_argument = click.argument("dataset", type=click.Path(readable=False, path_type=Path))


def evaluation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``workers``, ``threshold`` and ``output``: how a dataset is gone through, and where that is kept."""
    for option in (_output_option, _threshold_option, _workers_option):
        command = option(command)
    return command


_workers_option = click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=cores,
    metavar="N",
    help="CPU workers side by side; an Edge TPU has one.  [default: one per core]",
)
_threshold_option = click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="What a label must score to be answered.  [default: 0; for several labels per image 0.5]",
)
_output_option = click.option(
    "-o",
    "--output",
    type=click.Path(readable=False, path_type=Path),
    metavar="DIR",
    help="Where reports are written, and what was answered so far is kept.",
)
