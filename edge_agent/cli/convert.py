"""``edge-agent convert``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click

from edge_agent.bundle.identity import readable_name
from edge_agent.cli.edgetpu_table import mapping_json, mapping_lines
from edge_agent.cli.options import json_option
from edge_agent.cli.table import size_text
from edge_agent.clock import SystemClock
from edge_agent.workbench.convert.conversion import Converted
from edge_agent.workbench.convert.conversion import convert as convert_model
from edge_agent.workbench.convert.recipe import Recipe
from edge_agent.workbench.edgetpu_compiler import command_elsewhere

file_type = click.Path(readable=False, path_type=Path)


@click.command(
    epilog="""\b
Examples:
  edge-agent convert export.zip -o finish-int8 --calibrate photos/
  edge-agent convert model.keras -o digits.zip --calibrate photos/ --labels labels.txt
  edge-agent convert export.zip -o finish-half --scheme float16

\b
TensorFlow and the quantiser are an extra: pip install ai-edge-quantizer tensorflow."""
)
@click.argument("source", type=file_type)
@click.option("-o", "--output", required=True, type=file_type, metavar="BUNDLE", help="A folder, or a .zip.")
@click.option(
    "--scheme",
    type=click.Choice(["int8", "float16", "dynamic", "float32"]),
    default="int8",
    show_default=True,
    help="int8: all in 8 bits, as the Edge TPU wants it; dynamic: 8-bit weights; float16: half the size.",
)
@click.option(
    "--calibrate", "pictures", type=file_type, metavar="FOLDER", help="Pictures, as the camera sees them."
)
@click.option(
    "--images",
    "count",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="So many of them at most.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="By which they are chosen."
)
@click.option(
    "--ends",
    type=click.Choice(["uint8", "int8"]),
    default="uint8",
    show_default=True,
    help="Input and output of an int8 model.",
)
@click.option("--labels", type=file_type, metavar="FILE", help="labels.txt, where the source has none.")
@click.option(
    "--settings",
    type=file_type,
    metavar="FILE",
    help="A bundle.toml that says how the source takes pictures.",
)
@click.option("--force", is_flag=True, help="Replace the bundle that is there.")
@json_option
def convert(as_json: bool, **asked: Any) -> None:
    """Make a smaller or 8-bit bundle of an export, a Keras file or a SavedModel.

    Labels, manifest and metadata travel along, and pictures are prepared for the new model as for the old.
    The bundle is proven like any other before it is put in its place; where that fails, nothing is left.
    """
    recipe = Recipe(**asked)
    with _Progress() as progress:
        converted = convert_model(recipe, SystemClock(), progress.tell)
    for name, reason in converted.unreadable.items():
        click.echo(f"warning: left out: {name}: {reason}", err=True)
    for warning in converted.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        click.echo(json.dumps(_as_json(recipe, converted), ensure_ascii=False))
        return
    for line in _lines(recipe, converted):
        click.echo(line)


class _Progress:
    """One bar after the other on stderr; only their titles where that is no terminal."""

    def __init__(self) -> None:
        self._stage = ""
        self._done = 0
        self._open = ExitStack()
        self._advance: Callable[[int], None] = _nothing

    def tell(self, stage: str, done: int, total: int) -> None:
        """As :data:`edge_agent.workbench.convert.sight.Told`."""
        if stage != self._stage:
            self._open.close()
            self._stage, self._advance, self._done = stage, _nothing, 0
            if total == 0:
                click.echo(f"{stage} ...", err=True)
            else:
                bar = self._open.enter_context(click.progressbar(length=total, label=stage, file=sys.stderr))
                self._advance = bar.update
        self._advance(done - self._done)
        self._done = done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


def _nothing(_steps: int) -> None:
    """No bar to move."""


def _lines(recipe: Recipe, converted: Converted) -> list[str]:
    before, after = converted.sizes
    bundle = converted.vetted.bundle
    name = bundle.files.settings.name or readable_name(recipe.output)
    lines = [
        f"{recipe.output}: {name} {bundle.short}, {recipe.scheme}, "
        f"{len(bundle.labels)} labels, {len(bundle.files.golden)} golden images",
        f"size: {size_text(after)}, {after / before:.2f} of {size_text(before)} in float32",
    ]
    if converted.compared:
        lines.append(f"same label as the float model: {converted.agreed} of {converted.compared} pictures")
    if recipe.scheme == "int8":
        lines += ["", *mapping_lines(converted.mapping, converted.compiler)]
        if converted.compiler is None:
            lines.append(
                f"to compile it where edgetpu_compiler is: {command_elsewhere(converted.model_name)}"
            )
    return lines


def _as_json(recipe: Recipe, converted: Converted) -> dict[str, Any]:
    bundle = converted.vetted.bundle
    return {
        "path": str(recipe.output),
        "digest": bundle.digest,
        "scheme": recipe.scheme,
        "labels": list(bundle.labels),
        "golden": [{"label": each.label, "min_score": each.min_score} for each in bundle.files.golden],
        "bytes": converted.sizes[1],
        "float32_bytes": converted.sizes[0],
        "agreed": converted.agreed,
        "compared": converted.compared,
        "unreadable": dict(converted.unreadable),
        "edgetpu": mapping_json(converted.mapping, converted.compiler) if recipe.scheme == "int8" else None,
        "warnings": list(converted.warnings),
    }
