"""``edge-agent models verify|inspect``: looking into bundles before they serve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edge_agent import signature
from edge_agent.bundle import BundleFiles, ModelBundle, read_bundle
from edge_agent.bundle.packing import pack
from edge_agent.catalogue import verified
from edge_agent.cli.asking import ask, config_or_defaults, slots_of
from edge_agent.cli.models.network import edgetpu_lines, layer_lines, network_json, network_rows
from edge_agent.cli.options import config_option, json_option
from edge_agent.clock import SystemClock
from edge_agent.config import Config
from edge_agent.errors import BundleError, ControlNotAllowedError
from edge_agent.preprocess import Geometry, NamedGeometry
from edge_agent.repository.records import SHORT_DIGITS
from edge_agent.tensors import TensorSpec
from edge_agent.vetting import VettedBundle, vet
from edge_agent.workbench.graph import Graph, read_graph
from edge_agent.worker_process import WorkerSettings

SHOWN_LABELS = 12
"""Labels that fit on a line or two."""

path_argument = click.argument("path", type=click.Path(readable=False, path_type=Path))


@click.command(epilog="\b\nExample:\n  edge-agent models verify export.zip")
@path_argument
@click.option("--slot", help="The slot that it is for, from [models.<slot>]. Left out: the first one.")
@config_option
@json_option
def verify(path: Path, slot: str | None, config_path: Path | None, as_json: bool) -> None:
    """Prove that a bundle may serve: its files, labels, tensors and golden images, and its signature where
    [updates] public_key asks for one. The agent that runs does it, as it would before a swap.

    Exit code 0 when it may, 1 with the reason when it may not.
    """
    config = config_or_defaults(config_path)
    arguments = {"slot": slots_of(config, slot)[0], "path": str(path.absolute())}
    files = read_bundle(path)
    try:
        told = ask(config, "models/verify", arguments, lambda: _proven(config, files), lambda: pack(files))
    except ControlNotAllowedError:
        told = _proven(config, files)  # to look at a bundle takes no rights
    if as_json:
        click.echo(json.dumps({**told, "path": str(path)}))
        return
    named = f"{told['name']} {told['digest'][:SHORT_DIGITS]}"
    click.echo(f"ok: {named}, {len(told['labels'])} labels, {told['ran']}")
    for warning in told["warnings"]:
        click.echo(f"warning: {warning}")


def _proven(config: Config, files: BundleFiles) -> dict[str, Any]:
    """As ``models/verify``, here. Raises BundleError, WorkerStartError, ConfigError."""
    if config.updates.public_key is not None:
        signature.verify(files, config.updates.public_key)
    return verified(vet(files, WorkerSettings(), SystemClock()), files.path)


@click.command(epilog="\b\nExample:\n  edge-agent models inspect /srv/models/finish")
@path_argument
@click.option("--layers", is_flag=True, help="Each operator of the network too.")
@json_option
def inspect(path: Path, layers: bool, as_json: bool) -> None:
    """Show what a bundle is and how pictures are prepared for it, each value with its origin; what its
    network consists of, and what of it an Edge TPU would run.
    """
    files = read_bundle(path)
    vetted = vet(files, WorkerSettings(), SystemClock())
    graph = _graph(files)
    if as_json:
        network = None if graph is None else network_json(graph)
        click.echo(json.dumps({**_as_json(vetted), "network": network}, ensure_ascii=False))
        return
    for name, value, origin in (*_rows(vetted), *(() if graph is None else network_rows(graph))):
        click.echo(f"{name:<14}{value}" + (f"   ({origin})" if origin else ""))
    for warning in vetted.bundle.warnings:
        click.echo(f"{'warning':<14}{warning}")
    for line in () if graph is None else (*edgetpu_lines(graph), *(layer_lines(graph) if layers else ())):
        click.echo(line)


def _graph(files: BundleFiles) -> Graph | None:
    """The network; None, and a line on stderr, for one that runs and is of a form that is not looked into."""
    try:
        return read_graph(files.model or files.model_edgetpu or b"")
    except BundleError as error:
        click.echo(f"warning: {files.path}: {error}", err=True)
        return None


def _identity(bundle: ModelBundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "digest": bundle.digest,
        "iteration": bundle.iteration,
        "path": str(bundle.files.path),
        "labels": list(bundle.labels),
    }


def _as_json(vetted: VettedBundle) -> dict[str, Any]:
    bundle = vetted.bundle
    convention, origins = bundle.convention, bundle.convention_origins
    values = {
        "geometry": describe_geometry(convention.geometry),
        "pixel_format": convention.pixel_format,
        "mean": convention.mean,
        "std": convention.std,
    }
    return {
        **_identity(bundle),
        "labels_origin": bundle.labels_origin,
        "method": {"value": bundle.method, "origin": bundle.method_origin},
        "input": _tensor(bundle.input),
        "output": _tensor(bundle.output),
        "convention": {key: {"value": value, "origin": origins[key]} for key, value in values.items()},
        "runtime": vetted.runtime,
        "first_inference_ms": None if vetted.model is None else round(vetted.inference_ms, 3),
        "edgetpu": None if vetted.compiled is None else {"needs_runtime": vetted.needs_runtime},
        "warnings": list(bundle.warnings),
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    quantization = spec.quantization
    return {
        "name": spec.name,
        "shape": list(spec.shape),
        "dtype": spec.dtype,
        "scale": quantization.scale if quantization else None,
        "zero_point": quantization.zero_point if quantization else None,
    }


def _tensor_text(spec: TensorSpec) -> str:
    shape = " x ".join(map(str, spec.shape))
    quantization = spec.quantization
    codes = f", scale {quantization.scale:g}, zero point {quantization.zero_point}" if quantization else ""
    return f"{spec.name}  {shape} {spec.dtype}{codes}"


def _rows(vetted: VettedBundle) -> list[tuple[str, str, str]]:
    """Name, value and origin of everything that inspect shows."""
    bundle = vetted.bundle
    convention, origins = bundle.convention, bundle.convention_origins
    labels = ", ".join(bundle.labels[:SHOWN_LABELS])
    more = f", ... ({len(bundle.labels)} in all)" if len(bundle.labels) > SHOWN_LABELS else ""
    return [
        ("name", bundle.name, ""),
        ("digest", bundle.digest, ""),
        ("iteration", bundle.iteration or "-", ""),
        ("labels", labels + more, bundle.labels_origin),
        ("method", bundle.method, bundle.method_origin),
        ("input", _tensor_text(bundle.input), ""),
        ("output", _tensor_text(bundle.output), ""),
        ("geometry", describe_geometry(convention.geometry), origins["geometry"]),
        ("pixel format", convention.pixel_format, origins["pixel_format"]),
        ("mean", ", ".join(f"{value:g}" for value in convention.mean), origins["mean"]),
        ("std", ", ".join(f"{value:g}" for value in convention.std), origins["std"]),
        ("runtime", vetted.first_run, ""),
        ("edge tpu", *_edgetpu_row(vetted)),
    ]


def _edgetpu_row(vetted: VettedBundle) -> tuple[str, str]:
    """Value and origin."""
    if vetted.compiled is None:
        return "-", "no compiled model"
    if vetted.needs_runtime is None:
        return "compiled for it", "which version of libedgetpu it asks for cannot be read"
    return f"compiled for libedgetpu of RuntimeVersion({vetted.needs_runtime}) or newer", "its package"


def describe_geometry(geometry: Geometry) -> str:
    """A geometry in one phrase."""
    if isinstance(geometry, NamedGeometry):
        return geometry.name
    (target_h, target_w), (crop_h, crop_w) = geometry.target, geometry.crop
    crop = f"{geometry.crop_method} {crop_h} x {crop_w}" if crop_h else geometry.crop_method
    return f"{geometry.resize_method} {target_h} x {target_w}, then {crop}"
