"""The calibration set: chosen alike from each folder, the same for the same seed; what it lacks is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.errors import ConversionError
from edge_agent.workbench.convert.pictures import ENOUGH, Seen, choose, doubts, golden


def pictures_in(folder: Path, counts: dict[str, int]) -> Path:
    """Empty files named like pictures."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{number}.jpg").touch()
    return folder


def seen(name: str, label: str, score: float = 0.9) -> Seen:
    """A picture as the float model sees it."""
    return Seen(name, label, score)


def test_each_folder_gives_alike(tmp_path: Path) -> None:
    """A rare label is not crowded out by a frequent one."""
    chosen = choose(pictures_in(tmp_path, {"often": 90, "rare": 3}), 10, 0)
    assert 3 == sum(name.startswith("rare/") for name in chosen.names)
    assert (10, 93) == (len(chosen.names), chosen.found)


def test_a_seed_decides(tmp_path: Path) -> None:
    """The same seed gives the same pictures, another one others."""
    folder = pictures_in(tmp_path, {"a": 50})
    assert choose(folder, 10, 1) == choose(folder, 10, 1)
    assert choose(folder, 10, 1).names != choose(folder, 10, 2).names


def test_hidden_files_and_others_are_no_pictures(tmp_path: Path) -> None:
    """What an editor or a Mac leaves behind is passed over."""
    folder = pictures_in(tmp_path, {"a": 1})
    for name in (".hidden.jpg", "notes.txt", "a.gif"):
        (folder / name).touch()
    assert ("a/0.jpg",) == choose(folder, 10, 0).names


@pytest.mark.parametrize(("name", "told"), [("", "has no pictures"), ("none", "is no folder")])
def test_no_pictures_is_an_error(tmp_path: Path, name: str, told: str) -> None:
    """An empty folder and a missing one are told apart."""
    with pytest.raises(ConversionError, match=told):
        choose(tmp_path / name, 10, 0)


def test_few_pictures_and_missing_labels_are_doubts() -> None:
    """A label counts as shown by its folder's name, else by the float model's answer."""
    few, missing = doubts([seen("cat/1.jpg", "dog"), seen("2.jpg", "bird")], ["cat", "dog", "bird"])
    assert few.startswith("only 2 pictures")
    assert "no picture shows dog: the ranges are measured without them" == missing


def test_enough_pictures_of_each_label_are_no_doubt() -> None:
    """Nothing is said then."""
    assert [] == doubts([seen(f"{number}.jpg", "cat") for number in range(ENOUGH)], ["cat"])


def test_the_surest_picture_of_each_label_is_golden() -> None:
    """In the order of the labels; none for a label that has one already or that nothing shows."""
    album = [
        seen("1.jpg", "cat", 0.6),
        seen("2.jpg", "cat", 0.8),
        seen("3.jpg", "dog", 0.9),
        seen("4.jpg", "owl"),
    ]
    assert ["4.jpg", "2.jpg"] == [
        each.name for each in golden(album, ["owl", "cat", "dog", "bat"], ["dog"], 8)
    ]
    assert ["2.jpg"] == [each.name for each in golden(album, ["cat", "dog"], [], 1)]


def test_a_picture_in_another_labels_folder_is_not_golden() -> None:
    """There the float model is wrong."""
    album = [seen("dog/1.jpg", "cat", 0.99), seen("cat/2.jpg", "cat", 0.6)]
    assert ["cat/2.jpg"] == [each.name for each in golden(album, ["cat", "dog"], [], 8)]
