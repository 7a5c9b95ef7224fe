"""`edge-agent compare`: models and predictions side by side, and gates between them."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.__main__ import main
from edge_agent.errors import UsageError
from edge_agent.workbench.comparison import Comparison, Ran, Voice, compare
from edge_agent.workbench.dataset import Dataset, Sample
from edge_agent.workbench.gates import parse_gate, shortfalls
from tests.evaluations import draw_images, other_model
from tests.places import FINISHES

IMAGES = 60

unhurried = settings(deadline=None)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn once, and only read."""
    return draw_images(tmp_path_factory.mktemp("images"), IMAGES)


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model, fed red for blue."""
    return other_model(tmp_path_factory.mktemp("models") / "worse")


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """The exit code, and what is on stdout and stderr."""
    code = main(["compare", *map(str, arguments)])
    output = capsys.readouterr()
    return code, output.out, output.err


def cloud_file(path: Path, images: Path, wrong: int = 0) -> Path:
    """Predictions that are right for all but the first so many images."""
    names = sorted(str(each.relative_to(images)) for each in images.rglob("*.png"))
    lines = ["path,label,score\n"]
    for number, name in enumerate(names):
        label = name.split("/")[0]
        other = "black" if label != "black" else "natural"
        high, low = (other, label) if number < wrong else (label, other)
        lines += [f"{name},{high},0.75\n", f"{name},{low},0.25\n"]
    path.write_text("".join(lines))
    return path


def test_models_side_by_side(
    images: Path, worse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each column is what `evaluate` says of that model; agreement is with the first."""
    again = tmp_path / "finishes"
    shutil.copytree(FINISHES, again)
    output = tmp_path / "out"
    code, out, err = said(capsys, images, FINISHES, worse, again, "--json", "-o", output)
    models = json.loads(out)["models"]
    assert (0, "") == (code, err)
    for path, model in zip((FINISHES, worse), models, strict=False):
        assert 0 == main(["evaluate", str(images), "-m", str(path), "--json"])
        alone = json.loads(capsys.readouterr().out)
        for figure in (
            "accuracy",
            "correct",
            "failed",
            "macro",
            "average_precision",
            "labels",
            "calibration",
        ):
            assert alone[figure] == model[figure]
        assert (alone["model"]["digest"], alone["model"]["size_bytes"]) == (
            model["run"]["digest"],
            model["run"]["size_bytes"],
        )
    assert (1.0, 1.0) == (models[0]["agreement"], models[2]["agreement"])
    assert 0 < models[1]["agreement"] < 1
    assert [str(FINISHES), str(worse), str(again)] == [each["name"] for each in models]
    expected = {"comparison.json", "comparison.md", "comparison.csv", "comparison.html"}
    assert expected == {path.name for path in output.iterdir()}
    with (output / "comparison.csv").open() as lines:
        rows = {row[0]: row[1:] for row in csv.reader(lines)}
    assert [model["accuracy"] for model in models] == list(map(float, rows["accuracy"]))
    recall = next(each["recall"] for each in models[1]["labels"] if each["label"] == "black")
    assert recall == float(rows["recall: black"][1])


def test_the_table(images: Path, worse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Named like the files, where these differ; precision and recall of each label."""
    code, out, _ = said(capsys, images, FINISHES, worse)
    lines = out.splitlines()
    assert (0, f"60 of 60 images of {images}") == (code, lines[0])
    assert ["figure", "finishes", "worse"] == lines[1].split()
    assert any(line.startswith("agreement with the first") and "100.00 %" in line for line in lines)
    assert 12 == sum(" / " in line for line in lines[lines.index("Precision / recall") + 2 :])


def test_predictions_made_elsewhere(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another column, without size, device and time."""
    cloud = cloud_file(tmp_path / "cloud.csv", images, wrong=6)
    code, out, _ = said(capsys, images, FINISHES, "--cloud", cloud, "--json")
    (model, elsewhere) = json.loads(out)["models"]
    assert (0, "cloud.csv", None) == (code, elsewhere["name"], elsewhere["run"])
    assert (IMAGES - 6, 6) == (elsewhere["correct"], elsewhere["failed"])
    assert 0.9 == elsewhere["accuracy"]
    assert IMAGES == model["correct"] + model["failed"]
    assert 0 == main(["compare", str(images), str(FINISHES), "--cloud", str(cloud)])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("model, bytes"))
    assert row.endswith(" -")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            "black/none.png,black,0.5",
            "line 122: {images} has no image black/none.png; name it like Negative/",
        ),
        ("{first},white,0.5", "line 122: finishes has no label 'white'; rename it to 'olympic white', if"),
        ("{first},black,0.5", "line 122 scores 'black' of {first} again; keep one of the lines"),
        ("{first},fiesta red,2", "line 122: '2' is no score; write a number from 0 to 1"),
        ("{first},fiesta red,x", "line 122: 'x' is no score; write a number from 0 to 1"),
        ("{first}", "line 122 is not path,label or path,label,score; write one label per line"),
    ],
)
def test_predictions_that_do_not_fit(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, why: str
) -> None:
    """One line that names the line."""
    first = min(str(each.relative_to(images)) for each in images.rglob("*.png"))
    cloud = cloud_file(tmp_path / "cloud.csv", images)
    with cloud.open("a") as more:
        more.write(line.format(first=first) + "\n")
    code, out, err = said(capsys, images, FINISHES, "--cloud", cloud)
    assert (1, "") == (code, out)
    assert err.startswith(f"error: {cloud}: {why.format(first=first, images=images)}")


def test_predictions_that_are_missing(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An image that no line names is no failure of the cloud's."""
    cloud = cloud_file(tmp_path / "cloud.csv", images)
    lines = cloud.read_text().splitlines()
    cloud.write_text("\n".join([lines[0], *lines[5:]]))
    code, _, err = said(capsys, images, FINISHES, "--cloud", cloud)
    assert 1 == code
    assert err.startswith(f"error: {cloud} says nothing of 2 images, such as Negative/")
    _, _, err = said(capsys, images, FINISHES, "--cloud", tmp_path / "none.csv")
    assert err.startswith(f"error: cannot read {tmp_path}/none.csv: ")


def test_a_gate_between_models(images: Path, worse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The better one passes; the worse one is told in a line that names the label and by how much."""
    gates = ("--gate", "recall>=-1pt", "--gate", "accuracy>=0pt")
    assert (0, "") == said(capsys, images, worse, FINISHES, "--gate", "accuracy>=0pt")[::2]
    code, out, err = said(capsys, images, FINISHES, worse, *gates)
    assert 1 == code
    assert "agreement" in out
    assert 1 == err.count("\n")
    assert err.startswith("error: worse fails recall>=-1pt: ")
    assert " points), and " in err


def test_an_image_that_cannot_be_read(
    images: Path, worse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is listed once, the figures are of the others, and the exit code is 1."""
    shutil.copytree(images / "black", tmp_path / "set" / "black")
    (tmp_path / "set" / "black" / "cut.png").touch()
    code, out, err = said(capsys, tmp_path / "set", FINISHES, worse, "--json")
    comparison = json.loads(out)
    assert (1, 6, 5) == (code, comparison["total"], comparison["judged"])
    assert ["black/cut.png"] == [each["image"] for each in comparison["unreadable"]]
    assert err.startswith("error: 1 of 6 images could not be read, such as black/cut.png; ")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "there is nothing to compare with; name two models or more"),
        ((str(FINISHES),), "a model is named twice; name each once"),
        (("--gate", "recall>=-1pt", "--cloud", "c.csv"), "there is nothing to compare with; name two models"),
        (
            (str(FINISHES), "--gate", "recall>-1"),
            "'recall>-1' is no gate; write accuracy, precision, recall or",
        ),
        (
            (str(FINISHES), "--gate", "macro accuracy>=0pt"),
            "'macro accuracy>=0pt' is no gate; write accuracy",
        ),
    ],
)
def test_what_cannot_be_asked_for(
    images: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], why: str
) -> None:
    """Bad usage is told before any model is opened."""
    code, out, err = said(capsys, images, FINISHES, *arguments)
    assert (2, "") == (code, out)
    assert err.startswith(f"error: {why}")


LABELS = ("a", "b")
TRUTH = np.repeat(np.eye(2, dtype=bool), 100, axis=0)


def voice(name: str, missed: int, *, elsewhere: bool = False, labels: tuple[str, ...] = LABELS) -> Voice:
    """A model that takes so many of a hundred b's for an a; the labels may stand in another order."""
    answers = np.repeat(np.eye(2, dtype=np.float32), (100 + missed, 100 - missed), axis=0)
    order = [LABELS.index(label) for label in labels]
    every = np.arange(200)
    times = np.ones(200)
    ran = None if elsewhere else Ran(name * 12, 7, "cpu", times, times)
    return Voice(name, "multiclass", labels, TRUTH[:, order], every, answers[:, order], ran)


def comparison(*voices: Voice) -> Comparison:
    """Of a hundred a's and a hundred b's."""
    samples = tuple(Sample(Path("x"), str(number), ("x",)) for number in range(200))
    return compare(Dataset(Path("set"), samples, ()), voices, (), None)


@pytest.mark.parametrize(
    ("gate", "missed", "label"),
    [
        ("recall>=-1pt", 11, None),
        ("recall>=-1pt", 12, "b"),
        ("recall >= -2 pt", 12, None),
        ("RECALL>=+0.5pt", 9, "a"),
        ("precision>=-0.5pt", 11, "a"),
        ("macro recall>=-0.5pt", 11, None),
        ("macro recall>=-0.5pt", 12, ""),
        ("accuracy>=-0.5pt", 11, None),
        ("accuracy>=-0.5pt", 12, ""),
        ("f1>=0pt", 10, None),
        ("f1>=0pt", 11, "b"),
        ("macro f1>=0pt", 11, ""),
    ],
)
def test_gates(gate: str, missed: int, label: str | None) -> None:
    """Points are of each label, or with macro, and for accuracy, of all; exactly as much worse passes.

    The first model misses ten of a hundred b's. ``label`` is the one told first, "" for all, None for none.
    """
    found = shortfalls(parse_gate(gate), comparison(voice("A", 10), voice("B", missed)))
    assert label == (found[0].label or "" if found else None)
    assert {"B"} >= {each.model for each in found}


def test_a_shortfall_in_words() -> None:
    """Which model, which gate, which label, how much."""
    (found, *_) = shortfalls(parse_gate("recall>=-1pt"), comparison(voice("A", 10), voice("B", 13)))
    assert "B fails recall>=-1pt: b: 87.00 %, the first has 90.00 % (-3.00 points)" == str(found)


def test_gates_hold_models_only() -> None:
    """Predictions made elsewhere are there to look at."""
    both = comparison(voice("A", 10), voice("cloud", 50, elsewhere=True))
    assert [] == shortfalls(parse_gate("recall>=0pt"), both)


@unhurried
@given(st.integers(0, 100), st.integers(0, 100))
def test_a_gate_of_any_width(first: int, second: int) -> None:
    """It lets pass what is worse by exactly its points, and nothing that is worse by more."""
    both = comparison(voice("A", first), voice("B", second))
    worse = max(second - first, 0)
    recall = [each for each in shortfalls(parse_gate(f"recall>=-{worse}pt"), both) if each.label == "b"]
    assert [] == recall
    tighter = shortfalls(parse_gate(f"recall>={0.01 - worse:.2f}pt"), both)
    assert (second >= first) == any(each.label == "b" for each in tighter)


def test_labels_in_another_order() -> None:
    """Models are compared by the labels' names."""
    first, second = comparison(voice("A", 10), voice("B", 10, labels=("b", "a"))).contenders
    assert 1.0 == second.agreement
    assert first.label("b") == second.label("b")
    assert 0.9 == first.label("b").recall


def test_only_what_all_could_judge() -> None:
    """An image that one model could not be asked for is left out of every column."""
    full = voice("A", 10)
    part = replace(full, name="B", images=full.images[5:], scores=full.scores[5:])
    both = comparison(full, part)
    assert (195, 95) == (both.judged, both.contenders[0].label("a").support)
    assert both.contenders[0].card.accuracy == both.contenders[1].card.accuracy


@pytest.mark.parametrize("text", ["", "recall", "recall>=1", "recall>=-1%", "speed>=0pt", "macro  >=0pt"])
def test_what_is_no_gate(text: str) -> None:
    """It is said how one is written."""
    with pytest.raises(UsageError, match="is no gate; write accuracy, precision, recall or f1"):
        parse_gate(text)
