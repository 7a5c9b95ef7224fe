"""``edge-agent classify``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edge_agent.classifier import RankingRule
from edge_agent.cli.model_options import device_options, model_option, warn
from edge_agent.cli.options import json_option
from edge_agent.clock import Clock, SystemClock
from edge_agent.errors import ImageError
from edge_agent.frames import Frame
from edge_agent.images import read_image
from edge_agent.predictions import Prediction
from edge_agent.vetting import vet_bundle
from edge_agent.workbench.one_shot import Asked, OneShot
from edge_agent.worker_process import WorkerSettings


@click.command(
    epilog="""\b
Examples:
  edge-agent classify photo.jpg -m export.zip
  edge-agent classify photos/*.jpg -m finish/ --json | jq .predictions[0].label"""
)
@click.argument(
    "images", nargs=-1, required=True, type=click.Path(readable=False, path_type=Path), metavar="IMAGE..."
)
@model_option
@device_options
@click.option(
    "-k", "top_k", type=click.IntRange(min=1), default=3, show_default=True, help="Labels per picture."
)
@json_option
def classify(
    images: Sequence[Path],
    model: Path,
    device: str,
    library: str,
    runtime: str,
    top_k: int,
    as_json: bool,
) -> int:
    """Label image files, the same way as the agent labels frames.

    A picture that cannot be read is told and skipped; the exit code is 1 then.
    """
    clock = SystemClock()
    vetted = vet_bundle(model, WorkerSettings(runtime=runtime), clock)
    for warning in vetted.bundle.warnings:
        warn(warning)
    failed = 0
    asked = Asked(device, library, runtime, RankingRule(top_k))
    with OneShot(vetted, asked, clock, warn) as one_shot:
        for number, image in enumerate(images, start=1):
            failed += not _classify_one(one_shot, clock, image, number, as_json)
    return 1 if failed else 0


def _classify_one(one_shot: OneShot, clock: Clock, image: Path, number: int, as_json: bool) -> bool:
    """Print one picture's labels; False where it could not be read."""
    try:
        pixels = read_image(image)
        frame = Frame(pixels, number, clock.monotonic_ns(), clock.wall_ns(), str(image))
        prediction = one_shot.classify(frame)
    except ImageError as error:
        click.echo(f"error: {error}", err=True)
        return False
    if as_json:
        click.echo(json.dumps(_as_json(image, prediction), ensure_ascii=False))
    else:
        click.echo(f"{image}\t" + "\t".join(f"{each.label} {each.score:.3f}" for each in prediction.ranking))
    return True


def _as_json(image: Path, prediction: Prediction) -> dict[str, Any]:
    model = prediction.model
    return {
        "image": str(image),
        "model": {"name": model.name, "digest": model.digest, "iteration": model.iteration},
        "device": prediction.device,
        "predictions": [
            {"label": each.label, "index": each.index, "score": round(each.score, 6)}
            for each in prediction.ranking
        ],
        "timing_ms": {
            "preprocess": round(prediction.preprocess_ms, 3),
            "inference": round(prediction.inference_ms, 3),
        },
    }
