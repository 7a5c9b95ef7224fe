"""What a model expects of a picture: geometry, channel order, range; each with the reason for it.

Geometry comes from the metadata. Channel order and range come from the graph, because the metadata's
``Image.*`` keys describe the service's own pipeline: all exports say Rgb8 and Normalized_0_1, and all
exported TensorFlow Lite graphs take 0..255, most of them in B G R. What bundle.toml says overrides each.

======================================== ================== ============================ ====================
graph                                    channels           range                        geometry without
                                                                                         metadata
======================================== ================== ============================ ====================
adds or subtracts about 104, 117, 123    bgr                0..255 as they are           docker
the same in reverse                      rgb                0..255 as they are           docker
a scalar, or ``data`` of 300             rgb; bgr where     0..255 as they are           docker
                                         ``Placeholder``
``Placeholder`` of 227, no constants     bgr                minus 104, 117, 123          docs
another one with manifest or metadata    bgr; rgb where 300 0..255 as they are           docker
any other one: Coral's convention        rgb                the pixel as the code, else  stretch
                                                            -1..1, said to be a guess
======================================== ================== ============================ ====================

An 8-bit input whose codes stand for 0..1 or -1..1 takes the pixel as the code in every row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.bundle.graph_input import ONES, ZEROS, Channels, Range, Triple, read_input
from edge_agent.bundle.metadata import Metadata
from edge_agent.bundle.settings import BundleSettings
from edge_agent.errors import BundleError
from edge_agent.preprocess import Geometry, InputConvention, MetadataGeometry, NamedGeometry
from edge_agent.tensors import TensorSpec
from edge_agent.worker.protocol import GraphDescription


@dataclass(frozen=True)
class Derivation:
    """A convention, why each of its values (``geometry``, ``pixel_format``, ``mean``, ``std``) is what it
    is, and what is doubtful.
    """

    convention: InputConvention
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def derive_convention(
    graph: GraphDescription, metadata: Metadata | None, settings: BundleSettings, *, custom_vision: bool
) -> Derivation:
    """The convention for the graph's one image input (1, height, width, 3).

    ``custom_vision``: a manifest or metadata says that the model is an export. Raises BundleError where
    bundle.toml asks for what is not there, or nothing fits the graph.
    """
    spec, asked, told = graph.inputs[0], settings.input, "bundle.toml"
    channels, span = read_input(spec, graph.head, custom_vision=custom_vision)
    if metadata is not None and (metadata.mean, metadata.std) != (ZEROS, ONES):
        span = _as_stated(metadata, channels)
    if span.contradiction and not (asked.mean and asked.std):
        raise BundleError(span.contradiction, "export the model again, or say mean and std in bundle.toml")
    geometry, geometry_origin = _geometry(channels, metadata, settings)
    pixel_format, mean, std = asked.pixel_format or channels.pixel_format, span.mean, span.std
    if pixel_format != channels.pixel_format:
        mean, std = mean[::-1], std[::-1]
    return Derivation(
        InputConvention(geometry, pixel_format, asked.mean or mean, asked.std or std),
        {
            "geometry": geometry_origin,
            "pixel_format": told if asked.pixel_format else channels.origin,
            "mean": told if asked.mean else span.origin,
            "std": told if asked.std else span.origin,
        },
        (
            *_doubts(geometry, spec),
            *([channels.warning] if channels.warning and not asked.pixel_format else []),
            *([span.warning] if span.warning and not (asked.mean and asked.std) else []),
        ),
    )


def _geometry(
    channels: Channels, metadata: Metadata | None, settings: BundleSettings
) -> tuple[Geometry, str]:
    asked = settings.input.geometry
    if asked is not None and asked != "metadata":
        return NamedGeometry(asked), "bundle.toml"
    if metadata is not None:
        size = (metadata.target, metadata.crop)
        geometry = MetadataGeometry(metadata.resize_method, size[0], metadata.crop_method, size[1])
        return geometry, f"metadata {metadata.version}: {metadata.resize_method}, {metadata.crop_method}"
    if asked == "metadata":
        raise BundleError(
            "bundle.toml: geometry = 'metadata', but there is no metadata_properties.json",
            "copy it from the export, or name another geometry",
        )
    return channels.geometry, f"no metadata; {channels.origin}"


def _doubts(geometry: Geometry, spec: TensorSpec) -> list[str]:
    """Where the metadata plainly makes another size than the input has."""
    if not isinstance(geometry, MetadataGeometry):
        return []
    height, width = spec.shape[1:3]
    if geometry.crop_method == "OneCropCenter":
        size = geometry.crop
    elif geometry.resize_method == "Stretch" and geometry.crop_method == "NoCrop":
        size = geometry.target
    elif geometry.crop_method == "FullImageShorterSide" and geometry.resize_method in _SHORTER_SIDE_KNOWN:
        size = (min(geometry.target), min(geometry.target))
    else:
        return []
    if size == (height, width):
        return []
    return [
        f"the metadata makes {size[0]} x {size[1]} pixels of a picture, the input takes {height} x {width}"
    ]


_SHORTER_SIDE_KNOWN = frozenset({"Stretch", "ByShorterSide"})


def _as_stated(metadata: Metadata, channels: Channels) -> Range:
    """Means and deviations of the metadata, on 0..1 and in the order of its pixel format: never met in
    public, honoured as Microsoft's interpreter does, (pixel / 255 - mean) / std.
    """
    mean, std = _on_255(metadata.mean), _on_255(metadata.std)
    if metadata.pixel_format != channels.pixel_format:
        mean, std = mean[::-1], std[::-1]
    warning = (
        f"NormalizeMean {list(metadata.mean)} and NormalizeStd {list(metadata.std)} are honoured, "
        "but no known export has any: compare scores before you trust them"
    )
    return Range(mean, std, "metadata: NormalizeMean and NormalizeStd, on 0..1", warning)


def _on_255(values: Triple) -> Triple:
    return values[0] * 255.0, values[1] * 255.0, values[2] * 255.0
