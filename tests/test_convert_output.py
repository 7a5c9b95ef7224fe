"""A bundle is written whole or not at all, and nothing but a bundle gives way to it."""

from __future__ import annotations

import errno
import zipfile
from pathlib import Path

import pytest

from edge_agent.bundle import read_bundle
from edge_agent.errors import ConversionError, UsageError
from edge_agent.workbench.convert.output import Output, write_files
from tests.bundle_samples import export_files, write_folder


def put(path: Path, *, force: bool = False, model: bytes | None = None) -> None:
    """An export, written there."""
    output = Output(path, force=force)
    with output.staged() as staging:
        write_files(staging, {**export_files(), **({} if model is None else {"model.tflite": model})})
        output.put(staging)


def put_on_a_full_disk(path: Path) -> None:
    """A part of an export, then no room any more."""
    with Output(path, force=True).staged() as staging:
        write_files(staging, export_files())
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_it_stands_there_alone(tmp_path: Path, name: str) -> None:
    """As a folder, or as a zip by its name; nothing else is left beside it."""
    put(tmp_path / name)
    assert ("apple", "orange") == read_bundle(tmp_path / name).labels
    assert [name] == [path.name for path in tmp_path.iterdir()]
    assert name.endswith(".zip") == zipfile.is_zipfile(tmp_path / name)


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_the_same_bundle_is_the_same_bytes(tmp_path: Path, name: str) -> None:
    """No time and no chance in it."""
    put(tmp_path / name)
    before = read_bundle(tmp_path / name).digest
    content = (tmp_path / name).read_bytes() if name.endswith(".zip") else b""
    put(tmp_path / name, force=True)
    assert before == read_bundle(tmp_path / name).digest
    assert content == ((tmp_path / name).read_bytes() if name.endswith(".zip") else b"")


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_what_fails_leaves_nothing(tmp_path: Path, name: str) -> None:
    """Neither at its place nor beside it, and what was there stays."""
    put(tmp_path / name)
    before = read_bundle(tmp_path / name).digest
    with pytest.raises(ConversionError, match="No space left"):
        put_on_a_full_disk(tmp_path / name)
    assert before == read_bundle(tmp_path / name).digest
    assert [name] == [path.name for path in tmp_path.iterdir()]


def test_what_is_there_is_kept_without_force(tmp_path: Path) -> None:
    """And told."""
    put(tmp_path / "bundle")
    with pytest.raises(ConversionError, match="bundle exists; name another place, or say --force"):
        put(tmp_path / "bundle")


def test_force_replaces_bundles_only(tmp_path: Path) -> None:
    """--force -o ~ must not cost a home."""
    home = write_folder(tmp_path / "home", {"letter.txt": b"dear"})
    with pytest.raises(ConversionError, match="home exists and is no bundle"):
        put(home, force=True)
    assert b"dear" == (home / "letter.txt").read_bytes()


def test_force_replaces_the_whole(tmp_path: Path) -> None:
    """No file of the old bundle stays in the new one."""
    old = write_folder(tmp_path / "bundle", {**export_files(), "old.txt": b""})
    put(old, force=True)
    assert not (old / "old.txt").exists()
    assert ["bundle"] == [path.name for path in tmp_path.iterdir()]


def test_a_lone_model_is_no_bundle_to_write(tmp_path: Path) -> None:
    """It has no room for labels and golden images."""
    with pytest.raises(UsageError, match=r"a bundle is a folder or a \.zip; name it .*/model$"):
        Output(tmp_path / "model.tflite", force=True)


def test_no_folder_to_write_to_is_an_error(tmp_path: Path) -> None:
    """Its remedy makes one."""
    with pytest.raises(ConversionError, match="mkdir -p"):
        Output(tmp_path / "none" / "bundle", force=False)
