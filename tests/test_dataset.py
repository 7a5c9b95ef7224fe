"""edge_agent.workbench.dataset and matching: labelled images, and what is wrong with them."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import DatasetError
from edge_agent.vetting import vet_bundle
from edge_agent.workbench.dataset import read_dataset
from edge_agent.workbench.matching import truth_of
from edge_agent.worker_process import WorkerSettings
from tests.evaluations import other_model
from tests.places import FINISHES


def touch(root: Path, *names: str) -> Path:
    """Files without content: no image is opened here."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def listed(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Names and labels of a dataset's images."""
    return [(sample.name, sample.labels) for sample in read_dataset(path).samples]


def refused(path: Path) -> str:
    """The line that says why it is none."""
    with pytest.raises(DatasetError) as refusal:
        read_dataset(path)
    return str(refusal.value)


def test_a_folder_per_label(tmp_path: Path) -> None:
    """Images lie in their label's folder, at any depth; hidden files are nobody's."""
    touch(tmp_path, "b/2.JPG", "a/1.png", "a/deeper/0.webp", "a/.hidden.jpg", ".git/x.jpg", "b/1.png")
    expected = [("a/1.png", ("a",)), ("a/deeper/0.webp", ("a",)), ("b/1.png", ("b",)), ("b/2.JPG", ("b",))]
    assert expected == listed(tmp_path)


def test_what_is_odd_is_told(tmp_path: Path) -> None:
    """Empty label folders and files that are no images by their names are warnings, not silence."""
    touch(tmp_path, "a/1.png", "a/notes.txt", "a/2.gif")
    (tmp_path / "b").mkdir()
    assert (
        f"the label folder {tmp_path}/b holds no images",
        f"2 files are no images by their names, such as {tmp_path}/a/2.gif",
    ) == read_dataset(tmp_path).warnings


def test_no_images(tmp_path: Path) -> None:
    """An empty folder, and one with empty label folders."""
    expected = (
        f"{tmp_path} holds no images; put some (.bmp, .jpeg, .jpg, .png, .webp) into a folder per label"
    )
    assert expected == refused(tmp_path)
    (tmp_path / "a").mkdir()
    assert expected == refused(tmp_path)


def test_an_image_without_a_label(tmp_path: Path) -> None:
    """One that lies beside the label folders is not skipped."""
    touch(tmp_path, "a/1.png", "stray.jpg")
    assert (
        f"{tmp_path}/stray.jpg lies in no label's folder; move it into one: {tmp_path}/<label>/stray.jpg"
        == refused(tmp_path)
    )


def test_no_such_dataset(tmp_path: Path) -> None:
    """A path where nothing is."""
    assert (
        f"cannot read {tmp_path}/x: No such file or directory; check the path and its permissions"
        == refused(tmp_path / "x")
    )


@pytest.mark.parametrize("header", ["", "path,label\n", "Image,tag\n", "\ufefffilename,label\n"])
def test_a_csv_file(tmp_path: Path, header: str) -> None:
    """path,label[,label...], with or without a header; spaces are nothing, and no label is a truth."""
    listing = tmp_path / "list.csv"
    listing.write_text(f'{header}b.jpg,x\n\n a.jpg , y, z \n"c, d.jpg",\n', encoding="utf-8")
    assert [("a.jpg", ("y", "z")), ("b.jpg", ("x",)), ("c, d.jpg", ())] == listed(listing)
    assert tmp_path / "a.jpg" == read_dataset(listing).samples[0].path


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a.jpg,x\n./a.jpg,y\n", "line 2: ./a.jpg stands in line 1, too; keep one of them"),
        (b"a.jpg;x\n", "line 1 has no label; write path,label: columns are separated by commas"),
        (b"a.jpg,x,x\n", "line 1 names a label twice; keep one of them"),
        (b"path,label\n,x\n", "line 2 names no image; write path,label"),
        (b"a.jpg,\xff\n", "is no CSV in UTF-8: 'utf-8' codec can't decode byte 0xff in position 6"),
        (b'a.jpg,"x\n', "is no CSV in UTF-8: unexpected end of data; save it as CSV, UTF-8"),
        (b"path,label\n", "holds no images"),
    ],
)
def test_a_csv_file_that_is_none(tmp_path: Path, content: bytes, why: str) -> None:
    """One line that names the line, and what to do."""
    listing = tmp_path / "list.csv"
    listing.write_bytes(content)
    assert why in refused(listing)


def test_a_dataset_is_known_by_its_images(tmp_path: Path) -> None:
    """Another name, size or time of change is another dataset; the same folder is the same."""
    touch(tmp_path, "a/1.png", "a/2.png")
    before = read_dataset(tmp_path).fingerprint()
    assert before == read_dataset(tmp_path).fingerprint()
    os.utime(tmp_path / "a/1.png", ns=(1, 1))
    touched = read_dataset(tmp_path).fingerprint()
    (tmp_path / "a/2.png").rename(tmp_path / "a/3.png")
    assert 3 == len({before, touched, read_dataset(tmp_path).fingerprint()})


def truth(root: Path, model: Path) -> list[list[str]]:
    """The names of what is true of each image, by a model's labels."""
    bundle = vet_bundle(model, WorkerSettings(), SystemClock()).bundle
    rows = truth_of(read_dataset(root), bundle)
    return [[bundle.labels[place] for place in np.flatnonzero(row)] for row in rows]


def test_labels_are_places_in_the_output(tmp_path: Path) -> None:
    """By name, in whatever order the dataset has them."""
    touch(tmp_path, "surf green/1.png", "Negative/1.png", "black/1.png")
    assert [["Negative"], ["black"], ["surf green"]] == truth(tmp_path, FINISHES)


def test_a_label_of_two_spellings(tmp_path: Path) -> None:
    """A letter with an accent may be one character or two: macOS and Windows differ."""
    model = other_model(tmp_path / "model")
    labels = (model / "labels.txt").read_text().replace("natural", unicodedata.normalize("NFC", "né"))
    (model / "labels.txt").chmod(0o644)
    (model / "labels.txt").write_text(labels)
    (model / "cvexport.manifest").unlink()
    touch(tmp_path / "set", unicodedata.normalize("NFD", "né") + "/1.png")
    assert [[unicodedata.normalize("NFC", "né")]] == truth(tmp_path / "set", model)


@pytest.mark.parametrize(
    ("label", "remedy"),
    [
        ("Surf-Green", "rename it to 'surf green', if that is meant"),
        ("Sunburst", "rename it to 'tobacco sunburst', if that is meant"),
        (
            "zebra",
            "its labels are black, bordeaux metallic, burgundy mist, dakota red, fiesta red and 7 more",
        ),
    ],
)
def test_a_label_that_the_model_does_not_have(tmp_path: Path, label: str, remedy: str) -> None:
    """It is named, and the nearest that there is."""
    touch(tmp_path, f"{label}/1.png")
    with pytest.raises(DatasetError) as refusal:
        truth(tmp_path, FINISHES)
    assert f"{tmp_path}: finishes has no label {label!r}; {remedy}" == str(refusal.value)


def test_a_label_that_the_model_has_twice(tmp_path: Path) -> None:
    """Which of the two is meant nobody can know."""
    model = other_model(tmp_path / "model")
    labels = (model / "labels.txt").read_text().replace("natural", "black")
    (model / "labels.txt").chmod(0o644)
    (model / "labels.txt").write_text(labels)
    (model / "cvexport.manifest").unlink()
    touch(tmp_path / "set", "black/1.png")
    with pytest.raises(DatasetError) as refusal:
        truth(tmp_path / "set", model)
    expected = (
        f"{tmp_path}/set: 2 classes of model are called 'black'; give each a name of its own in labels.txt"
    )
    assert expected == str(refusal.value)


def test_several_labels_where_the_model_names_one(tmp_path: Path) -> None:
    """Several labels per image, or none, need a model that says so of itself."""
    listing = tmp_path / "list.csv"
    listing.write_text("a.png,black,natural\nb.png,\n")
    with pytest.raises(DatasetError) as refusal:
        truth(listing, FINISHES)
    assert str(refusal.value).startswith(f"{listing}: a.png has 2 labels, and finishes names one per image; ")
    several = other_model(tmp_path / "several", method="multilabel")
    assert [["black", "natural"], []] == truth(listing, several)
