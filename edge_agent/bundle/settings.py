"""bundle.toml: what an export cannot say of itself."""

from __future__ import annotations

import difflib
import tomllib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from edge_agent.bundle.entries import relative_name
from edge_agent.errors import BundleError

MAX_SETTINGS_BYTES = 1 << 20
MAX_GOLDEN = 64
"""Each is proven on every device before the model may serve."""

MAX_LISTED = 1024
"""Files in [sha256]: an export has 4 to 15."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]
ShortText = Annotated[str, Field(min_length=1, max_length=64)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class InputSettings(_Table):
    """Each value given overrides what was derived from the metadata and the graph."""

    geometry: Literal["metadata", "docker", "docs", "stretch", "center-square"] | None = Field(
        default=None, description="how the picture is brought to the input's size"
    )
    pixel_format: Literal["bgr", "rgb"] | None = Field(default=None, description="order of the channels")
    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat] | None = Field(
        default=None, strict=False, description="subtracted, on 0..255, in the order of pixel_format"
    )
    std: tuple[Positive, Positive, Positive] | None = Field(
        default=None, strict=False, description="divided by, on 0..255, in the order of pixel_format"
    )


class OutputSettings(_Table):
    """How the scores are to be read."""

    method: Literal["multiclass", "multilabel"] | None = Field(
        default=None, description="one label wins, or each may"
    )


class GoldenSettings(_Table):
    """A picture whose answer is known."""

    image: ShortText = Field(max_length=1024, description="its file name, relative to bundle.toml")
    label: ShortText = Field(max_length=1024, description="the label that must win")
    min_score: float = Field(default=0.0, ge=0, le=1, description="the least score that it must win with")


class CalibrationSettings(_Table):
    """The pictures that a quantised model's ranges were measured on."""

    seed: int = Field(description="what they were chosen by")
    found: int = Field(description="how many there were to choose from")
    sha256: Sha256 = Field(description="over the SHA-256 of each, in their order")
    images: tuple[str, ...] = Field(strict=False, description="their file names, relative to their folder")


class OriginSettings(_Table):
    """What the model was converted from, and how; nothing is made of it but what is told."""

    source: str = Field(description="file name of the export or model that it was made from")
    source_sha256: Sha256 = Field(description="of that model")
    kind: str = Field(description="keras, saved-model, frozen-graph or tflite")
    scheme: Literal["int8", "float16", "dynamic", "float32"] = Field(description="what was made of it")
    packages: dict[str, str] = Field(default={}, description="versions of what converted it")
    calibration: CalibrationSettings | None = Field(default=None, description="for int8")


class BundleSettings(_Table):
    """The whole of bundle.toml; every part is optional."""

    name: ShortText | None = Field(default=None, description="what to call the bundle")
    input: InputSettings = InputSettings()
    output: OutputSettings = OutputSettings()
    golden: tuple[GoldenSettings, ...] = Field(default=(), strict=False, max_length=MAX_GOLDEN)
    sha256: dict[str, Sha256] = Field(
        default={}, max_length=MAX_LISTED, description="file name, relative to bundle.toml -> SHA-256"
    )
    origin: OriginSettings | None = Field(default=None, description="what the model was converted from")


_TABLES: dict[str, type[_Table]] = {
    "input": InputSettings,
    "output": OutputSettings,
    "golden": GoldenSettings,
    "origin": OriginSettings,
}


def parse_settings(content: bytes, where: str) -> BundleSettings:
    """The settings from the bytes of a bundle.toml. Raises BundleError, beginning with ``where``."""
    try:
        raw = tomllib.loads(content.decode("utf-8-sig").replace("\r\n", "\n"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} is not TOML: {error}") from error
    try:
        settings = BundleSettings.model_validate(raw)
    except ValidationError as error:
        raise _translated(error, where) from error
    if settings.name is not None and not settings.name.isprintable():
        raise BundleError(f"{where}: name {settings.name!r} has control characters")
    for name in [golden.image for golden in settings.golden] + list(settings.sha256):
        relative_name(name, where)
    return settings


def _translated(error: ValidationError, where: str) -> BundleError:
    """The first fault, by the key's own path; an unknown key with the nearest known one."""
    fault: Any = error.errors(include_url=False, include_context=False)[0]
    path = ".".join(str(part) for part in fault["loc"])
    if fault["type"] != "extra_forbidden":
        return BundleError(f"{where}: {path} = {fault['input']!r:.80}: {fault['msg']}")
    table = _TABLES.get(str(fault["loc"][0]), BundleSettings) if len(fault["loc"]) > 1 else BundleSettings
    known = list(table.model_fields)
    near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
    return BundleError(f"{where}: unknown key {path!r}", remedy)
