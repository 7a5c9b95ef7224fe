"""`edge-agent convert`: every kind of source becomes a bundle that may serve, or one line says why not."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_agent.__main__ import main
from edge_agent.bundle import BundleSettings, read_bundle
from edge_agent.clock import SystemClock
from edge_agent.tensors import Quantization
from edge_agent.vetting import VettedBundle, vet_bundle
from edge_agent.workbench.convert.bundle_toml import settings_text
from edge_agent.workbench.convert.source import read_source
from edge_agent.workbench.convert.stages import float_model
from edge_agent.workbench.graph import read_graph
from edge_agent.workbench.measure import this_python
from edge_agent.worker_process import WorkerSettings
from tests.bundle_samples import manifest_bytes, write_folder, zip_bytes
from tests.conversions import make_networks, need_tensorflow
from tests.places import CORAL, CUSTOM_VISION, need_data

pytestmark = [need_tensorflow, need_data]

APPLE_ORANGE = CUSTOM_VISION / "apple_orange"
FRUITS = CUSTOM_VISION / "fruits_frozen_graph"
PHOTOS = CUSTOM_VISION / "photos"


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keras's files and a SavedModel."""
    folder = tmp_path_factory.mktemp("networks")
    make_networks(folder)
    return folder


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of noise, and labels.txt beside them."""
    folder = tmp_path_factory.mktemp("album")
    chance = np.random.default_rng(5)
    for number in range(12):
        bright = 20 * (number + 1)
        cv2.imwrite(f"{folder}/{number}.png", chance.integers(0, bright, (40, 50, 3), np.uint8))
    (folder / "labels.txt").write_text("cat\ndog")
    return folder


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Apple_orange in int8, calibrated on the photos, and what was said of it."""
    place = tmp_path_factory.mktemp("converted") / "int8"
    return place, said(APPLE_ORANGE, "-o", place, "--calibrate", PHOTOS, "--seed", "7")


def vetted(path: Path) -> VettedBundle:
    """A bundle that was proven."""
    return vet_bundle(path, WorkerSettings(), SystemClock())


def said(*arguments: str | Path) -> dict[str, Any]:
    """What convert prints as JSON."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert 0 == main(["convert", *map(str, arguments), "--json"])
    answer: dict[str, Any] = json.loads(printed.getvalue())
    return answer


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 1) -> str:
    """The one line of an error."""
    assert code == main(["convert", *map(str, arguments)])
    captured = capsys.readouterr()
    assert "" == captured.out
    (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    return line.removeprefix("error: ")


@pytest.mark.parametrize("source", [APPLE_ORANGE, FRUITS], ids=lambda path: path.name)
def test_exports_become_int8(source: Path, tmp_path: Path) -> None:
    """The same labels on the photos, at most 0.35 of the size, and the source's own input convention."""
    told = said(source, "-o", tmp_path / "int8", "--calibrate", PHOTOS)
    assert (4, 4) == (told["agreed"], told["compared"])
    assert told["bytes"] <= 0.35 * told["float32_bytes"]
    said(source, "-o", tmp_path / "float", "--scheme", "float32")
    before, after = vetted(tmp_path / "float").bundle, vetted(tmp_path / "int8").bundle
    assert before.convention == after.convention
    assert ("float32", "uint8") == (before.input.dtype, after.input.dtype)
    assert before.labels == after.labels
    assert BundleSettings().input == after.files.settings.input


def test_what_travels_and_what_is_recorded(converted: tuple[Path, dict[str, Any]]) -> None:
    """Labels, manifest and metadata as they were; bundle.toml with origin, versions, digests and pictures."""
    place, _ = converted
    for name in ("labels.txt", "cvexport.manifest", "metadata_properties.json"):
        assert (APPLE_ORANGE / name).read_bytes() == (place / name).read_bytes()
    files = read_bundle(place)
    assert () == files.warnings
    origin = files.settings.origin
    assert origin is not None
    assert ("apple_orange", "tflite", "int8") == (origin.source, origin.kind, origin.scheme)
    assert hashlib.sha256((APPLE_ORANGE / "model.tflite").read_bytes()).hexdigest() == origin.source_sha256
    assert {"ai-edge-quantizer"} == set(origin.packages)
    assert origin.calibration is not None
    assert (7, 4, tuple(sorted(path.name for path in PHOTOS.iterdir()))) == (
        origin.calibration.seed,
        origin.calibration.found,
        origin.calibration.images,
    )
    assert {"apple", "orange"} == {golden.label for golden in files.golden}
    assert {"model.tflite"} == set(files.settings.sha256)


def test_the_same_again_is_the_same_bundle(converted: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Folder and zip, today and tomorrow."""
    zipped = said(APPLE_ORANGE, "-o", tmp_path / "int8.zip", "--calibrate", PHOTOS, "--seed", "7")
    assert converted[1]["digest"] == zipped["digest"] == read_bundle(tmp_path / "int8.zip").digest


@pytest.mark.parametrize("name", ["plain.keras", "plain.h5", "saved"])
def test_keras_and_saved_models(name: str, networks: Path, album: Path, tmp_path: Path) -> None:
    """Labels come from a file; the network is one for 8 bits all through, and a batch of one."""
    labels = album / "labels.txt"
    told = said(networks / name, "-o", tmp_path / "int8", "--calibrate", album, "--labels", labels)
    assert ["cat", "dog"] == told["labels"]
    graph = read_graph((tmp_path / "int8" / "model.tflite").read_bytes())
    assert "int8" == graph.scheme
    assert graph.per_channel
    assert {"Edge TPU"} == {row["verdict"] for row in told["edgetpu"]["operators"]}
    origin = read_bundle(tmp_path / "int8").settings.origin
    assert origin is not None
    assert {"ai-edge-quantizer", "tensorflow"} == set(origin.packages)


def test_a_zipped_saved_model_export(networks: Path, tmp_path: Path) -> None:
    """As Custom Vision gives it: the manifest names saved_model.pb, which is no matter afterwards."""
    saved = networks / "saved"
    files = {str(path.relative_to(saved)): path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    flavour = {
        "Flavor": "TensorFlowSavedModel",
        "ModelFileName": "saved_model.pb",
        "MetadataPropsFileName": None,
    }
    files |= {"labels.txt": b"cat\ndog", "cvexport.manifest": manifest_bytes(flavour)}
    (tmp_path / "export.zip").write_bytes(zip_bytes(files))
    told = said(tmp_path / "export.zip", "-o", tmp_path / "half", "--scheme", "float16")
    assert ["cat", "dog"] == told["labels"]
    bundle = vetted(tmp_path / "half").bundle
    assert ("d8d4e931-8377-4407-a594-81bf38c185c0", ()) == (bundle.iteration, bundle.files.warnings)


@pytest.mark.parametrize(("scheme", "share"), [("float16", 0.52), ("dynamic", 0.30), ("float32", 1.0)])
def test_other_schemes(scheme: str, share: float, tmp_path: Path) -> None:
    """They need no pictures; golden images come of them where there are some."""
    told = said(APPLE_ORANGE, "-o", tmp_path / "out", "--scheme", scheme)
    assert told["bytes"] <= share * told["float32_bytes"]
    assert scheme == read_graph((tmp_path / "out" / "model.tflite").read_bytes()).scheme
    assert ([], 0) == (told["golden"], told["compared"])
    looked = said(APPLE_ORANGE, "-o", tmp_path / "two", "--scheme", scheme, "--calibrate", PHOTOS)
    assert (2, 4) == (len(looked["golden"]), looked["agreed"])


def test_dense_layers_keep_one_scale(converted: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Convolutions have one per channel; of dense layers, tflite-runtime 2.14 takes the first for all."""
    said(APPLE_ORANGE, "-o", tmp_path / "dynamic", "--scheme", "dynamic")
    for place in (converted[0], tmp_path / "dynamic"):
        graph = read_graph((place / "model.tflite").read_bytes())
        weights = [
            (each.name, len(graph.takes(each)[1].scales) > 1) for each in graph.operators if each.inputs[1:]
        ]
        assert {("CONV_2D", True), ("FULLY_CONNECTED", False)} <= set(weights)
        assert not {("CONV_2D", False), ("FULLY_CONNECTED", True)} & set(weights)


def test_signed_ends(tmp_path: Path) -> None:
    """Int8 in and out, where that is asked for: the same reals from the same pixels."""
    said(APPLE_ORANGE, "-o", tmp_path / "out", "--calibrate", PHOTOS, "--ends", "int8")
    bundle = vetted(tmp_path / "out").bundle
    assert ("int8", "int8") == (bundle.input.dtype, bundle.output.dtype)
    assert Quantization(1.0, -128) == bundle.input.quantization


def test_what_the_source_says_of_its_pictures_is_kept(networks: Path, album: Path, tmp_path: Path) -> None:
    """[input] of a bundle.toml given, and nothing that would be derived otherwise."""
    stated = tmp_path / "stated.toml"
    stated.write_text('name = "pets"\n[input]\ngeometry = "docs"\npixel_format = "bgr"\nmean = [1, 2, 3]\n')
    extra: list[str | Path] = ["--settings", stated, "--labels", album / "labels.txt", "--calibrate", album]
    said(networks / "plain.keras", "-o", tmp_path / "out", *extra)
    bundle = vetted(tmp_path / "out").bundle
    assert ("pets", "docs", "bgr", (1.0, 2.0, 3.0)) == (
        bundle.name,
        getattr(bundle.convention.geometry, "name", None),
        bundle.convention.pixel_format,
        bundle.convention.mean,
    )


def test_an_operator_that_stays_off_the_stick_is_named(
    networks: Path, album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """LeakyReLU, with the fix; the bundle serves on the CPU all the same."""
    labels = album / "labels.txt"
    arguments = [networks / "leaky.keras", "-o", tmp_path / "out", "--calibrate", album, "--labels", labels]
    assert 0 == main(["convert", *map(str, arguments)])
    printed = capsys.readouterr().out
    assert "LEAKY_RELU" in printed
    assert "use ReLU or ReLU6 instead of LeakyReLU, and train again" in printed
    assert "edgetpu_compiler -s model.tflite" in printed


def test_half_floats_are_unfolded_exactly(tmp_path: Path) -> None:
    """A float16 export and its plain float32 form give the same answers to the last bit."""
    source = read_source(APPLE_ORANGE)
    content, _ = float_model(source, tmp_path / "work")
    plain = write_folder(tmp_path / "plain", {**source.companions, "model.tflite": content})
    before, after = vetted(APPLE_ORANGE), vetted(plain)
    assert "float16" == read_graph(source.model["model.tflite"]).scheme
    assert "float32" == read_graph(content).scheme
    assert before.bundle.convention == after.bundle.convention
    np.testing.assert_allclose(before.answers, after.answers, rtol=0, atol=1e-6)


def test_labels_inside_a_model_are_not_lost(tmp_path: Path) -> None:
    """A lone file that carries them: they stand beside the new model."""
    lone = tmp_path / "lone.tflite"
    carried = zip_bytes({"labels.txt": b"apple\norange"}, zipfile.ZIP_STORED)
    lone.write_bytes((APPLE_ORANGE / "model.tflite").read_bytes() + carried)
    told = said(lone, "-o", tmp_path / "out", "--scheme", "float16")
    assert ["apple", "orange"] == told["labels"]
    assert b"apple\norange" == (tmp_path / "out" / "labels.txt").read_bytes()


def test_unreadable_pictures_are_counted_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Left out, and never in silence."""
    folder = tmp_path / "pictures"
    shutil.copytree(PHOTOS, folder)
    (folder / "broken.jpg").write_bytes(b"no picture")
    told = said(APPLE_ORANGE, "-o", tmp_path / "out", "--calibrate", folder)
    assert (4, ["broken.jpg"]) == (told["compared"], list(told["unreadable"]))
    for picture in folder.iterdir():
        picture.write_bytes(b"no picture")
    line = refused(capsys, APPLE_ORANGE, "-o", tmp_path / "none", "--calibrate", folder)
    assert "can be read" in line
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            CORAL / "vww_96_int8.tflite",
            "it is quantised already; convert the float model that it was made from",
        ),
        (CORAL / "mobilenet_v1_0.25_128_quant_edgetpu.tflite", "only a model compiled for the Edge TPU"),
        (PHOTOS, "no model to convert; give an export"),
        (Path("/nowhere"), "cannot read /nowhere: No such file"),
        ("grey.keras", "takes no colour picture; export it for (1, height, width, 3)"),
        ("any_size.keras", "has no fixed size; save it for pictures of one size"),
        ("saved/saved_model.pb", "is a part of a SavedModel; give its folder"),
        ("junk.keras", "is no Keras file; copy it again"),
        ("empty.h5", "Keras cannot read it"),
        ("junk.pb", "no frozen TensorFlow graph; export it again as TensorFlow"),
        ("junk.tflite", "no readable TensorFlow Lite model; copy it again"),
        ("plain.keras --labels three", "has 3 labels, but the model's output"),
    ],
    ids=str,
)
def test_bad_sources_are_one_line(
    source: Path | str,
    told: str,
    networks: Path,
    album: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It names the source and the remedy; nothing is left."""
    (tmp_path / "three").write_text("a\nb\nc")
    name, *extra = str(source).split(" ")
    place = networks / name if isinstance(source, str) else source
    if name.startswith(("junk", "empty")):
        place = tmp_path / name
        place.write_bytes(b"\x89HDF\r\n\x1a\n" if name.startswith("empty") else b"\x1c\0\0\0TFL3 and so on")
    options = [tmp_path / "three" if word == "three" else word for word in extra]
    line = refused(capsys, place, "-o", tmp_path / "out", "--calibrate", album, *options)
    assert told in line
    assert str(place) in line
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_int8_needs_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Usage: exit code 2."""
    line = refused(capsys, APPLE_ORANGE, "-o", tmp_path / "out", code=2)
    assert "int8 needs pictures to measure the ranges on; name a folder: --calibrate FOLDER" == line


def test_a_compiler_that_is_installed_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its model is the twin in the bundle; its failure is a warning, and the prediction stands in."""
    compiled = CORAL / "mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    program = tmp_path / "bin" / "edgetpu_compiler"
    program.parent.mkdir()
    script = f"#!/bin/sh\necho 'CONV_2D  3  Mapped to Edge TPU'\ncp {compiled} $3/model_edgetpu.tflite\n"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    told = said(APPLE_ORANGE, "-o", tmp_path / "out", "--calibrate", PHOTOS)
    assert ("unknown", [3]) == (
        told["edgetpu"]["compiler"],
        [row["count"] for row in told["edgetpu"]["operators"]],
    )
    assert compiled.read_bytes() == (tmp_path / "out" / "model_edgetpu.tflite").read_bytes()
    program.write_text("#!/bin/sh\necho 'Model not quantized'\nexit 1\n")
    told = said(APPLE_ORANGE, "-o", tmp_path / "none", "--calibrate", PHOTOS)
    assert told["edgetpu"]["compiler"] is None
    assert any("edgetpu_compiler failed: Model not quantized" in warning for warning in told["warnings"])


def children_named(word: str) -> Iterator[int]:
    """Processes whose command line has the word."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in place.read_bytes():
                yield int(place.parent.name)
        except OSError:
            continue


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """In the middle of the pictures: exit code 130, no bundle, no part of one, no child."""
    many = tmp_path / "pictures"
    many.mkdir()
    for number in range(300):
        shutil.copy(PHOTOS / "apple5.jpg", many / f"{number}.jpg")
    (tmp_path / "place").mkdir()
    # A shell that started the tests in the background has them ignore SIGINT.
    command = ["env", "--default-signal=INT", *this_python(), "-m", "edge_agent", "convert"]
    command += [str(APPLE_ORANGE), "-o", str(tmp_path / "place" / "b")]
    with subprocess.Popen(
        [*command, "--calibrate", str(many), "--images", "300"], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "looking at the pictures" in line:
                break
        process.send_signal(signal.SIGINT)
        assert 130 == process.wait(30)
    assert [] == list((tmp_path / "place").iterdir())
    assert [] == list(children_named(str(tmp_path)))


def test_settings_are_written_as_they_are_read() -> None:
    """Names that TOML must quote, nested tables and arrays of tables."""
    from edge_agent.bundle.settings import parse_settings

    settings = BundleSettings.model_validate(
        {
            "name": 'a "quoted" name',
            "input": {"mean": [1.5, 2, 3]},
            "golden": [
                {"image": "golden/é.jpg", "label": "é", "min_score": 0.5},
                {"image": "b.jpg", "label": "b"},
            ],
            "sha256": {"model.tflite": "0" * 64},
            "origin": {
                "source": "x.zip",
                "source_sha256": "1" * 64,
                "kind": "keras",
                "scheme": "int8",
                "packages": {"tensorflow": "2"},
                "calibration": {"seed": 1, "found": 2, "sha256": "2" * 64, "images": ["a b/\\c.jpg"]},
            },
        }
    )
    assert settings == parse_settings(settings_text(settings).encode(), "bundle.toml")
