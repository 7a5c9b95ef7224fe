"""``edge-agent bench``."""

from __future__ import annotations

import contextlib
import importlib.resources
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from edge_agent.cli.options import json_option
from edge_agent.workbench.bench import Figures, Plan, measure
from edge_agent.workbench.measure import Spread, a_broker


@click.command(
    epilog="""\b
Examples:
  edge-agent bench
  edge-agent bench -m mobilenet_v2.tflite --threads 2 --rounds 11
  edge-agent bench --beside bench/naive.py"""
)
@click.option(
    "-m",
    "--model",
    type=click.Path(readable=False, path_type=Path),
    metavar="BUNDLE",
    help="What to run.  [default: bundled]",
)
@click.option("--threads", type=click.IntRange(0, 256), default=1, show_default=True, help="0: all cores.")
@click.option("--frames", type=click.IntRange(10), default=300, show_default=True, help="Frames per round.")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True, help="Rounds, interleaved.")
@click.option("--starts", type=click.IntRange(1), default=3, show_default=True, help="Starts of the agent.")
@click.option(
    "--beside",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="SCRIPT",
    help="A plain script to measure in the same rounds.",
)
@json_option
def bench(
    model: Path | None,
    threads: int,
    frames: int,
    rounds: int,
    starts: int,
    beside: Path | None,
    as_json: bool,
) -> None:
    """Measure how fast this machine is, and what the agent adds to the bare model.

    All in one run: the bare invoke(), the whole path from a frame in memory to the broker's
    acknowledgement, preprocessing beside a plain resize, memory, and the time from the start to the first
    prediction. It takes about a minute; nothing else should run meanwhile.
    """
    with _bundle(model) as bundle, a_broker() as port:
        plan = Plan(bundle, port, threads, frames, rounds, starts, beside)
        figures = measure(plan, _tell)
    if as_json:
        click.echo(json.dumps(asdict(figures)))
    else:
        click.echo(report(figures))


def _tell(step: str) -> None:
    """On stderr, so that the report can be piped."""
    click.echo(f"{step} ...", err=True)


@contextlib.contextmanager
def _bundle(model: Path | None) -> Iterator[Path]:
    if model is not None:
        yield model
        return
    with importlib.resources.as_file(importlib.resources.files("edge_agent.models") / "finishes") as path:
        yield path


def report(figures: Figures) -> str:
    """The figures as a Markdown table, with what they belong to."""
    rows = [("bare invoke()", _ms(figures.bare_ms), "1")]
    rows.append(("frame in memory to broker", _ms(figures.path_ms), _times(figures.path_ratio)))
    if figures.yardstick_ms is not None and figures.yardstick_ratio is not None:
        rows.append(("the plain script", _ms(figures.yardstick_ms), _times(figures.yardstick_ratio)))
    lines = ["| per frame | ms | x bare |", "|---|---|---|"]
    lines += [f"| {name} | {value} | {ratio} |" for name, value, ratio in rows]
    memory = ", ".join(f"{name} {value:.0f}" for name, value in figures.memory_mb.items())
    lines += [
        "",
        f"- preprocessing 640x480: {figures.preprocess_ms:.3f} ms, {figures.preprocess_ratio:.2f} x a plain "
        f"resize ({figures.resize_ms:.3f} ms)",
        f"- memory (PSS): {sum(figures.memory_mb.values()):.0f} MB ({memory})",
        f"- start to first prediction: {figures.first_prediction_s.median:.2f} s",
    ]
    lines += [f"- {name}: {value}" for name, value in figures.conditions.items()]
    return "\n".join(lines)


def _ms(spread: Spread) -> str:
    return f"{spread.median:.3f} ({spread.low:.3f} to {spread.high:.3f})"


def _times(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"
