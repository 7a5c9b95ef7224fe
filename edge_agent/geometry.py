"""Which part of a picture a network sees, and through which resizes: decided here, done in preprocess.

The metadata's semantics are those measured on Microsoft's own interpreter of these keys (PyPI
``mscviplib`` 2.211201.122); the named geometries are those of its published predictors.
All sizes are (height, width) in pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from edge_agent.errors import ImageError, UnsupportedModelError

Size = tuple[int, int]
GeometryName = Literal["docker", "docs", "stretch", "center-square"]

RESIZE_METHODS = frozenset(
    {
        "NoResize",
        "Stretch",
        "ByShorterSide",
        "ByShorterSideAlign32",
        "ByPixelCount",
        "ByPixelCountAlign32",
        "ByPixelCountAlign64",
        "ByAllSidesAlign32",
    }
)
"""The supported ``CustomVision.Preprocess.ResizeMethod``: the others are random, or of unknown meaning."""

CROP_METHODS = frozenset({"NoCrop", "FullImageShorterSide", "OneCropCenter"})
"""The supported ``CustomVision.Preprocess.CropMethod``; the others are random: meant for training."""

MAX_RESIZED_PIXELS = 1 << 24
"""50 MB: an aspect ratio of 256 at a short side of 256. Beyond it a sliver would fill the memory."""

_ARTICLE_LONG_SIDE = 1600
_ARTICLE_SQUARE = 256


@dataclass(frozen=True)
class MetadataGeometry:
    """Resize and crop as ``metadata_properties.json`` names them.

    ``target`` and ``crop`` are (height, width). ``crop`` counts for OneCropCenter only, ``target`` for
    all but NoResize and ByAllSidesAlign32.
    """

    resize_method: str
    target: Size
    crop_method: str
    crop: Size


@dataclass(frozen=True)
class NamedGeometry:
    """One of the fixed ways.

    ``docker``: the container's predictor, exporter 2.2: short side to the network, antialiased, centre crop.
    ``docs``: the article "Run a TensorFlow model in Python": centre square to 256, its centre.
    ``center-square``: the centre square, one resize. ``stretch``: one resize of everything.
    """

    name: GeometryName


Geometry = MetadataGeometry | NamedGeometry


@dataclass(frozen=True)
class Stretch:
    """One bilinear resize without antialiasing (OpenCV's INTER_LINEAR) to ``size``."""

    size: Size


@dataclass(frozen=True)
class Crop:
    """The part of ``size`` at ``top``, ``left``."""

    top: int
    left: int
    size: Size


@dataclass(frozen=True)
class Antialias:
    """One antialiased resize (Pillow's BILINEAR) to ``size``, of which only ``window`` is wanted."""

    size: Size
    window: Crop


Step = Stretch | Crop | Antialias


def check_geometry(geometry: Geometry) -> None:
    """Raise UnsupportedModelError where the geometry can never be carried out."""
    if isinstance(geometry, NamedGeometry):
        if geometry.name not in get_args(GeometryName):
            raise UnsupportedModelError(f"the geometry {geometry.name!r} is not known")
        return
    if geometry.resize_method not in RESIZE_METHODS:
        raise UnsupportedModelError(f"ResizeMethod {geometry.resize_method!r} is not supported")
    if geometry.crop_method not in CROP_METHODS:
        raise UnsupportedModelError(f"CropMethod {geometry.crop_method!r} is not supported")
    if geometry.resize_method not in {"NoResize", "ByAllSidesAlign32"}:
        _check_size("Target", geometry.target)
    if geometry.crop_method == "OneCropCenter":
        _check_size("Crop", geometry.crop)


def _check_size(key: str, size: Size) -> None:
    if min(size) <= 0 or size[0] * size[1] > MAX_RESIZED_PIXELS:
        raise UnsupportedModelError(f"{key}Height x {key}Width is {size[0]} x {size[1]}, which cannot be")


@lru_cache(maxsize=64)
def steps_for(geometry: Geometry, picture: Size, network: Size) -> tuple[Step, ...]:
    """What to do, in order, to a picture of one size; the result always has the network's size.

    Where the geometry ends in another size, one more stretch to the network's follows: the tensor,
    not the metadata, says what the network takes. Steps that would change nothing are left out.

    Raises ImageError for a picture so narrow that its resize would be larger than MAX_RESIZED_PIXELS
    (and than twice the picture).
    """
    if isinstance(geometry, MetadataGeometry):
        wanted = _metadata_steps(geometry, picture)
    elif geometry.name == "docker":
        wanted = _docker_steps(picture, network)
    elif geometry.name == "docs":
        wanted = _docs_steps(picture, network)
    elif geometry.name == "center-square":
        wanted = [_center(picture, (min(picture), min(picture)))]
    else:
        wanted = []
    size = picture
    needed: list[Step] = []
    for step in [*wanted, Stretch(network)]:
        after = step.window.size if isinstance(step, Antialias) else step.size
        if after != size or isinstance(step, Antialias):
            needed.append(step)
        size = after
    return tuple(needed)


def seen_part(geometry: Geometry, picture: Size, network: Size) -> Crop:
    """The part of a picture of that size that reaches the network, to the pixel. Raises as steps_for."""
    # The network's whole input, followed back through the steps: a share of each axis, cut by every crop.
    size = picture
    top, left, height, width = 0.0, 0.0, float(picture[0]), float(picture[1])
    for step in steps_for(geometry, picture, network):
        if isinstance(step, Antialias):
            size, crop = step.size, step.window
        elif isinstance(step, Stretch):
            size = step.size
            continue
        else:
            crop = step
        rows, columns = height / size[0], width / size[1]
        top, left = top + crop.top * rows, left + crop.left * columns
        height, width = crop.size[0] * rows, crop.size[1] * columns
        size = crop.size
    first = math.floor(top + 1e-6), math.floor(left + 1e-6)
    end = math.ceil(top + height - 1e-6), math.ceil(left + width - 1e-6)
    return Crop(first[0], first[1], (end[0] - first[0], end[1] - first[1]))


def _metadata_steps(geometry: MetadataGeometry, picture: Size) -> list[Step]:
    size = _resized(geometry.resize_method, geometry.target, picture)
    if size[0] * size[1] > max(MAX_RESIZED_PIXELS, 2 * picture[0] * picture[1]):
        raise ImageError(
            f"a picture of {picture[1]} x {picture[0]} pixels is too narrow: "
            f"{geometry.resize_method} makes it {size[1]} x {size[0]}",
            "crop it, or use another region of the camera's picture",
        )
    if geometry.crop_method == "FullImageShorterSide":
        return [Stretch(size), _center(size, (min(size), min(size)))]
    if geometry.crop_method == "OneCropCenter":
        return [Stretch(size), _center(size, geometry.crop)]
    return [Stretch(size)]


def _resized(method: str, target: Size, picture: Size) -> Size:
    height, width = picture
    if method == "Stretch":
        return target
    if method == "ByAllSidesAlign32":
        return _aligned(picture, 32)
    if method in {"ByShorterSide", "ByShorterSideAlign32"}:
        if width <= height:
            size = _half_up(height * target[1] / width), target[1]
        else:
            size = target[0], _half_up(width * target[0] / height)
        return _aligned(size, 32) if method.endswith("Align32") else size
    if method.startswith("ByPixelCount"):
        return _by_pixel_count(method, target, picture)
    return picture


def _by_pixel_count(method: str, target: Size, picture: Size) -> Size:
    height, width = picture
    ratio = math.sqrt(target[0] * target[1] / (width * height))
    size = _half_up(height * ratio), _half_up(width * ratio)
    if method.endswith("Align32"):
        return _aligned(size, 32)
    if method.endswith("Align64"):
        return _aligned(size, 64)
    return size if ratio < 1 else picture


def _half_up(value: float) -> int:
    """Rounded, halves up; at least one pixel."""
    return max(1, math.floor(value + 0.5))


def _aligned(size: Size, multiple: int) -> Size:
    return -(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple


def _center(size: Size, wanted: Size) -> Crop:
    """The centre of a picture; what does not fit is cut off."""
    height, width = min(size[0], wanted[0]), min(size[1], wanted[1])
    return Crop((size[0] - height) // 2, (size[1] - width) // 2, (height, width))


def _docker_steps(picture: Size, network: Size) -> list[Step]:
    """Short side to the network's, the long one rounded half to even, then the centre."""
    side = min(network)
    long_side = max(side, round(side * (max(picture) / min(picture))))
    size = (long_side, side) if picture[0] > picture[1] else (side, long_side)
    window = _center(size, (side, side))
    return [window] if size == picture else [Antialias(size, window)]


def _docs_steps(picture: Size, network: Size) -> list[Step]:
    """Long side to 1600 where it is larger, the centre square, 256 x 256, the centre of that."""
    height, width = picture
    steps: list[Step] = []
    if max(picture) >= _ARTICLE_LONG_SIDE:
        if height > width:
            height, width = _ARTICLE_LONG_SIDE, max(1, _ARTICLE_LONG_SIDE * width // height)
        else:
            height, width = max(1, _ARTICLE_LONG_SIDE * height // width), _ARTICLE_LONG_SIDE
        steps.append(Stretch((height, width)))
    square = (_ARTICLE_SQUARE, _ARTICLE_SQUARE)
    inner = (min(network[0], _ARTICLE_SQUARE), min(network[1], _ARTICLE_SQUARE))
    side = min(height, width)
    return [
        *steps,
        _article_center((height, width), (side, side)),
        Stretch(square),
        _article_center(square, inner),
    ]


def _article_center(size: Size, wanted: Size) -> Crop:
    """The article halves both lengths before it subtracts: one pixel further on for even minus odd."""
    return Crop(size[0] // 2 - wanted[0] // 2, size[1] // 2 - wanted[1] // 2, wanted)
