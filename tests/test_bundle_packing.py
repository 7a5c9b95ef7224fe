"""bundle/packing.py: handed to another process, a bundle stays the same one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edge_agent.bundle import BundleFiles, read_bundle
from edge_agent.bundle.packing import pack, unpack
from edge_agent.errors import BundleError
from edge_agent.sealed import SealedFile
from tests.bundle_samples import MODEL, TWIN, export_files, write_folder, zip_bytes
from tests.places import FINISHES

PATH = Path("/home/pi/fruit.zip")


def _said(files: BundleFiles) -> BundleFiles:
    """All that a bundle says, but for where it was found."""
    return dataclasses.replace(files, path=Path(), name="", warnings=())


@pytest.mark.parametrize("home", ["", "app/", "export/app/"])
def test_what_is_packed_is_the_same_bundle(tmp_path: Path, home: str) -> None:
    """Same digest, parts and settings; its name is that of the path where it was read."""
    export = {**export_files(), "model_edgetpu.tflite": TWIN, "LICENSE": b"MIT"}
    files = read_bundle(
        write_folder(tmp_path / "fruit", {home + name: each for name, each in export.items()})
    )
    packed = unpack(pack(files), PATH)
    assert _said(files) == _said(packed)
    assert ("fruit", PATH) == (packed.name, packed.path)


def test_a_bundle_that_names_itself_keeps_its_name() -> None:
    """The bundled model with its golden images too."""
    files = read_bundle(FINISHES)
    packed = unpack(pack(files), PATH)
    assert (files.digest, files.name, files.golden) == (packed.digest, packed.name, packed.golden)


def test_a_lone_model_may_come_too(tmp_path: Path) -> None:
    """Packed, or as it is."""
    path = tmp_path / "fruit.tflite"
    path.write_bytes(MODEL)
    files = read_bundle(path)
    assert files.digest == unpack(pack(files), path).digest
    assert files.digest == unpack(SealedFile(MODEL, "fruit"), path).digest


def test_what_is_wrong_is_told_of_the_path_on_the_other_side() -> None:
    """Nobody knows what /proc/self/fd/9 is."""
    with pytest.raises(BundleError, match=r"^/home/pi/fruit\.zip: neither"):
        unpack(SealedFile(zip_bytes({"readme.txt": b"x"}), "x"), PATH)


def test_only_sealed_memory_is_adopted(tmp_path: Path) -> None:
    """What its maker can still change is not taken over, and stays the caller's."""
    with (tmp_path / "ordinary").open("wb+") as file, pytest.raises(ValueError, match="no memory"):
        SealedFile.adopt(file.fileno(), "ordinary")
