"""`edge-agent classify` and `edge-agent models`: real models on real photos."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edge_agent.__main__ import main
from tests.places import CORAL, CUSTOM_VISION, need_data

pytestmark = need_data

APPLE_ORANGE = CUSTOM_VISION / "apple_orange"
IMAGES = CUSTOM_VISION / "vectors" / "images"

BETWEEN_RUNTIMES = 20 / 256
"""How far a raw uint8 score may be from another runtime's or resize's."""

CORAL_TABLE = [
    ("mobilenet_v2_1.0_224_quant_2021", "cat", 286, 0.7, 0.801),
    ("mobilenet_v2_1.0_224_quant", "cat", 286, 0.7, 0.789),
    ("mobilenet_v2_1.0_224_quant", "bird", 20, 0.8, 0.996),
    ("mobilenet_v1_0.25_128_quant", "cat", 283, 0.25, 0.320),
    ("tf2_mobilenet_v2_1.0_224_ptq", "cat", 286, 0.6, 0.602),
]
"""Model, photo, class, the publisher's least score, the score measured on LiteRT with another resize."""


def classified(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    """What `classify --json` prints for these arguments."""
    assert 0 == main(["classify", "--json", *map(str, arguments)])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(("model", "photo", "index", "least", "litert"), CORAL_TABLE)
def test_corals_models_see_what_their_publisher_says(
    capsys: pytest.CaptureFixture[str], model: str, photo: str, index: int, least: float, litert: float
) -> None:
    """The class is in the top three with at least the publisher's score, near the one measured."""
    (said,) = classified(capsys, CORAL / f"{photo}.bmp", "-m", CORAL / f"{model}.tflite")
    scores = {each["index"]: each["score"] for each in said["predictions"]}
    assert least <= scores[index]
    assert litert == pytest.approx(scores[index], abs=BETWEEN_RUNTIMES)


def test_custom_visions_own_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """The probabilities of the exported model on tensors made by Microsoft's own interpreter: within 1e-3."""
    golden = json.loads((CUSTOM_VISION / "vectors" / "golden_outputs_apple_orange.json").read_text())
    expected = golden["cvipl_323a179a_rgb01"]
    said = classified(capsys, *(IMAGES / f"{name}.png" for name in expected), "-m", APPLE_ORANGE)
    for (name, scores), each in zip(expected.items(), said, strict=True):
        assert f"{name}.png" == Path(each["image"]).name
        found = {score["index"]: score["score"] for score in each["predictions"]}
        assert scores == pytest.approx([found[0], found[1]], abs=1e-3)


@pytest.mark.parametrize(
    ("geometry", "vectors", "suffix"),
    [("docker", "docker22_bgr_224", None), ("seed", "cvipl_seed000_rgb01", ".png")],
)
def test_custom_visions_answers_in_other_geometries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], geometry: str, vectors: str, suffix: str | None
) -> None:
    """The same with the container's geometry (stills with an EXIF orientation among them), and another
    export's metadata.
    """
    bundle = tmp_path / "bundle"
    shutil.copytree(APPLE_ORANGE, bundle)
    bundle.chmod(0o755)
    if geometry == "seed":
        (bundle / "metadata_properties.json").unlink()
        seed = CUSTOM_VISION / "metadata" / "seed_align32_fullshort224.json"
        shutil.copy(seed, bundle / "metadata_properties.json")
    else:
        (bundle / "bundle.toml").write_text(f'[input]\ngeometry = "{geometry}"\n')
    golden = json.loads((CUSTOM_VISION / "vectors" / "golden_outputs_apple_orange.json").read_text())[vectors]
    paths = [IMAGES / f"{name}{suffix or ('.jpg' if name.startswith('exif') else '.png')}" for name in golden]
    said = classified(capsys, *paths, "-m", bundle)
    for scores, each in zip(golden.values(), said, strict=True):
        found = {score["index"]: score["score"] for score in each["predictions"]}
        assert scores == pytest.approx([found[0], found[1]], abs=1e-3)


def test_apples_and_oranges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The four photos come out right, from the folder and from a zip of it, under one digest."""
    archive = Path(shutil.make_archive(str(tmp_path / "export"), "zip", APPLE_ORANGE))
    photos = ["apple5.jpg", "img_test_1.jpg", "img_test_3.jpg", "orange8.jpg"]
    paths = [CUSTOM_VISION / "photos" / name for name in photos]
    for bundle in (APPLE_ORANGE, archive):
        said = classified(capsys, *paths, "-m", bundle, "-k", 1)
        assert ["apple", "apple", "orange", "orange"] == [each["predictions"][0]["label"] for each in said]
        assert {"32728e73a4b4"} == {each["model"]["digest"] for each in said}


def test_the_object_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    """One object per line with exactly the keys that are promised."""
    (said,) = classified(capsys, CORAL / "cat.bmp", "-m", CORAL / "mobilenet_v2_1.0_224_quant_2021.tflite")
    assert {"image", "model", "device", "predictions", "timing_ms"} == set(said)
    assert {"name", "digest", "iteration"} == set(said["model"])
    assert {"label": "Egyptian cat", "index": 286} == {
        key: said["predictions"][0][key] for key in ("label", "index")
    }
    assert "cpu" == said["device"]
    assert {"preprocess", "inference"} == set(said["timing_ms"])


def test_an_unreadable_picture_is_told_and_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other pictures are labelled, and the exit code says that one was not."""
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8 no picture")
    good = CUSTOM_VISION / "photos" / "apple5.jpg"
    assert 1 == main(["classify", str(bad), str(good), "-m", str(APPLE_ORANGE)])
    output = capsys.readouterr()
    assert output.out.startswith(f"{good}\tapple")
    assert output.err.startswith("error: ")
    assert str(bad) in output.err
    assert 1 == output.err.count("\n")


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_a_bad_model_is_one_line_and_exit_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """`models verify|inspect` on garbage."""
    bad = tmp_path / "model.tflite"
    bad.write_bytes(b"\0\0\0\0TFL3" + bytes(1000))
    assert 1 == main(["models", command, str(bad)])
    output = capsys.readouterr()
    assert "" == output.out
    assert output.err.startswith("error: ")
    assert 1 == output.err.count("\n")


def test_inspect_shows_each_value_with_its_origin(capsys: pytest.CaptureFixture[str]) -> None:
    """Geometry from the metadata, order and range from the graph."""
    assert 0 == main(["models", "inspect", str(APPLE_ORANGE), "--json"])
    said = json.loads(capsys.readouterr().out)
    convention = said["convention"]
    assert "ByShorterSide 256 x 256, then OneCropCenter 224 x 224" == convention["geometry"]["value"]
    assert "metadata" in convention["geometry"]["origin"]
    assert "bgr" == convention["pixel_format"]["value"]
    assert "graph" in convention["pixel_format"]["origin"]
    assert [0, 0, 0] == convention["mean"]["value"]
    assert ["apple", "orange"] == said["labels"]
    assert 0 == main(["models", "inspect", str(APPLE_ORANGE)])
    assert "pixel format  bgr   (the graph adds -104, -117, -123" in capsys.readouterr().out


def test_a_detection_export_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An export of the other kind: one line that says so."""
    archive = tmp_path / "detect.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(APPLE_ORANGE / "model.tflite", "model.tflite")
        file.write(APPLE_ORANGE / "labels.txt", "labels.txt")
        file.write(CUSTOM_VISION / "metadata" / "detection_compact_yolo512.json", "metadata_properties.json")
    assert 1 == main(["models", "verify", str(archive)])
    said = capsys.readouterr().err
    assert "detection" in said.lower()
    assert 1 == said.count("\n")
