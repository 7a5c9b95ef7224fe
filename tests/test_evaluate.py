"""`edge-agent evaluate`: real workers on drawn images, stopped, killed and gone on with."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.__main__ import main
from tests.edgetpu import Stick, libedgetpu
from tests.evaluations import draw_images, figures, other_model, report_in
from tests.places import CORAL, FINISHES, need_data
from tests.sticks import CPU_SMALL, SMALL, bundle_of

IMAGES = 240

PATIENCE_S = 300
"""For a machine that has much else to do."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn once, and only read."""
    return draw_images(tmp_path_factory.mktemp("images"), IMAGES)


@pytest.fixture(scope="module")
def plain(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of an evaluation that nothing happens to."""
    output = tmp_path_factory.mktemp("plain")
    assert 0 == main(["evaluate", str(images), "-m", str(FINISHES), "-o", str(output), "--workers", "1"])
    return report_in(output)


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """The exit code, and what is on stdout and stderr."""
    code = main(["evaluate", *map(str, arguments)])
    output = capsys.readouterr()
    return code, output.out, output.err


def cells(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(path.read_text().splitlines()))


def names(folder: Path) -> set[str]:
    """What lies in a folder."""
    return {path.name for path in folder.iterdir()}


def test_the_figures_are_those_of_classify(
    images: Path, plain: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each image is prepared, run and ranked as the agent does it."""
    paths = sorted(images.rglob("*.png"))
    assert 0 == main(["classify", *map(str, paths), "-m", str(FINISHES), "-k", "1", "--json"])
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    right = [
        path.parent.name == each["predictions"][0]["label"] for path, each in zip(paths, answers, strict=True)
    ]
    assert (IMAGES, sum(right), IMAGES - sum(right)) == (plain["total"], plain["correct"], plain["failed"])
    assert 0 < plain["failed"] < IMAGES
    assert sum(right) / IMAGES == plain["accuracy"]
    assert sum(right) == sum(row[place] for place, row in enumerate(plain["confusion"]["rows"]))
    assert [IMAGES // 12] * 12 == [each["support"] for each in plain["labels"]]


def test_what_is_written(images: Path, plain: dict[str, Any], tmp_path: Path) -> None:
    """JSON, Markdown, CSV and HTML say the same; the journal is gone; the page needs no other file."""
    assert 0 == main(["evaluate", str(images), "-m", str(FINISHES), "-o", str(tmp_path)])
    expected = {
        "evaluation.json",
        "evaluation.md",
        "evaluation.html",
        "labels.csv",
        "confusion.csv",
        "images.csv",
    }
    assert expected == names(tmp_path)
    rows = cells(tmp_path / "images.csv")
    assert plain["correct"] == sum(int(row["right"]) for row in rows)
    assert all((row["truth"] == row["answer"]) == (row["right"] == "1") for row in rows)
    labels = cells(tmp_path / "labels.csv")
    assert [each["recall"] for each in plain["labels"]] == [float(row["recall"]) for row in labels]
    assert f"| correct | {plain['correct']} |" in (tmp_path / "evaluation.md").read_text()
    page = (tmp_path / "evaluation.html").read_text()
    assert 3 == len(re.findall(r'src="data:image/png;base64,', page))
    assert [] == re.findall(r'(?:src|href)="(?!data:)|url\(|@import', page)


def test_ctrl_c_at_the_terminal(images: Path, tmp_path: Path) -> None:
    """A bar is seen; the exit code is a shell's, a line says how to go on, and the same command does."""
    often = tmp_path / "often"
    for label in images.iterdir():
        for time in range(5):
            (often / label.name).mkdir(parents=True, exist_ok=True)
            (often / label.name / str(time)).symlink_to(label)
    assert 0 == main(["evaluate", str(often), "-m", str(FINISHES), "-o", str(tmp_path / "plain")])
    command = [sys.executable, "-P", "-m", "edge_agent", "evaluate", str(often), "-m", str(FINISHES)]
    command += ["-o", str(tmp_path / "out")]
    ours, theirs = pty.openpty()
    terminal = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=terminal) as process:
        os.close(theirs)
        seen = read_until(ours, rb"[1-9]\d*/1200")
        process.send_signal(signal.SIGINT)
        seen += read_until(ours, rb"the same command goes on from there")
        assert 130 == process.wait(PATIENCE_S)
    os.close(ours)
    done = re.search(rb"stopped after (\d+) of 1200 images; ", seen)
    assert done is not None
    assert 0 < int(done[1]) < 5 * IMAGES
    assert 1 == len(names(tmp_path / "out"))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE_S)
    assert figures(report_in(tmp_path / "plain")) == figures(report_in(tmp_path / "out"))
    assert names(tmp_path / "plain") == names(tmp_path / "out")


def read_until(descriptor: int, pattern: bytes) -> bytes:
    """What comes from a terminal until the pattern is in it; AssertionError at its end, or after a while."""
    seen = b""
    while not re.search(pattern, seen):
        assert select.select([descriptor], [], [], PATIENCE_S)[0], seen
        try:
            seen += os.read(descriptor, 1 << 16)
        except OSError as error:  # nobody holds the other end any more
            raise AssertionError(seen) from error
    return seen


def test_an_image_that_cannot_be_read(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is counted and listed, the others are judged, and the exit code is 1."""
    shutil.copytree(images / "black", tmp_path / "set" / "black")
    (tmp_path / "set" / "black" / "cut.png").write_bytes(b"\x89PNG")
    code, out, err = said(capsys, tmp_path / "set", "-m", FINISHES, "--json")
    report = json.loads(out)
    (unreadable,) = report["unreadable"]
    assert "black/cut.png" == unreadable["image"]
    assert unreadable["reason"].startswith("cannot read the picture ")
    assert (1, IMAGES // 12 + 1, IMAGES // 12) == (
        code,
        report["total"],
        report["correct"] + report["failed"],
    )
    expected = (
        "1 of 21 images could not be read, such as black/cut.png; mend them, or take them out; the report"
    )
    assert f"error: {expected} lists them\n" == err
    assert "black/cut.png" in said(capsys, tmp_path / "set", "-m", FINISHES)[1]


def test_no_image_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There are no figures then."""
    (tmp_path / "set" / "black").mkdir(parents=True)
    (tmp_path / "set" / "black" / "empty.png").touch()
    code, out, err = said(capsys, tmp_path / "set", "-m", FINISHES)
    assert (1, "") == (code, out)
    assert err.startswith(f"error: {tmp_path}/set: none of 1 images could be read: cannot read the picture ")


def test_one_label_only(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Averages are of the labels that images have."""
    shutil.copytree(images / "fiesta red", tmp_path / "set" / "fiesta red")
    code, out, _ = said(capsys, tmp_path / "set", "-m", FINISHES, "--json")
    report = json.loads(out)
    (label,) = (each for each in report["labels"] if each["support"])
    assert (0, "fiesta red", 1.0) == (code, label["label"], label["average_precision"])
    assert report["accuracy"] == label["recall"] == report["macro"]["recall"]


def test_a_threshold(images: Path, plain: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """What reaches it nowhere is nothing: failed, counted apart, and in the last column."""
    code, out, _ = said(capsys, images, "-m", FINISHES, "--threshold", "0.6", "--json")
    report = json.loads(out)
    rows = report["confusion"]["rows"]
    assert (0, 0.6, IMAGES) == (code, report["threshold"], report["correct"] + report["failed"])
    assert 0 < report["nothing"] <= report["failed"]
    assert report["nothing"] == sum(row[-1] for row in rows)
    assert report["correct"] <= plain["correct"]
    assert plain["average_precision"] == report["average_precision"]
    assert plain["calibration"] == report["calibration"]


def test_the_worst(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The surest mistakes, copied and listed; those of an earlier evaluation are gone, nothing else is."""
    (tmp_path / "worst").mkdir()
    (tmp_path / "worst" / "mine.png").touch()
    for count in (4, 2):
        code, _, err = said(capsys, images, "-m", FINISHES, "-o", tmp_path, "--worst", count)
        assert (0, "") == (code, err)
    rows = cells(tmp_path / "worst" / "worst.csv")
    assert {"mine.png", "worst.csv", *(row["file"] for row in rows)} == names(tmp_path / "worst")
    surest = [float(row["best score"]) - float(row["its score"]) for row in rows]
    assert sorted(surest, reverse=True) == surest
    assert 2 == len(rows)
    for number, row in enumerate(rows, start=1):
        assert row["truth"] != row["answer"]
        assert (images / row["image"]).read_bytes() == (tmp_path / "worst" / row["file"]).read_bytes()
        assert re.fullmatch(rf"00{number}_\w+_as_\w+_[01]\.\d{{3}}\.png", row["file"])


def test_several_labels_per_image(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Right is who names all of them and no other; an image of none is right where none is named."""
    model = other_model(tmp_path / "several", pixel_format="bgr", method="multilabel")
    paths = sorted(images.rglob("*.png"))[::8]
    lines = [f"{path},{path.parent.name}\n" for path in paths]
    lines[0], lines[1] = f"{paths[0]},black,natural\n", f"{paths[1]},\n"
    (tmp_path / "list.csv").write_text("".join(lines))
    output = tmp_path / "out"
    code, out, _ = said(capsys, tmp_path / "list.csv", "-m", model, "--json", "-o", output)
    report = json.loads(out)
    rows = {row["image"]: row for row in cells(output / "images.csv")}
    labels = [each["label"] for each in report["labels"]]
    answers = {image: [label for label in labels if float(row[label]) >= 0.5] for image, row in rows.items()}
    truths = {line.split(",")[0]: [cell for cell in line.strip().split(",")[1:] if cell] for line in lines}
    right = [set(truths[image]) == set(answer) for image, answer in answers.items()]
    assert (0, 0.5, None, sum(right)) == (code, report["threshold"], report["confusion"], report["correct"])
    assert "black + natural" == rows[str(paths[0])]["truth"]
    assert "confusion.csv" not in names(output)
    named = np.array([[label in answers[image] for label in labels] for image in rows])
    assert named.sum(axis=0).tolist() == [each["answered"] for each in report["labels"]]


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("--worst", "3"), 2, "--worst needs a folder to copy to; name one with -o"),
        (("--workers", "0"), 2, "invalid value for '--workers': 0 is not in the range 1<=x<=64; see"),
        (("--threshold", "2"), 2, "invalid value for '--threshold': 2.0 is not in the range 0<=x<=1; see"),
        (("-o", "/dev/null/x"), 1, "cannot write /dev/null/x/evaluation-"),
    ],
)
def test_what_cannot_be_asked_for(
    images: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, why: str
) -> None:
    """One line, and the exit code."""
    found, out, err = said(capsys, images, "-m", FINISHES, *arguments)
    assert (code, "", 1) == (found, out, err.count("\n"))
    assert err.startswith(f"error: {why}")


def test_reports_among_the_images(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Copies of the worst would be images of a label "worst" the next time."""
    code, _, err = said(capsys, images, "-m", FINISHES, "-o", images / "out")
    assert (2, f"error: {images}/out lies in the dataset; name a folder outside with -o\n") == (code, err)


def test_names_that_would_write_to_the_terminal(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file's name may hold anything: it is shown, not carried out."""
    shutil.copytree(images / "black", tmp_path / "set" / "black")
    (tmp_path / "set" / "black" / "\x1b[2J\n|.png").touch()
    code, out, _ = said(capsys, tmp_path / "set", "-m", FINISHES, "-o", tmp_path / "out")
    assert (1, True) == (code, all(each.isprintable() or each == "\n" for each in out))
    text = (tmp_path / "out" / "evaluation.md").read_text()
    assert "| black/\\x1b[2J \\|.png | cannot read" in text


def test_labels_that_are_markup(images: Path, tmp_path: Path) -> None:
    """In the page and its plots a label is text, whatever it looks like and whichever letters it has."""
    model = other_model(tmp_path / "model")
    label = "<b>$x_{$ 狐 | 100 %"
    labels = (model / "labels.txt").read_text().replace("natural", label)
    (model / "labels.txt").unlink()
    (model / "labels.txt").write_text(labels)
    (model / "cvexport.manifest").unlink()
    lines = [f'"{path}","{path.parent.name}"\n' for path in sorted(images.rglob("*.png"))[::8]]
    (tmp_path / "list.csv").write_text("".join(lines).replace('"natural"', f'"{label}"'))
    output = tmp_path / "out"
    assert 0 == main(["evaluate", str(tmp_path / "list.csv"), "-m", str(model), "-o", str(output)])
    page = (output / "evaluation.html").read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;$x_{$ 狐 | 100 %" in page
    assert "| <b>$x_{$ 狐 \\| 100 % |" in (output / "evaluation.md").read_text()
    rows = {row["label"]: row for row in cells(output / "labels.csv")}
    assert label in rows


def test_without_matplotlib(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the page is written, and how to have it is said."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = said(capsys, images, "-m", FINISHES, "-o", tmp_path)
    expected = "no HTML report: matplotlib is not installed; pip install matplotlib"
    assert (0, f"warning: {expected}\n") == (code, err)
    assert (tmp_path / "evaluation.md").is_file()
    assert not (tmp_path / "evaluation.html").exists()


@need_data
def test_on_the_edge_tpu(tmp_path: Path, stick: Stick, capsys: pytest.CaptureFixture[str]) -> None:
    """One worker has the stick, however many are asked for; the stand-in answers as the CPU does."""
    bundle = bundle_of(tmp_path / "bundle", SMALL, CPU_SMALL)
    shutil.copytree(
        CORAL, tmp_path / "set" / "Egyptian cat", ignore=lambda _, found: set(found) - {"cat.bmp"}
    )
    shutil.copytree(CORAL, tmp_path / "set" / "macaw", ignore=lambda _, found: set(found) - {"parrot.jpg"})
    reports = []
    for device in ("edgetpu", "cpu"):
        arguments = ("--library", libedgetpu(), "--device", device, "--workers", 4, "--json")
        code, out, _ = said(capsys, tmp_path / "set", "-m", bundle, *arguments)
        assert 0 == code
        reports.append(json.loads(out))
    assert [("edgetpu", 1), ("cpu", 4)] == [(each["device"], each["workers"]) for each in reports]
    assert [SMALL.stat().st_size, CPU_SMALL.stat().st_size] == [
        each["model"]["size_bytes"] for each in reports
    ]
    assert reports[0]["labels"] == reports[1]["labels"]
    assert 1 == stick.opens
