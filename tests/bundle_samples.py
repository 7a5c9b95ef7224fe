"""Bundles that the tests make: files of the shape of real ones, graphs described without a runtime."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.tensors import Quantization, TensorSpec
from edge_agent.worker.protocol import GraphDescription, HeadOp

MODEL = b"\x1c\x00\x00\x00TFL3 a network"
TWIN = b"\x1c\x00\x00\x00TFL3 a network edgetpu-custom-op"
OTHER_MODEL = b"\x1c\x00\x00\x00TFL3 another network"

BGR_HEAD = (HeadOp("MUL", [[1.0, 1.0, 1.0]]), HeadOp("ADD", [[-104.0, -117.0, -123.0]]))

METADATA: dict[str, Any] = {
    "CustomVision.Metadata.AdditionalModelInfo": "",
    "CustomVision.Metadata.Version": "1.2",
    "CustomVision.Postprocess.Method": "ClassificationMultiClass",
    "CustomVision.Postprocess.Yolo.Biases": "[]",
    "CustomVision.Postprocess.Yolo.NmsThreshold": "0.0",
    "CustomVision.Preprocess.CropHeight": "224",
    "CustomVision.Preprocess.CropMethod": "OneCropCenter",
    "CustomVision.Preprocess.CropWidth": "224",
    "CustomVision.Preprocess.MaxDimension": "0",
    "CustomVision.Preprocess.MaxScale": "0.0",
    "CustomVision.Preprocess.MinDimension": "0",
    "CustomVision.Preprocess.MinScale": "0.0",
    "CustomVision.Preprocess.NormalizeMean": "[0.0, 0.0, 0.0]",
    "CustomVision.Preprocess.NormalizeStd": "[1.0, 1.0, 1.0]",
    "CustomVision.Preprocess.ResizeMethod": "ByShorterSide",
    "CustomVision.Preprocess.TargetHeight": "256",
    "CustomVision.Preprocess.TargetWidth": "256",
    "Image.BitmapPixelFormat": "Rgb8",
    "Image.ColorSpaceGamma": "SRGB",
    "Image.NominalPixelRange": "Normalized_0_1",
}

MANIFEST: dict[str, Any] = {
    "DomainType": "Classification",
    "Platform": "TensorFlow",
    "Flavor": "TensorFlowLite",
    "ExporterVersion": "2.0",
    "ExportedDate": "2023-03-15T05:45:05.193141Z",
    "IterationId": "d8d4e931-8377-4407-a594-81bf38c185c0",
    "ModelFileName": "model.tflite",
    "LabelFileName": "labels.txt",
    "MetadataPropsFileName": "metadata_properties.json",
    "SchemaVersion": "1.0",
}


def metadata_bytes(changes: Mapping[str, Any] | None = None) -> bytes:
    """metadata_properties.json with keys changed, short names allowed (``CropMethod``); None removes one."""
    return _with_changes(METADATA, changes or {})


def manifest_bytes(changes: Mapping[str, Any] | None = None) -> bytes:
    """cvexport.manifest with keys changed; None removes one."""
    return _with_changes(MANIFEST, changes or {})


def _with_changes(base: Mapping[str, Any], changes: Mapping[str, Any]) -> bytes:
    result = dict(base)
    for short, value in changes.items():
        key = next((known for known in base if known.endswith(short)), short)
        result[key] = value
        if value is None:
            del result[key]
    return json.dumps(result, indent=2).encode()


def export_files() -> dict[str, bytes]:
    """Name to content of a complete Custom Vision export with two labels."""
    return {
        "model.tflite": MODEL,
        "labels.txt": b"apple\norange",
        "cvexport.manifest": manifest_bytes(),
        "metadata_properties.json": metadata_bytes(),
    }


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    """The files below ``folder``, which is returned."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def zip_bytes(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """The files as a zip."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def image_spec(
    name: str = "Placeholder",
    side: int = 224,
    dtype: str = "float32",
    quantization: tuple[float, int] | None = None,
) -> TensorSpec:
    """The spec of an input of one square picture."""
    return TensorSpec(
        name, (1, side, side, 3), dtype, None if quantization is None else Quantization(*quantization)
    )


def graph_of(
    spec: TensorSpec, *, classes: int = 2, head: tuple[HeadOp, ...] = (), output: TensorSpec | None = None
) -> GraphDescription:
    """A classifier's graph."""
    scores = output or TensorSpec("model_outputs", (1, classes), "float32")
    return GraphDescription("litert 0", (spec,), (scores,), head, {"CONV_2D": 1})
