"""A folder, a zip or a lone .tflite becomes a bundle; what cannot be one is refused by name."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.bundle import BundleFiles, ModelBundle, complete_bundle, read_bundle
from edge_agent.bundle.identity import bundle_digest, readable_name
from edge_agent.bundle.settings import parse_settings
from edge_agent.errors import (
    BundleError,
    EdgeAgentError,
    LabelsError,
    ManifestError,
    MetadataError,
    UnsupportedModelError,
)
from edge_agent.preprocess import MetadataGeometry
from edge_agent.tensors import Quantization, TensorSpec
from edge_agent.worker.interpreter import describe, load_runtime
from edge_agent.worker.protocol import GraphDescription
from tests.bundle_samples import (
    BGR_HEAD,
    MODEL,
    OTHER_MODEL,
    TWIN,
    export_files,
    graph_of,
    image_spec,
    manifest_bytes,
    metadata_bytes,
    write_folder,
    zip_bytes,
)
from tests.places import CORAL, CUSTOM_VISION, need_data

GOLDEN = b'[[golden]]\nimage = "golden/cat.jpg"\nlabel = "apple"\nmin_score = 0.7\n'


def _moved(files: dict[str, bytes], folder: str) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


def _complete_export() -> dict[str, bytes]:
    """Every role that a bundle can have."""
    return {
        **export_files(),
        "model_edgetpu.tflite": TWIN,
        "bundle.toml": GOLDEN,
        "golden/cat.jpg": b"a picture",
    }


def _read(tmp_path: Path, files: dict[str, bytes]) -> BundleFiles:
    return read_bundle(write_folder(tmp_path / "bundle", files))


# Layouts


def test_an_export_as_it_was_unzipped(tmp_path: Path) -> None:
    """All that the files say is there, and nothing is odd."""
    files = _read(tmp_path, _complete_export())
    assert (MODEL, TWIN, ("apple", "orange")) == (files.model, files.model_edgetpu, files.labels)
    assert ("labels.txt", "bundle", ()) == (files.labels_origin, files.name, files.warnings)
    assert "d8d4e931-8377-4407-a594-81bf38c185c0" == files.iteration
    assert files.metadata is not None
    assert "OneCropCenter" == files.metadata.crop_method
    golden = files.golden[0]
    assert ("apple", 0.7, "golden/cat.jpg", b"a picture") == (
        golden.label,
        golden.min_score,
        golden.name,
        golden.encoded,
    )


def _split_as_in_a_container(files: dict[str, bytes]) -> dict[str, bytes]:
    return {"Dockerfile": b"FROM python", "README.txt": b"", "azureml/x.py": b"", **_moved(files, "app")}


def _manifest_at_the_top(files: dict[str, bytes]) -> dict[str, bytes]:
    inner = {name: content for name, content in files.items() if name != "cvexport.manifest"}
    return {"cvexport.manifest": files["cvexport.manifest"], **_moved(inner, "app")}


def _with_litter(files: dict[str, bytes]) -> dict[str, bytes]:
    return {
        **files,
        "LICENSE": b"MIT",
        ".DS_Store": b"",
        "._model.tflite": b"AppleDouble",
        "__MACOSX/._model.tflite": b"AppleDouble",
        "python/predict.py": b"",
    }


LAYOUTS: dict[str, Callable[[dict[str, bytes]], dict[str, bytes]]] = {
    "flat": dict,
    "app": lambda files: _moved(files, "app"),
    "top folder": lambda files: _moved(files, "export"),
    "top folder with app": lambda files: _moved(files, "export/app"),
    "container": _split_as_in_a_container,
    "manifest at the top": _manifest_at_the_top,
    "litter": _with_litter,
    "litter beside a top folder": lambda files: {"__MACOSX/._x": b"", ".DS_Store": b"", **_moved(files, "x")},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_same_bundle(tmp_path: Path, layout: str) -> None:
    """Folder, zip, ``app/`` and a top folder agree in content and digest; unused files change nothing."""
    expected = read_bundle(write_folder(tmp_path / "expected", _complete_export()))
    files = LAYOUTS[layout](_complete_export())
    (tmp_path / "bundle.zip").write_bytes(zip_bytes(files))
    for path in (write_folder(tmp_path / "bundle", files), tmp_path / "bundle.zip"):
        found = read_bundle(path)
        assert expected.digest == found.digest
        assert (expected.model, expected.labels, expected.golden) == (found.model, found.labels, found.golden)


@pytest.mark.parametrize("role", sorted(_complete_export()))
def test_any_used_byte_changes_the_digest(tmp_path: Path, role: str) -> None:
    """Each file that the bundle uses is part of what it is."""
    files = _complete_export()
    before = read_bundle(write_folder(tmp_path / "a", files)).digest
    after = read_bundle(write_folder(tmp_path / "b", {**files, role: files[role] + b"\n"})).digest
    assert before != after


def test_the_digest_is_laid_out_as_documented() -> None:
    """Role, zero byte, length in eight bytes, content; in the order of roles, not of reading."""
    expected = hashlib.sha256(
        b"model\0" + bytes(7) + b"\x03abc" + b"labels\0" + bytes(7) + b"\x01x"
    ).hexdigest()
    assert expected == bundle_digest([("labels", b"x"), ("model", b"abc")])


def test_bytes_cannot_wander_between_files() -> None:
    """The same bytes parted elsewhere are another bundle."""
    assert bundle_digest([("model", b"ab"), ("labels", b"c")]) != bundle_digest(
        [("model", b"a"), ("labels", b"bc")]
    )


@pytest.mark.parametrize(
    "labels", ["labels.txt", "imagenet_labels.txt", "mobilenet.txt", "mobilenet_labels.txt", "Labels.TXT"]
)
def test_a_folder_as_coral_publishes_it(tmp_path: Path, labels: str) -> None:
    """One model, its compiled twin, labels by any usual name."""
    files = _read(
        tmp_path,
        {
            "mobilenet.tflite": MODEL,
            "mobilenet_edgetpu.tflite": TWIN,
            labels: b"0 a\n1 b",
            "README.txt": b"x",
        },
    )
    assert (MODEL, TWIN, ("a", "b")) == (files.model, files.model_edgetpu, files.labels)
    assert labels == files.labels_origin
    assert (None, None, None) == (files.manifest, files.metadata, files.iteration)


def test_the_models_own_labels_go_before_others(tmp_path: Path) -> None:
    """A file named like the model is meant for it; two others cannot be told apart."""
    files = {"m.tflite": MODEL, "m_labels.txt": b"a", "other_labels.txt": b"b"}
    assert ("a",) == _read(tmp_path, files).labels
    with pytest.raises(LabelsError, match=r"several labels files: x_labels\.txt, y_labels\.txt"):
        read_bundle(
            write_folder(tmp_path / "2", {"m.tflite": MODEL, "x_labels.txt": b"a", "y_labels.txt": b"b"})
        )


def test_a_file_of_labels_goes_before_embedded_ones(tmp_path: Path) -> None:
    """A file can be corrected, the model's appendix cannot."""
    model = MODEL + zip_bytes({"labels.txt": b"x\ny"})
    assert ("a", "b") == _read(tmp_path, {"m.tflite": model, "labels.txt": b"a\nb"}).labels
    assert ("x", "y") == read_bundle(write_folder(tmp_path / "2", {"m.tflite": model})).labels


@pytest.mark.parametrize(
    "files",
    [
        {"a.tflite": MODEL, "b.tflite": MODEL},
        {"model.tflite": MODEL, "old.tflite": OTHER_MODEL, "model_edgetpu.tflite": TWIN},
    ],
)
def test_several_models_are_named(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Nobody guesses which model was meant."""
    with pytest.raises(BundleError, match=r"several models: \w+\.tflite, \w+\.tflite; keep one"):
        _read(tmp_path, files)


def test_the_twin_is_the_models_own(tmp_path: Path) -> None:
    """Of several compiled models the one named like the model; none of them like it is an error."""
    files = {"m.tflite": MODEL, "m_edgetpu.tflite": TWIN, "old_edgetpu.tflite": TWIN + b"old"}
    assert TWIN == _read(tmp_path, files).model_edgetpu
    with pytest.raises(BundleError, match="several Edge TPU models"):
        read_bundle(
            write_folder(
                tmp_path / "2", {"m.tflite": MODEL, "a_edgetpu.tflite": TWIN, "b_edgetpu.tflite": TWIN}
            )
        )


def test_only_a_compiled_model_has_no_fallback(tmp_path: Path) -> None:
    """It is a bundle, with a warning that says so and what would help."""
    files = _read(tmp_path, {"m_edgetpu.tflite": TWIN, "labels.txt": b"a\nb"})
    assert (None, TWIN) == (files.model, files.model_edgetpu)
    warning = complete_bundle(files, graph_of(image_spec())).warnings[0]
    assert warning.startswith("only a model compiled for the Edge TPU: no fallback")
    assert "put the model.tflite" in warning


def test_a_compiled_model_under_a_plain_name_is_refused(tmp_path: Path) -> None:
    """On the CPU it could not be opened; the error says how to name it."""
    with pytest.raises(BundleError, match=r"compiled for the Edge TPU; name it \*_edgetpu\.tflite"):
        _read(tmp_path, {"model.tflite": TWIN})


def test_a_twin_without_edge_tpu_operator_is_a_warning(tmp_path: Path) -> None:
    """The compiler mapped nothing, or the file is only named so."""
    files = _read(tmp_path, {"m.tflite": MODEL, "m_edgetpu.tflite": OTHER_MODEL, "labels.txt": b"a"})
    assert ("m_edgetpu.tflite has no Edge TPU operator: all of it runs on the CPU",) == files.warnings
    assert files.model_edgetpu is None


def test_nothing_but_a_twin_that_is_not_compiled_is_refused(tmp_path: Path) -> None:
    """It is a model for the CPU under a misleading name; the error says how to name it."""
    with pytest.raises(BundleError, match=r"no Edge TPU operator: .*; name it without _edgetpu"):
        _read(tmp_path, {"m_edgetpu.tflite": OTHER_MODEL})


def test_a_lone_model_is_that_file_and_nothing_else(tmp_path: Path) -> None:
    """What a bundle is does not depend on its neighbours; the reader is told of them."""
    write_folder(tmp_path, {"x.tflite": MODEL})
    alone = read_bundle(tmp_path / "x.tflite")
    assert ("x", MODEL, None, None, ()) == (
        alone.name,
        alone.model,
        alone.model_edgetpu,
        alone.labels,
        alone.warnings,
    )
    write_folder(tmp_path, {"x_edgetpu.tflite": TWIN, "labels.txt": b"a"})
    beside = read_bundle(tmp_path / "x.tflite")
    assert (alone.digest, None, None) == (beside.digest, beside.model_edgetpu, beside.labels)
    assert (
        "x_edgetpu.tflite, labels.txt beside it is not used: to use all, give the folder",
    ) == beside.warnings


def test_a_lone_model_and_a_folder_of_it_agree(tmp_path: Path) -> None:
    """The same one file is the same bundle."""
    write_folder(tmp_path, {"f/x.tflite": MODEL})
    assert read_bundle(tmp_path / "f").digest == read_bundle(tmp_path / "f" / "x.tflite").digest


def test_a_lone_compiled_model(tmp_path: Path) -> None:
    """Its name says what it is."""
    write_folder(tmp_path, {"x_edgetpu.tflite": TWIN})
    files = read_bundle(tmp_path / "x_edgetpu.tflite")
    assert (None, TWIN, "x") == (files.model, files.model_edgetpu, files.name)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("cat.bmp", b"BM" + bytes(100), r"cat\.bmp is no TensorFlow Lite model"),
        ("empty.tflite", b"", "is no TensorFlow Lite model"),
        ("model.pb", b"\n\x0b\n", r"model\.pb is a TensorFlow graph; export the iteration again"),
        ("model.onnx", b"\x08\x03", r"is ONNX; export the iteration again as TensorFlow Lite"),
        ("m.tflite", b"version https://git-lfs.github.com/spec/v1\n", "only a Git LFS pointer; git lfs pull"),
    ],
)
def test_a_file_that_is_no_model(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    """What was given instead is named where it is known."""
    write_folder(tmp_path, {name: content})
    with pytest.raises(BundleError, match=reason):
        read_bundle(tmp_path / name)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"notes.txt": b""}, r"neither a \.tflite file nor cvexport\.manifest"),
        ({"a/model.tflite": MODEL, "b/model.tflite": MODEL}, r"neither a \.tflite file"),
        ({"model.pb": b"x", "labels.txt": b"a"}, r"model\.pb is a TensorFlow graph; export"),
        ({"model.json": b"{}", "weights.bin": b""}, r"model\.json is TensorFlow\.js"),
        ({"inner.zip": b"PK\x03\x04"}, r"inner\.zip is a zip; unzip it, or give its own path"),
    ],
)
def test_a_folder_or_zip_without_a_model(tmp_path: Path, files: dict[str, bytes], reason: str) -> None:
    """The error says what is there instead, where that is known."""
    with pytest.raises(BundleError, match=reason):
        _read(tmp_path, files)
    (tmp_path / "x.zip").write_bytes(zip_bytes(files))
    with pytest.raises(BundleError, match=reason):
        read_bundle(tmp_path / "x.zip")


def test_an_empty_folder_and_an_empty_zip(tmp_path: Path) -> None:
    """Nothing is not a bundle."""
    (tmp_path / "x.zip").write_bytes(zip_bytes({}))
    (tmp_path / "x").mkdir()
    for path in (tmp_path / "x.zip", tmp_path / "x"):
        with pytest.raises(BundleError, match="neither"):
            read_bundle(path)


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zip is read in memory: no temporary file, nothing beside it."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    (tmp_path / "x.zip").write_bytes(zip_bytes(_complete_export()))
    read_bundle(tmp_path / "x.zip")
    assert [] == list(scratch.iterdir())
    assert ["scratch", "x.zip"] == sorted(path.name for path in tmp_path.iterdir())


# Manifest and metadata in a bundle


def test_the_manifests_names_are_honoured(tmp_path: Path) -> None:
    """An app of 2019 had graph.lite; names in the manifest go before the usual ones."""
    manifest = manifest_bytes(
        {"ModelFileName": "graph.lite", "LabelFileName": "names.csv", "MetadataPropsFileName": "props.json"}
    )
    files = _read(
        tmp_path,
        {
            "cvexport.manifest": manifest,
            "graph.lite": MODEL,
            "names.csv": b"a\nb",
            "props.json": metadata_bytes({"CropHeight": "200"}),
            "labels.txt": b"wrong",
            "metadata_properties.json": b"wrong",
        },
    )
    assert (MODEL, ("a", "b"), "names.csv") == (files.model, files.labels, files.labels_origin)
    assert files.metadata is not None
    assert (200, 224) == files.metadata.crop


def test_the_manifest_chooses_among_models(tmp_path: Path) -> None:
    """Where it names one, others beside it do not matter."""
    assert MODEL == _read(tmp_path, {**export_files(), "old.tflite": OTHER_MODEL}).model


@pytest.mark.parametrize(
    ("missing", "kind", "reason"),
    [
        ("model.tflite", ManifestError, r"the manifest names model\.tflite, but there is no \.tflite file"),
        ("labels.txt", LabelsError, r"the manifest names labels\.txt, which is missing"),
        ("metadata_properties.json", MetadataError, r"metadata_properties\.json, which is missing"),
    ],
)
def test_what_the_manifest_names_must_be_there(
    tmp_path: Path, missing: str, kind: type[BundleError], reason: str
) -> None:
    """A half-copied export would silently see other pixels or name other classes."""
    files = export_files()
    del files[missing]
    with pytest.raises(kind, match=reason):
        _read(tmp_path, files)


@pytest.mark.parametrize(
    ("platform", "flavor", "model"),
    [
        ("TensorFlow", None, "model.pb"),
        ("TensorFlow", "TensorFlowJs", "model.zip"),
        ("TensorFlow", "TensorFlowSavedModel", "saved_model.pb"),
        ("DockerFile", "Windows", "model.pb"),
        ("ONNX", "OnnxFloat16", "model.onnx"),
        ("CoreML", None, "model.mlmodel"),
    ],
)
def test_another_flavour_is_refused_by_name(
    tmp_path: Path, platform: str, flavor: str | None, model: str
) -> None:
    """The error names the flavour and which export is wanted."""
    files = {
        "cvexport.manifest": manifest_bytes({"Platform": platform, "Flavor": flavor, "ModelFileName": model}),
        model: b"x",
    }
    files["metadata_properties.json"] = metadata_bytes()
    export = f"{model} of a {platform}{' ' + flavor if flavor else ''} export"
    with pytest.raises(UnsupportedModelError, match=rf"{export}.*as TensorFlow Lite"):
        _read(tmp_path, files)


def test_a_converted_export_may_keep_its_manifest(tmp_path: Path) -> None:
    """Exported as model.pb, converted by hand: the one .tflite beside it is taken, and told."""
    files = {
        **export_files(),
        "cvexport.manifest": manifest_bytes({"ModelFileName": "model.pb", "ModelFileSHA1": "0"}),
    }
    warnings = _read(tmp_path, files).warnings
    assert 1 == len(warnings)
    assert "model.tflite is taken for what became of it" in warnings[0]


def test_a_wrong_sha1_is_a_warning(tmp_path: Path) -> None:
    """Microsoft's own sample fails it, and a model quantised afterwards always does."""
    sha1 = hashlib.sha1(MODEL).hexdigest()
    right = {**export_files(), "cvexport.manifest": manifest_bytes({"ModelFileSHA1": sha1.upper()})}
    assert () == _read(tmp_path, right).warnings
    wrong = {**export_files(), "cvexport.manifest": manifest_bytes({"ModelFileSHA1": "0" * 40})}
    warnings = read_bundle(write_folder(tmp_path / "2", wrong)).warnings
    assert 1 == len(warnings)
    assert sha1 in warnings[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"cvexport.manifest": manifest_bytes({"DomainType": "ObjectDetection"})},
        {"metadata_properties.json": metadata_bytes({"Postprocess.Method": "Yolo"})},
        {"metadata_properties.json": metadata_bytes({"Postprocess.Method": "SSD"})},
    ],
)
def test_a_detection_export_is_refused_by_name(tmp_path: Path, changes: dict[str, bytes]) -> None:
    """Boxes are not labels: told before the runtime ever sees the model."""
    with pytest.raises(UnsupportedModelError, match="an object detection export"):
        _read(tmp_path, {**export_files(), **changes})


@need_data
def test_real_manifests_are_accepted_or_refused_for_the_right_reason(tmp_path: Path) -> None:
    """Of the seven only the TensorFlow Lite ones may be served, each under its own model's name."""
    outcome = {}
    for path in sorted((CUSTOM_VISION / "manifests").iterdir()):
        manifest = path.read_bytes()
        folder = write_folder(
            tmp_path / path.stem,
            {
                "cvexport.manifest": manifest,
                "labels.txt": b"a",
                "metadata_properties.json": metadata_bytes(),
                **({"graph.lite": MODEL} if b"graph.lite" in manifest else {}),
                **({"model.tflite": MODEL} if b"model.tflite" in manifest else {}),
            },
        )
        try:
            outcome[path.name[:2]] = read_bundle(folder).name
        except UnsupportedModelError as error:
            outcome[path.name[:2]] = error.what.rpartition("is ")[2]
    assert {
        "00": "model.pb of a DockerFile Windows export, not TensorFlow Lite",
        "01": "model.zip of a TensorFlow TensorFlowJs export, not TensorFlow Lite",
        "02": "02_tensorflow_tensorflowlite_2.0",
        "03": "03_tensorflow_tensorflowlite_2.0",
        "04": "saved_model.pb of a TensorFlow TensorFlowSavedModel export, not TensorFlow Lite",
        "05": "model.pb of a DockerFile Linux export, not TensorFlow Lite",
        "06": "model.pb of a TensorFlow export, not TensorFlow Lite",
    } == outcome


@need_data
def test_a_frozen_graph_is_refused() -> None:
    """Microsoft's fruits sample: the flavour is named, and which export is wanted."""
    with pytest.raises(
        UnsupportedModelError, match=r"model\.pb is a TensorFlow graph; export the iteration again"
    ):
        read_bundle(CUSTOM_VISION / "fruits_frozen_graph")


# bundle.toml


def test_bundle_toml_says_all_that_an_export_cannot(tmp_path: Path) -> None:
    """Every key of the documented file, in CRLF and with a BOM."""
    text = b"""name = "finish"
[input]
geometry = "docs"
pixel_format = "rgb"
mean = [0, 0.5, 1]
std = [1, 1, 2]
[output]
method = "multilabel"
"""
    found = parse_settings(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"), "bundle.toml")
    assert ("finish", "docs", "rgb", (0.0, 0.5, 1.0), (1.0, 1.0, 2.0), "multilabel") == (
        found.name,
        found.input.geometry,
        found.input.pixel_format,
        found.input.mean,
        found.input.std,
        found.output.method,
    )
    assert "finish" == _read(tmp_path, {**export_files(), "bundle.toml": text}).name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nmae = 'x'", r"unknown key 'nmae'; did you mean 'name'\?"),
        ("[input]\npixelformat = 'bgr'", r"unknown key 'input\.pixelformat'; did you mean 'pixel_format'\?"),
        (
            "[[golden]]\nimage='a'\nlabel='b'\nscore=1",
            r"unknown key 'golden\.0\.score'; did you mean 'min_score'\?",
        ),
        ("[whatever]\nx = 1", "unknown key 'whatever'; known here: name, input"),
        ("[input]\ngeometry = 'squash'", r"input\.geometry = 'squash'"),
        ("[input]\nmean = [1, 2]", r"input\.mean"),
        ("[input]\nmean = [1, 2, nan]", r"input\.mean"),
        ("[input]\nstd = [1, 0, 1]", r"input\.std\.1 = 0"),
        ("[input]\nmean = ['1', '2', '3']", r"input\.mean"),
        ("[output]\nmethod = 'softmax'", r"output\.method"),
        ("name = ''", "name = ''"),
        ('name = "a\\u001b[31m"', "control characters"),
        ("[[golden]]\nimage = 'a'", r"golden\.0\.label"),
        ("[[golden]]\nimage='a'\nlabel='b'\nmin_score=1.5", r"golden\.0\.min_score"),
        ("[[golden]]\nimage='../a'\nlabel='b'", "unsafe file name '../a'"),
        ("[sha256]\n'/x' = '" + "0" * 64 + "'", "unsafe file name"),
        ("[sha256]\nx = 'abc'", r"sha256\.x = 'abc'"),
        ("name = ", "is not TOML"),
        ("a = " + "[" * 5000, "is not TOML"),
        ("\udcff", "is not TOML"),
    ],
)
def test_a_faulty_bundle_toml_names_the_key(text: str, reason: str) -> None:
    """A key that is passed over in silence would be believed to work."""
    with pytest.raises(BundleError, match=reason):
        parse_settings(text.encode("utf-8", "surrogateescape"), "bundle.toml")


@given(st.binary(max_size=100) | st.text(max_size=60).map(lambda text: ("[input]\n" + text).encode()))
@settings(deadline=None)
def test_any_bundle_toml_is_understood_or_refused(content: bytes) -> None:
    """Nothing ends in a traceback."""
    try:
        parse_settings(content, "bundle.toml")
    except EdgeAgentError:
        return


@given(
    st.sampled_from(["name", "input", "output", "golden", "sha256", "input.mean", "golden.image"]),
    st.sampled_from(
        ["1", "-1.5", "true", "'x'", "[]", "[1]", "[[1]]", "{}", "{a=1}", "1979-05-27", "[{}]", "inf"]
    ),
)
@settings(deadline=None)
def test_any_value_of_a_known_key_is_understood_or_refused(key: str, value: str) -> None:
    """Known keys with values of every type that TOML has."""
    try:
        parse_settings(f"{key} = {value}".encode(), "bundle.toml")
    except EdgeAgentError:
        return


def test_a_golden_image_must_be_there(tmp_path: Path) -> None:
    """A proof that cannot be made is no proof."""
    with pytest.raises(BundleError, match=r"golden/cat\.jpg is missing"):
        _read(tmp_path, {**export_files(), "bundle.toml": GOLDEN})


def test_listed_hashes_are_verified(tmp_path: Path) -> None:
    """Used files and others alike; a missing one is an error."""
    hashes = {
        "model.tflite": hashlib.sha256(MODEL).hexdigest().upper(),
        "NOTICE": hashlib.sha256(b"n").hexdigest(),
    }
    table = "[sha256]\n" + "".join(f'"{name}" = "{value}"\n' for name, value in hashes.items())
    files = {**export_files(), "NOTICE": b"n", "bundle.toml": table.encode()}
    assert MODEL == _read(tmp_path, files).model
    with pytest.raises(
        BundleError, match=r"model\.tflite has SHA-256 .* as bundle\.toml says; copy it again"
    ):
        read_bundle(write_folder(tmp_path / "2", {**files, "model.tflite": OTHER_MODEL}))
    del files["NOTICE"]
    with pytest.raises(BundleError, match=r"NOTICE, listed in bundle\.toml, is missing"):
        read_bundle(write_folder(tmp_path / "3", files))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/srv/models/finish", "finish"),
        ("/srv/models/finish.zip", "finish"),
        ("/srv/models/finish/app", "finish"),
        ("mobilenet_v2_1.0_224_quant.tflite", "mobilenet_v2_1.0_224_quant"),
        ("m_edgetpu.tflite", "m"),
        ("8e544a9fd4794d1c8e544a9fd4794d1c.TensorFlow.TensorFlowLite.zip", "customvision-8e544a9f"),
        ("8E544A9FD4794D1C8E544A9FD4794D1C.TensorFlow.TensorFlowLite", "customvision-8e544a9f"),
        ("v1.2", "v1.2"),
        ("a\nb", "a_b"),
        (".zip", "model"),
        ("x" * 200, "x" * 64),
    ],
)
def test_a_bundle_without_a_name_is_named_after_its_path(path: str, name: str) -> None:
    """Short, one line, and readable for an export's own file name."""
    assert name == readable_name(Path(path))


def test_the_current_folder_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``-m .`` is the folder's own name."""
    write_folder(tmp_path / "finish", export_files())
    monkeypatch.chdir(tmp_path / "finish")
    assert "finish" == read_bundle(Path()).name


# With the graph


def _bundle(tmp_path: Path, graph: GraphDescription, **changes: bytes | None) -> ModelBundle:
    """The ordinary export with files changed (``bundle_toml``: None removes one), completed."""
    files = export_files()
    for name, content in changes.items():
        full = {"manifest": "cvexport.manifest", "metadata": "metadata_properties.json"}.get(
            name, name.replace("_", ".")
        )
        files[full] = content or b""
        if content is None:
            del files[full]
    return complete_bundle(_read(tmp_path, files), graph)


def test_an_export_and_its_graph(tmp_path: Path) -> None:
    """Everything that is needed to serve, each derived value with its reason."""
    graph = graph_of(image_spec(), head=BGR_HEAD)
    bundle = _bundle(tmp_path, graph)
    assert (graph.inputs[0], graph.outputs[0]) == (bundle.input, bundle.output)
    assert (("apple", "orange"), "labels.txt") == (bundle.labels, bundle.labels_origin)
    assert ("multiclass", "metadata: Postprocess.Method ClassificationMultiClass") == (
        bundle.method,
        bundle.method_origin,
    )
    assert {"geometry", "pixel_format", "mean", "std"} == set(bundle.convention_origins)
    assert all(bundle.convention_origins.values())
    assert (bundle.files.digest[:12], 64) == (bundle.short, len(bundle.digest))
    assert ("bundle", "d8d4e931-8377-4407-a594-81bf38c185c0", ()) == (
        bundle.name,
        bundle.iteration,
        bundle.warnings,
    )


SPEC = image_spec()


def _inputs(*specs: TensorSpec) -> GraphDescription:
    return GraphDescription("r", specs, (TensorSpec("scores", (1, 2), "float32"),), (), {})


def _outputs(*specs: TensorSpec) -> GraphDescription:
    return GraphDescription("r", (SPEC,), specs, (), {})


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (_inputs(TensorSpec("x", (1, 3, 224, 224), "float32")), r"'x' \[1, 3, 224, 224\] has channels first"),
        (_inputs(TensorSpec("x", (1, 3, 3, 224), "float32")), "channels first"),
        (_inputs(TensorSpec("x", (8, 224, 224, 3), "float32")), "takes 8 pictures at once"),
        (_inputs(TensorSpec("x", (1, 28, 28, 1), "float32")), "takes no colour picture"),
        (_inputs(TensorSpec("x", (1, 0, 0, 3), "float32")), "takes no colour picture"),
        (_inputs(TensorSpec("x", (1, 16000), "float32")), "takes no colour picture"),
        (_inputs(TensorSpec("x", (), "float32")), "takes no colour picture"),
        (_inputs(image_spec(dtype="float16")), "is float16"),
        (_inputs(image_spec(dtype="int16", quantization=(1.0, 0))), "is int16"),
        (_inputs(image_spec(dtype="int64")), "is int64"),
        (_inputs(image_spec(dtype="int8")), "int8 without scale"),
        (_inputs(image_spec(dtype="uint8", quantization=(float("nan"), 0))), "has the scale nan"),
        (_inputs(image_spec(dtype="uint8", quantization=(-1.0, 0))), r"has the scale -1\.0"),
        (_inputs(), "the model has 0 inputs"),
        (_inputs(SPEC, image_spec("mask")), "the model has 2 inputs: 'Placeholder'"),
        (_outputs(), "the model has 0 outputs"),
        (
            _outputs(TensorSpec("a", (1, 2), "float32"), TensorSpec("b", (1, 2), "float32")),
            "the model has 2 outputs",
        ),
        (_outputs(*(TensorSpec(f"x{n}", (1, 10), "float32") for n in range(4))), "an object detection model"),
        (_outputs(TensorSpec("detected_boxes", (64, 4), "float32")), "an object detection model"),
        (_outputs(TensorSpec("model_outputs", (1, 13, 13, 35), "float32")), r"\[1, 13, 13, 35\] is a grid"),
        (_outputs(TensorSpec("x", (2, 2), "float32")), "is no row of scores"),
        (_outputs(TensorSpec("x", (1, 1, 2), "float32")), "is no row of scores"),
        (_outputs(TensorSpec("x", (1, 0), "float32")), "is no row of scores"),
        (_outputs(TensorSpec("x", (), "float32")), "is no row of scores"),
        (_outputs(TensorSpec("x", (1, 2), "int64")), "is int64"),
        (_outputs(TensorSpec("x", (1, 2), "uint8")), "uint8 without scale"),
        (_outputs(TensorSpec("x", (1, 2), "uint8", Quantization(0.0, 0))), "has the scale 0"),
    ],
)
def test_a_graph_that_is_not_served_names_shape_and_remedy(
    tmp_path: Path, graph: GraphDescription, reason: str
) -> None:
    """One line that says what the model is and how it should be instead."""
    with pytest.raises(UnsupportedModelError, match=reason) as caught:
        _bundle(tmp_path, graph)
    assert caught.value.remedy
    assert str(tmp_path) in caught.value.what


def test_labels_must_fit_the_output(tmp_path: Path) -> None:
    """Both numbers and both places are named."""
    with pytest.raises(
        LabelsError, match=r"labels\.txt has 2 labels, but the model's output .* has 3 classes"
    ):
        _bundle(tmp_path, graph_of(SPEC, classes=3))


def test_a_model_without_labels_is_served_with_a_warning(tmp_path: Path) -> None:
    """The index is the label."""
    bundle = complete_bundle(_read(tmp_path, {"m.tflite": MODEL}), graph_of(image_spec("x"), classes=3))
    assert ("0", "1", "2") == bundle.labels
    assert "index" in bundle.labels_origin
    assert any("no labels" in warning for warning in bundle.warnings)


def test_a_single_output_is_a_score_of_its_own(tmp_path: Path) -> None:
    """One class: it is there or not. Two labels for one output do not fit."""
    one = graph_of(image_spec("x"), classes=1)
    bundle = complete_bundle(_read(tmp_path, {"m.tflite": MODEL, "labels.txt": b"hotdog"}), one)
    assert ("multilabel", ("hotdog",)) == (bundle.method, bundle.labels)
    with pytest.raises(LabelsError):
        complete_bundle(
            read_bundle(write_folder(tmp_path / "2", {"m.tflite": MODEL, "labels.txt": b"a\nb"})), one
        )


@pytest.mark.parametrize(
    ("metadata", "toml", "method", "origin", "warns"),
    [
        ("ClassificationMultiLabel", b"", "multilabel", "metadata", False),
        ("ClassificationMultiClass", b"", "multiclass", "metadata", False),
        (None, b"[output]\nmethod = 'multilabel'", "multilabel", "bundle.toml", False),
        ("ClassificationMultiClass", b"[output]\nmethod = 'multilabel'", "multilabel", "bundle.toml", True),
        ("ClassificationMultiLabel", b"[output]\nmethod = 'multilabel'", "multilabel", "bundle.toml", False),
        (None, b"", "multiclass", "nothing says otherwise", False),
    ],
)
def test_where_the_method_comes_from(
    tmp_path: Path, metadata: str | None, toml: bytes, method: str, origin: str, warns: bool
) -> None:
    """bundle.toml, else the metadata, else one label wins; a contradiction is told."""
    graph = graph_of(SPEC, head=BGR_HEAD)
    bundle = _bundle(
        tmp_path, graph, metadata=metadata_bytes({"Postprocess.Method": metadata}), bundle_toml=toml or b"\n"
    )
    assert method == bundle.method
    assert bundle.method_origin.startswith(origin)
    assert warns == bool(bundle.warnings)


def test_a_golden_label_must_be_one_of_the_labels(tmp_path: Path) -> None:
    """A slip of the pen is told before any model is proven with it."""
    files = {**export_files(), "golden/cat.jpg": b"p", "bundle.toml": GOLDEN.replace(b"apple", b"aple")}
    with pytest.raises(BundleError, match=r"names the label 'aple'; it is not in labels\.txt"):
        complete_bundle(_read(tmp_path, files), graph_of(SPEC))


def test_warnings_of_files_and_graph_come_together(tmp_path: Path) -> None:
    """Whoever shows a bundle shows them all."""
    files = _read(tmp_path, {"m.tflite": MODEL, "labels.txt": b"a\na"})
    bundle = complete_bundle(files, graph_of(image_spec("x")))
    assert files.warnings == bundle.warnings[:1]
    assert "guess" in bundle.warnings[1]


@need_data
def test_a_real_export_end_to_end() -> None:
    """apple_orange: ByShorterSide 256, crop 224, BGR, 0..255, never divided."""
    folder = CUSTOM_VISION / "apple_orange"
    graph = describe(load_runtime("auto"), str(folder / "model.tflite"))
    bundle = complete_bundle(read_bundle(folder), graph)
    assert (
        MetadataGeometry("ByShorterSide", (256, 256), "OneCropCenter", (224, 224))
        == bundle.convention.geometry
    )
    assert ("bgr", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)) == (
        bundle.convention.pixel_format,
        bundle.convention.mean,
        bundle.convention.std,
    )
    assert (("apple", "orange"), "multiclass", ()) == (bundle.labels, bundle.method, bundle.warnings)


@need_data
@pytest.mark.parametrize(
    ("name", "classes", "embedded"),
    [
        ("mobilenet_v2_1.0_224_quant.tflite", 1001, False),
        ("mobilenet_v2_1.0_224_quant_2021.tflite", 1001, True),
        ("tf2_mobilenet_v2_1.0_224_ptq.tflite", 1001, True),
        ("mobilenet_v1_0.25_128_quant.tflite", 1001, True),
        ("vww_96_int8.tflite", 2, False),
    ],
)
def test_corals_models_end_to_end(name: str, classes: int, embedded: bool) -> None:
    """Each of them: stretched, RGB, the pixel as the code, no guess."""
    graph = describe(load_runtime("auto"), str(CORAL / name))
    bundle = complete_bundle(read_bundle(CORAL / name), graph)
    assert (classes, embedded) == (len(bundle.labels), "embedded" in bundle.labels_origin)
    assert "rgb" == bundle.convention.pixel_format
    assert "the pixel is the code" in bundle.convention_origins["mean"]
    assert not any("guess" in warning for warning in bundle.warnings)


@need_data
def test_corals_folder_names_its_models() -> None:
    """Five models in one folder: told by name."""
    with pytest.raises(
        BundleError, match=r"several models: mobilenet_v1_0\.25_128_quant\.tflite, .*vww_96_int8"
    ):
        read_bundle(CORAL)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_export_is_read_or_refused(data: st.DataObject) -> None:
    """Any file missing, cut or changed: a bundle or an EdgeAgentError, with one line."""
    files = _complete_export()
    for name in data.draw(st.lists(st.sampled_from(sorted(files)), max_size=3, unique=True)):
        content = bytearray(files[name])
        change = data.draw(st.sampled_from(["remove", "cut", "garble", "replace"]))
        if change == "remove":
            del files[name]
            continue
        if change == "cut":
            del content[data.draw(st.integers(0, len(content))) :]
        elif change == "garble":
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        else:
            content = bytearray(data.draw(st.binary(max_size=30)))
        files[name] = bytes(content)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.zip"
        path.write_bytes(zip_bytes(files))
        try:
            complete_bundle(read_bundle(path), graph_of(SPEC, head=BGR_HEAD))
        except EdgeAgentError as error:
            str(error)


def test_a_name_that_is_no_text_is_shown_as_one(tmp_path: Path) -> None:
    """A folder named in another encoding is still a bundle with a name that can be published."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    name = read_bundle(write_folder(folder, export_files())).name
    assert "caf_" == name
    assert name.encode()


@need_data
def test_what_is_told_of_a_name_that_is_no_text_is_text(tmp_path: Path) -> None:
    """Warnings and origins are published: bytes of a file's name that are no UTF-8 stand there escaped."""
    model = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.tflite"))
    shutil.copy(CORAL / "mobilenet_v1_0.25_128_quant.tflite", model)
    model.with_name(f"{model.stem}_edgetpu.tflite").touch()
    files = read_bundle(model)
    expected = "caf\\udce9_edgetpu.tflite beside it is not used: to use all, give the folder"
    assert expected == files.warnings[0]
    assert files.labels_origin.endswith(" embedded in caf\\udce9.tflite")
    assert "".join(files.warnings).encode()
