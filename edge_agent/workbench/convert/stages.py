"""The two stages of every conversion: to a plain float32 network, and from that to a scheme."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edge_agent.errors import BundleError, ConversionError
from edge_agent.workbench.convert.children import run_child
from edge_agent.workbench.convert.output import write_files
from edge_agent.workbench.convert.plain import plain_float, with_unsigned_ends
from edge_agent.workbench.convert.recipe import Ends, Scheme
from edge_agent.workbench.convert.source import Source

Versions = dict[str, str]
"""Of the packages that took part."""


def float_model(source: Source, work: Path) -> tuple[bytes, Versions]:
    """The source as a plain float32 ``.tflite``. ``work`` is an empty folder.

    Raises ConversionError, BundleError.
    """
    given = work / "source"
    try:
        if source.kind == "tflite":
            return plain_float(next(iter(source.model.values()))), {}
        write_files(given, source.model)
        one = given if source.kind == "saved-model" else given / next(iter(source.model))
        versions = run_child("from_tensorflow", [source.kind, str(one), str(work / "converted.tflite")])
        return plain_float((work / "converted.tflite").read_bytes()), dict(versions)
    except (ConversionError, BundleError) as error:
        raise type(error)(f"{source.path}: {error.what.replace(f'{given}/', '')}", error.remedy) from error


def quantised(
    content: bytes,
    scheme: Scheme,
    ends: Ends,
    pictures: Iterable[bytes],
    span: tuple[float, float],
    work: Path,
) -> tuple[bytes, Versions]:
    """A plain float32 network in another scheme.

    All ``pictures`` (input tensors, float32) are taken in any case; int8 measures its ranges on them, and
    needs one at least. ``span`` are the least and the greatest real that the input can hold.

    Raises ConversionError.
    """
    given, out = work / "float32.tflite", work / "quantised.tflite"
    given.write_bytes(content)
    if scheme != "int8":
        for _ in pictures:
            pass
        pictures = ()
    if scheme == "float32":
        return content, {}
    versions = run_child("quantizer", [scheme, str(given), str(out), *map(repr, span)], pictures)
    model = out.read_bytes()
    if scheme == "int8" and ends == "uint8":
        model = with_unsigned_ends(model)
    return model, dict(versions)
