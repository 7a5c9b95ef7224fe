"""The files that Custom Vision writes beside a model: what is understood, and what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.bundle.manifest import parse_manifest
from edge_agent.bundle.metadata import RANDOM_METHODS, parse_metadata
from edge_agent.errors import EdgeAgentError, ManifestError, MetadataError
from tests.bundle_samples import MANIFEST, METADATA, manifest_bytes, metadata_bytes
from tests.places import CUSTOM_VISION, need_data

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@need_data
def test_all_real_manifests_are_understood() -> None:
    """Exports of seven platforms and flavours, 2019 to 2024."""
    parsed = {
        path.name[:2]: parse_manifest(path.read_bytes(), path.name)
        for path in (CUSTOM_VISION / "manifests").iterdir()
    }
    assert 7 == len(parsed)
    assert "DockerFile Windows" == parsed["00"].export
    assert "model.zip" == parsed["01"].model_file
    assert ("graph.lite", None) == (parsed["02"].model_file, parsed["02"].metadata_file)
    assert "f87da675-127d-e911-b83f-6c2b59f4d3b3" == parsed["03"].iteration
    assert "metadata_properties.json" == parsed["04"].metadata_file
    assert "2.1" == parsed["05"].exporter_version
    assert "TensorFlow" == parsed["06"].export


@need_data
def test_all_real_metadata_is_understood() -> None:
    """The seven meanings met in public and the article's own; two of them find objects."""
    parsed = {
        path.stem: parse_metadata(path.read_bytes(), path.name)
        for path in (CUSTOM_VISION / "metadata").iterdir()
    }
    assert 7 == len(parsed)
    assert all(not metadata.warnings for metadata in parsed.values())
    assert {"detection_compact_yolo512", "detection_s1_ssd320"} == {
        name for name, metadata in parsed.items() if metadata.detects
    }
    seed = parsed["seed_align32_fullshort224"]
    assert ("1.1", "ByShorterSideAlign32", (224, 224), "FullImageShorterSide") == (
        seed.version,
        seed.resize_method,
        seed.target,
        seed.crop_method,
    )
    assert 10 == len(parsed["detection_compact_yolo512"].yolo_biases)
    assert 0.45 == parsed["detection_compact_yolo512"].yolo_nms_threshold


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + manifest_bytes(),
        manifest_bytes().replace(b"\n", b"\r\n"),
        manifest_bytes({"Tags": ["new"], "Flavor": "TensorFlowLite"}),
        manifest_bytes({"ExporterVersion": "2.9"}),
        manifest_bytes({"ExporterVersion": "1.0"}),
        manifest_bytes({"SchemaVersion": "1.7"}),
    ],
)
def test_a_manifest_is_read_tolerantly(content: bytes) -> None:
    """BOM, line ends, unknown keys and minor versions do not matter."""
    manifest = parse_manifest(content, "m")
    assert ("model.tflite", "labels.txt") == (manifest.model_file, manifest.label_file)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"SchemaVersion": "2.0"}, r"SchemaVersion 2\.0 is newer than 1\.x"),
        ({"ExporterVersion": "3.0"}, r"ExporterVersion 3\.0 is newer than 2\.x"),
        ({"ExporterVersion": "two"}, "ExporterVersion = 'two' is no version"),
        ({"SchemaVersion": None}, "SchemaVersion is missing"),
        ({"DomainType": "Segmentation"}, "DomainType 'Segmentation' is unknown"),
        ({"Platform": None}, "Platform is missing"),
        ({"ModelFileName": None}, "ModelFileName is missing"),
        ({"ModelFileName": "../model.tflite"}, "ModelFileName: unsafe"),
        ({"LabelFileName": "/etc/passwd"}, "LabelFileName: unsafe"),
        ({"IterationId": 7}, "IterationId = 7"),
        ({"IterationId": "a\nb"}, "IterationId"),
        ({"IterationId": "\ud800"}, "IterationId"),
        ({"Flavor": [["deep"]]}, "Flavor = a list of 1"),
    ],
)
def test_a_manifest_that_is_not_understood_names_the_key(changes: dict[str, Any], reason: str) -> None:
    """A greater major version may mean anything; a malformed value is no name."""
    with pytest.raises(ManifestError, match=reason):
        parse_manifest(manifest_bytes(changes), "m")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"7",
        b"{",
        b"\xff\xfe{\x00}\x00",
        b'{"a": 1, "a": 2}',
        b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_json_object_is_refused(content: bytes) -> None:
    """Too deep, too long, twice the same key, another encoding: one line each."""
    with pytest.raises(ManifestError):
        parse_manifest(content, "m")
    with pytest.raises(MetadataError):
        parse_metadata(content, "m")


@pytest.mark.parametrize(
    "changes",
    [
        {"TargetHeight": "256.0", "TargetWidth": 256},
        {"CropHeight": 224.0, "MaxScale": "0"},
        {"Biases": "null", "NmsThreshold": "null", "AdditionalModelInfo": "text"},
        {"Biases": [], "NormalizeMean": [0, 0, 0]},
        {"NormalizeMean": "[0,0,0]", "NormalizeStd": [1.0, 1, 1]},
        {"Metadata.Version": "1.1", "ColorSpaceGamma": "Linear"},
        {"MaxScale": None, "NormalizeStd": None, "BitmapPixelFormat": None},
    ],
)
def test_values_may_be_text_or_what_the_text_says(changes: dict[str, Any]) -> None:
    """Exporters wrote 224, "224" and "224.0", [] and "null", over the years."""
    metadata = parse_metadata(metadata_bytes(changes), "m")
    assert ((256, 256), (224, 224)) == (metadata.target, metadata.crop)
    assert ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)) == (metadata.mean, metadata.std)


def test_an_unknown_key_is_a_warning() -> None:
    """A later exporter may add keys; the reader is told which."""
    metadata = parse_metadata(metadata_bytes({"Image.New": "1", "A": []}), "m")
    assert ("m: 2 unknown key(s) passed over: 'A', 'Image.New'",) == metadata.warnings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Metadata.Version", "1.0"),
        ("Metadata.Version", "1.3"),
        ("Metadata.Version", "2.0"),
        ("Metadata.Version", ""),
        ("ResizeMethod", "Squash"),
        ("ResizeMethod", "stretch"),
        ("ResizeMethod", "LimitDimensionMinMax"),
        ("CropMethod", "CenterCrop"),
        ("TargetHeight", "224.5"),
        ("TargetHeight", "-1"),
        ("TargetHeight", "1e400"),
        ("TargetHeight", "nan"),
        ("TargetHeight", "99999"),
        ("TargetHeight", "1_0"),
        ("TargetHeight", True),
        ("TargetHeight", [224]),
        ("CropWidth", "wide"),
        ("MaxScale", "much"),
        ("NormalizeMean", "[0.0, 0.0]"),
        ("NormalizeMean", "0.0"),
        ("NormalizeMean", "[0.0, 0.0, true]"),
        ("NormalizeMean", "[NaN, 0, 0]"),
        ("NormalizeStd", "[1.0, 0.0, 1.0]"),
        ("NormalizeStd", "[1.0, 1.0, -1.0]"),
        ("NominalPixelRange", "NominalRange_0_255"),
        ("NominalPixelRange", "Normalized_1_1"),
        ("NominalPixelRange", "NominalRange_16_235"),
        ("BitmapPixelFormat", "Gray8"),
        ("BitmapPixelFormat", "Rgba8"),
        ("ColorSpaceGamma", "AdobeRGB"),
        ("Postprocess.Method", "Softmax"),
        ("Yolo.Biases", "[1.0]"),
        ("Yolo.Biases", "[1.0, -2.0]"),
        ("Yolo.Biases", "many"),
        ("Yolo.NmsThreshold", "1.5"),
        ("Yolo.NmsThreshold", "high"),
    ],
)
def test_a_value_that_is_not_understood_names_key_and_value(key: str, value: Any) -> None:
    """A value passed over in silence would change the pixels that the model sees."""
    with pytest.raises(MetadataError) as caught:
        parse_metadata(metadata_bytes({key: value}), "m")
    full = next(known for known in METADATA if known.endswith(key))
    assert full in caught.value.what


@pytest.mark.parametrize("method", sorted(RANDOM_METHODS))
def test_methods_of_training_are_refused_by_name(method: str) -> None:
    """A random crop would give another answer for each look at the same picture."""
    key = "CropMethod" if "Crop" in method else "ResizeMethod"
    with pytest.raises(MetadataError, match=f"{key} = '{method}' is random, for training only"):
        parse_metadata(metadata_bytes({key: method}), "m")


@pytest.mark.parametrize(
    "changes",
    [
        {"CropHeight": "0"},
        {"CropWidth": None},
        {"TargetHeight": "0"},
        {"TargetHeight": "200"},
        {"TargetWidth": "200"},
    ],
)
def test_sizes_that_cannot_work_together_are_refused(changes: dict[str, Any]) -> None:
    """A crop needs a size, and a picture that is large enough."""
    with pytest.raises(MetadataError, match=r"needs|larger than"):
        parse_metadata(metadata_bytes(changes), "m")


@pytest.mark.parametrize("key", ["Metadata.Version", "ResizeMethod", "CropMethod"])
def test_a_key_that_nothing_can_stand_for_must_be_there(key: str) -> None:
    """Without them there is no geometry to speak of."""
    with pytest.raises(MetadataError, match="is missing"):
        parse_metadata(metadata_bytes({key: None}), "m")


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_understood_or_refused(content: bytes) -> None:
    """Nothing ends in a traceback."""
    _parse_both(content)


@given(st.dictionaries(st.sampled_from([*METADATA, *MANIFEST]), ANY_JSON, max_size=4))
@settings(deadline=None)
def test_any_values_are_understood_or_refused(changes: dict[str, Any]) -> None:
    """Real files with values replaced by anything that JSON can say."""
    _parse_both(json.dumps({**METADATA, **MANIFEST, **changes}).encode())


@given(st.data())
@settings(deadline=None)
def test_mutated_files_are_understood_or_refused(data: st.DataObject) -> None:
    """Real files with bytes changed."""
    content = bytearray(data.draw(st.sampled_from([metadata_bytes(), manifest_bytes()])))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    _parse_both(bytes(content))


def _parse_both(content: bytes) -> None:
    for parse in (parse_manifest, parse_metadata):
        try:
            parse(content, "m")
        except EdgeAgentError as error:
            str(error)
