"""What is asked for, and the bundle.toml that tells of it."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from edge_agent.bundle import BundleSettings, GoldenImage, ModelBundle
from edge_agent.bundle.settings import CalibrationSettings, GoldenSettings, InputSettings, OriginSettings
from edge_agent.preprocess import MetadataGeometry, code_table
from edge_agent.tensors import Quantization
from edge_agent.workbench.convert.pictures import Seen
from edge_agent.workbench.convert.source import Source

Scheme = Literal["int8", "float16", "dynamic", "float32"]
Ends = Literal["uint8", "int8"]


@dataclass(frozen=True)
class Recipe:
    """What to make of which source.

    ``ends`` is the type of the input and output of an int8 model. Of ``pictures`` (a folder; int8 needs one)
    ``count`` are taken by ``seed``. ``labels`` and ``settings`` are files in the place of the source's own.
    """

    source: Path
    output: Path
    scheme: Scheme = "int8"
    ends: Ends = "uint8"
    pictures: Path | None = None
    count: int = 200
    seed: int = 0
    labels: Path | None = None
    settings: Path | None = None
    force: bool = False


def origin(
    recipe: Recipe, source: Source, packages: Mapping[str, str], calibration: CalibrationSettings | None
) -> OriginSettings:
    """Where the model comes from, for its bundle.toml."""
    return OriginSettings(
        source=source.path.absolute().name,
        source_sha256=source.sha256,
        kind=source.kind,
        scheme=recipe.scheme,
        packages=dict(packages),
        calibration=calibration,
    )


def golden_of(chosen: Sequence[tuple[Seen, bytes]], first: int) -> tuple[GoldenImage, ...]:
    """Golden images of what the float model is surest of; half of its score must be left."""
    return tuple(
        GoldenImage(seen.label, math.floor(seen.score * 50) / 100, _golden_name(number, seen), encoded)
        for number, (seen, encoded) in enumerate(chosen, start=first)
    )


def _golden_name(number: int, seen: Seen) -> str:
    readable = re.sub(r"[^a-z0-9]+", "-", seen.label.lower()).strip("-")[:40]
    return f"golden/{number:02}-{readable or 'label'}{PurePosixPath(seen.name).suffix.lower()}"


def settings_of(
    source: Source, told: OriginSettings, golden: Sequence[GoldenImage], models: Mapping[str, bytes]
) -> BundleSettings:
    """bundle.toml: the source's own values, the golden images, the origin, SHA-256 of the models."""
    return BundleSettings(
        name=source.settings.name,
        input=source.settings.input,
        output=source.settings.output,
        golden=tuple(GoldenSettings(image=g.name, label=g.label, min_score=g.min_score) for g in golden),
        sha256={name: hashlib.sha256(content).hexdigest() for name, content in models.items()},
        origin=told,
    )


def pins(wanted: ModelBundle, derived: ModelBundle) -> InputSettings | None:
    """What must be said so that the converted model's pictures are prepared like its source's; None: nothing.

    Means that differ and give the network the same reals, within a step of its codes, are left as derived: a
    pixel that is its own code loses nothing, while rounded halves would.
    """
    ours, theirs = wanted.convention, derived.convention
    alike = (ours.geometry, ours.pixel_format) == (theirs.geometry, theirs.pixel_format)
    if alike and _same_reals(wanted, derived):
        return None
    geometry = "metadata" if isinstance(ours.geometry, MetadataGeometry) else ours.geometry.name
    return InputSettings.model_validate(
        {"geometry": geometry, "pixel_format": ours.pixel_format, "mean": ours.mean, "std": ours.std}
    )


def _same_reals(wanted: ModelBundle, derived: ModelBundle) -> bool:
    codes = code_table(derived.convention, derived.input)
    if derived.input.dtype == "float32":
        return bool((codes == code_table(wanted.convention, wanted.input)).all())
    quantization = derived.input.quantization or Quantization(1.0, 0)
    apart = quantization.dequantize(codes) - code_table(wanted.convention, wanted.input)
    return bool(np.abs(apart).max() <= quantization.scale)
