"""bundle/parts.py: what must be kept of a bundle to have the same one again."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge_agent.bundle.parts
from edge_agent.bundle import BundleFiles, read_bundle
from edge_agent.bundle.identity import ROLES
from edge_agent.errors import BundleError
from tests.bundle_samples import (
    MODEL,
    TWIN,
    export_files,
    manifest_bytes,
    metadata_bytes,
    write_folder,
    zip_bytes,
)
from tests.places import CORAL, CUSTOM_VISION, FINISHES, need_data

NOTES = b"how this model was trained"
SETTINGS = f"""
name = "fruit"
[sha256]
"notes.md" = "{hashlib.sha256(NOTES).hexdigest()}"
"./model.tflite" = "{hashlib.sha256(MODEL).hexdigest()}"
[[golden]]
image = "golden/cat.jpg"
label = "apple"
[[golden]]
image = "golden//cat.jpg"
label = "apple"
min_score = 0.7
""".encode()


def _complete_export() -> dict[str, bytes]:
    """Every role that a part can have."""
    return {
        **export_files(),
        "model_edgetpu.tflite": TWIN,
        "bundle.toml": SETTINGS,
        "bundle.sig": b"a signature",
        "golden/cat.jpg": b"a picture",
        "notes.md": NOTES,
    }


def _said(files: BundleFiles) -> BundleFiles:
    """All that a bundle says, but for where it was found."""
    return dataclasses.replace(files, path=Path(), name="", warnings=())


def _written(folder: Path, files: BundleFiles) -> BundleFiles:
    return read_bundle(write_folder(folder, {part.name: part.content for part in files.parts}))


@pytest.mark.parametrize("home", ["", "app/", "export/", "export/app/"])
def test_the_parts_are_the_same_bundle(tmp_path: Path, home: str) -> None:
    """Written to an empty folder, or packed, they read as what they were taken from; litter is no part."""
    export = {home + name: content for name, content in _complete_export().items()}
    path = write_folder(tmp_path / "bundle", {**export, "LICENSE": b"MIT", ".DS_Store": b""})
    files = read_bundle(path)
    assert _said(files) == _said(_written(tmp_path / "copy", files))
    assert sorted(export) == sorted(part.name for part in files.parts)
    (tmp_path / "x.zip").write_bytes(zip_bytes({part.name: part.content for part in files.parts}))
    assert _said(files) == _said(read_bundle(tmp_path / "x.zip"))


def test_what_is_only_listed_or_signs_travels_along(tmp_path: Path) -> None:
    """Neither is in the digest: a bundle is the same before and after it was signed."""
    export = _complete_export()
    signed = read_bundle(write_folder(tmp_path / "signed", export))
    assert {*ROLES, "listed", "signature"} == {part.role for part in signed.parts}
    del export["bundle.sig"]
    plain = read_bundle(write_folder(tmp_path / "plain", export))
    assert plain.digest == signed.digest


@need_data
@pytest.mark.parametrize(
    "path",
    [
        FINISHES,
        CUSTOM_VISION / "apple_orange",
        CORAL / "vww_96_int8.tflite",
        CORAL / "mobilenet_v2_1.0_224_quant_edgetpu.tflite",
    ],
    ids=lambda path: path.name,
)
def test_real_bundles_are_whole_in_their_parts(tmp_path: Path, path: Path) -> None:
    """Folders and lone models alike."""
    files = read_bundle(path)
    assert _said(files) == _said(_written(tmp_path / "copy", files))


_NAMES = {
    "model.tflite": MODEL,
    "model_edgetpu.tflite": TWIN,
    "other.tflite": MODEL + b"2",
    "other_edgetpu.tflite": TWIN + b"2",
    "idle_edgetpu.tflite": MODEL + b"3",
    "labels.txt": b"a\nb",
    "model.txt": b"c\nd",
    "other_labels.txt": b"e\nf",
    "cvexport.manifest": manifest_bytes(),
    "metadata_properties.json": metadata_bytes(),
    "bundle.toml": b'[[golden]]\nimage = "labels.txt"\nlabel = "a"\n',
    "bundle.sig": b"signed",
}


@given(
    names=st.sets(
        st.sampled_from([f"{home}{name}" for home in ("", "app/", "x/", "x/app/") for name in _NAMES])
    )
)
def test_whatever_a_reader_chooses_is_chosen_again(names: set[str]) -> None:
    """What was not used had no say: without it every choice among models, labels and folders is the same."""
    with tempfile.TemporaryDirectory() as folder:
        content = {name: _NAMES[name.rpartition("/")[2]] for name in names}
        try:
            files = read_bundle(write_folder(Path(folder, "bundle"), content))
        except BundleError:
            return
        assert _said(files) == _said(_written(Path(folder, "copy"), files))


def test_a_name_that_is_file_and_folder_is_refused(tmp_path: Path) -> None:
    """A zip can have it, no folder that it is unpacked to."""
    (tmp_path / "x.zip").write_bytes(zip_bytes({"model.tflite": MODEL, "a": b"x", "a/b": b"y"}))
    with pytest.raises(BundleError, match="'a' is a file and a folder"):
        read_bundle(tmp_path / "x.zip")


def test_the_parts_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are held in memory: what there is no room for is refused before it is read."""
    folder = write_folder(tmp_path / "bundle", export_files())
    monkeypatch.setattr(edge_agent.bundle.parts, "MAX_BUNDLE_BYTES", sum(map(len, export_files().values())))
    read_bundle(folder)
    (folder / "bundle.toml").write_bytes(b"\n")
    with pytest.raises(BundleError, match=r"labels.txt: 12 bytes, more than the 11 allowed"):
        read_bundle(folder)
