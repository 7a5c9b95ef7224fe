"""metadata_properties.json: how Custom Vision's service prepares a picture.

What the keys mean was measured on Microsoft's own interpreter of them (PyPI ``mscviplib``). A value that is
not understood is refused by name rather than passed over: it would change the pixels that a model sees.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edge_agent.bundle.json_files import json_object, shown
from edge_agent.errors import MetadataError
from edge_agent.preprocess import CROP_METHODS, RESIZE_METHODS

MAX_PIXELS_A_SIDE = 4096
MAX_NAME = 256
"""Characters of a key that are shown."""

_PREPROCESS = "CustomVision.Preprocess."
_POSTPROCESS = "CustomVision.Postprocess."

METADATA_VERSIONS = frozenset({"1.1", "1.2"})
POSTPROCESS_METHODS = frozenset({"ClassificationMultiClass", "ClassificationMultiLabel", "Yolo", "SSD"})
DETECTION_METHODS = frozenset({"Yolo", "SSD"})

RANDOM_METHODS = frozenset({
    "ByPixelCountMultiScale", "OneCropRandom", "OneCropSquareMultiScale", "OneCropSquareMultiScaleOD",
    "OneCropMultiScale", "OneCropMultiScaleOD", "OneCropCenterWithRandomShift",
})  # fmt: skip
"""Legal in the format, but random: they serve training."""


@dataclass(frozen=True)
class Metadata:
    """metadata_properties.json. Sizes are (height, width); ``mean`` and ``std`` are on 0..1, in the order
    of ``pixel_format``.

    ``pixel_format``, ``mean`` and ``std`` are those of the service's own pipeline: an exported TensorFlow
    Lite graph takes other ones (see :mod:`edge_agent.bundle.convention`). The geometry holds for both.
    """

    version: str
    resize_method: str
    target: tuple[int, int]
    crop_method: str
    crop: tuple[int, int]
    pixel_format: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    postprocess_method: str | None
    yolo_biases: tuple[float, ...]
    yolo_nms_threshold: float
    warnings: tuple[str, ...] = ()

    @property
    def detects(self) -> bool:
        """Whether the model finds objects rather than classifies."""
        return self.postprocess_method in DETECTION_METHODS


def parse_metadata(content: bytes, where: str) -> Metadata:
    """The metadata from its bytes.

    Every value may be text or what the text says (``"224"``, ``"224.0"``, ``224``); ``""``, ``"null"`` and
    null mean that there is none. A key that is not known is a warning; a value of a known key that is not
    understood, or that only serves training, raises MetadataError naming both.
    """
    reader = _MetadataReader(json_object(content, where, MetadataError), where)
    version = reader.one_of("CustomVision.Metadata.Version", METADATA_VERSIONS)
    reader.one_of("Image.NominalPixelRange", {"Normalized_0_1"}, default="Normalized_0_1")
    reader.one_of("Image.ColorSpaceGamma", {"SRGB", "Linear"}, default="SRGB")
    reader.text("CustomVision.Metadata.AdditionalModelInfo")
    for limit in ("MaxDimension", "MinDimension", "MaxScale", "MinScale"):
        reader.number(_PREPROCESS + limit)  # of methods that are refused; read so that they are numbers
    pixel_format = reader.one_of("Image.BitmapPixelFormat", {"Rgb8", "Bgr8"}, default="Rgb8")
    metadata = Metadata(
        version=version,
        resize_method=reader.one_of(_PREPROCESS + "ResizeMethod", RESIZE_METHODS),
        target=(reader.side("TargetHeight"), reader.side("TargetWidth")),
        crop_method=reader.one_of(_PREPROCESS + "CropMethod", CROP_METHODS),
        crop=(reader.side("CropHeight"), reader.side("CropWidth")),
        pixel_format="rgb" if pixel_format == "Rgb8" else "bgr",
        mean=reader.triple(_PREPROCESS + "NormalizeMean", (0.0, 0.0, 0.0)),
        std=reader.triple(_PREPROCESS + "NormalizeStd", (1.0, 1.0, 1.0)),
        postprocess_method=reader.one_of(_POSTPROCESS + "Method", POSTPROCESS_METHODS, default="") or None,
        yolo_biases=reader.numbers(_POSTPROCESS + "Yolo.Biases"),
        yolo_nms_threshold=reader.number(_POSTPROCESS + "Yolo.NmsThreshold"),
        warnings=reader.unread_keys(),
    )
    _check_consistent(metadata, where)
    return metadata


def _check_consistent(metadata: Metadata, where: str) -> None:
    """Raises MetadataError for values that only fail together."""
    if metadata.resize_method not in ("NoResize", "ByAllSidesAlign32") and min(metadata.target) == 0:
        raise MetadataError(
            f"{where}: ResizeMethod {metadata.resize_method} needs TargetHeight and TargetWidth"
        )
    if metadata.crop_method == "OneCropCenter":
        if min(metadata.crop) == 0:
            raise MetadataError(f"{where}: CropMethod OneCropCenter needs CropHeight and CropWidth")
        sized = metadata.resize_method in ("Stretch", "ByShorterSide", "ByShorterSideAlign32")
        if sized and (metadata.crop[0] > metadata.target[0] or metadata.crop[1] > metadata.target[1]):
            raise MetadataError(
                f"{where}: CropHeight x CropWidth {_size(metadata.crop)} is larger than "
                f"TargetHeight x TargetWidth {_size(metadata.target)}"
            )
    if min(metadata.std) <= 0:
        raise MetadataError(f"{where}: {_PREPROCESS}NormalizeStd = {list(metadata.std)}: must be above 0")
    if min(metadata.yolo_biases, default=1.0) <= 0 or len(metadata.yolo_biases) % 2:
        raise MetadataError(
            f"{where}: {_POSTPROCESS}Yolo.Biases = {list(metadata.yolo_biases)}: no anchor sizes"
        )
    if not 0 <= metadata.yolo_nms_threshold <= 1:
        raise MetadataError(
            f"{where}: {_POSTPROCESS}Yolo.NmsThreshold = {metadata.yolo_nms_threshold}: must be in 0..1"
        )


class _MetadataReader:
    """Values of the metadata by key, and which keys nobody asked for."""

    def __init__(self, raw: Mapping[str, Any], where: str) -> None:
        self._raw = raw
        self._where = where
        self._unread = set(raw)

    def text(self, key: str) -> str | None:
        """The value as text, None where there is none."""
        self._unread.discard(key)
        value = self._raw.get(key)
        if value is None or value in ("", "null"):
            return None
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise self._wrong(key)
        return str(value)

    def one_of(self, key: str, allowed: set[str] | frozenset[str], default: str | None = None) -> str:
        """One of the allowed values, exactly as they are written."""
        value = self.text(key)
        if value is None:
            if default is None:
                raise MetadataError(f"{self._where}: {key} is missing", "export the model again")
            return default
        if value in RANDOM_METHODS:
            raise MetadataError(f"{self._where}: {key} = {value!r} is random, for training only")
        if value not in allowed:
            raise self._wrong(key, f"known: {', '.join(sorted(allowed))}")
        return value

    def number(self, key: str) -> float:
        """A finite number, 0 without one."""
        value = self.text(key)
        return 0.0 if value is None else self._float(key, value)

    def side(self, name: str) -> int:
        """A length in pixels, 0 without one."""
        key = _PREPROCESS + name
        value = self.number(key)
        if value != int(value) or not 0 <= value <= MAX_PIXELS_A_SIDE:
            raise self._wrong(key, "a whole number of pixels is expected")
        return int(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of finite numbers, as a list or as its text; empty without one."""
        self._unread.discard(key)
        value = self._raw.get(key)
        if value is None or value in ("", "null"):
            return ()
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError) as error:
                raise self._wrong(key, "a list of numbers is expected") from error
        if not isinstance(value, list) or any(
            isinstance(x, bool) or not isinstance(x, (int, float)) for x in value
        ):
            raise self._wrong(key, "a list of numbers is expected")
        return tuple(self._float(key, str(x)) for x in value)

    def triple(self, key: str, default: tuple[float, float, float]) -> tuple[float, float, float]:
        """One number for each of three channels."""
        values = self.numbers(key) or default
        if len(values) != len(default):
            raise self._wrong(key, "three numbers are expected")
        return values[0], values[1], values[2]

    def unread_keys(self) -> tuple[str, ...]:
        """A warning that names the keys that are not known, if any."""
        if not self._unread:
            return ()
        named = ", ".join(repr(key[:MAX_NAME]) for key in sorted(self._unread)[:5])
        return (f"{self._where}: {len(self._unread)} unknown key(s) passed over: {named}",)

    def _float(self, key: str, text: str) -> float:
        if re.fullmatch(r"[+-]?[0-9]{1,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,3})?", text) is None:
            raise self._wrong(key, "a number is expected")
        value = float(text)
        if not math.isfinite(value):
            raise self._wrong(key, "a number is expected")
        return value

    def _wrong(self, key: str, remedy: str | None = None) -> MetadataError:
        return MetadataError(f"{self._where}: {key} = {shown(self._raw.get(key))} is not understood", remedy)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
