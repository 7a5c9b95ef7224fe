"""What is to be converted: an export of any flavour, a Keras file, a SavedModel; read once into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from edge_agent.bundle import BundleSettings, GoldenImage, read_bundle
from edge_agent.bundle.archive import open_entries
from edge_agent.bundle.entries import Entries, LoneEntry, read_regular
from edge_agent.bundle.layout import LABELS_NAME, MANIFEST_NAME, METADATA_NAME, SETTINGS_NAME
from edge_agent.bundle.parts import MAX_BUNDLE_BYTES
from edge_agent.bundle.settings import parse_settings
from edge_agent.errors import BundleError, ConversionError

Kind = Literal["keras", "saved-model", "frozen-graph", "tflite"]

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
KERAS_STARTS = (b"PK\x03\x04", b"\x89HDF")
"""Of a zip and of HDF5: TensorFlow takes seconds to say that it is neither."""

SAVED_MODEL = "saved_model.pb"
MODEL_NAME = "model.tflite"

_SMALL = 4 << 20
_TRAVELLERS = (MANIFEST_NAME, METADATA_NAME, LABELS_NAME)


@dataclass(frozen=True)
class Source:
    """``model`` has contents by file name, relative: of one file, but for a SavedModel. ``companions`` are
    labels, manifest and metadata, which travel along; ``settings`` and ``golden`` those of its bundle.toml.
    """

    path: Path
    kind: Kind
    model: Mapping[str, bytes]
    companions: Mapping[str, bytes]
    settings: BundleSettings
    golden: tuple[GoldenImage, ...] = ()
    model_name: str = MODEL_NAME

    @property
    def sha256(self) -> str:
        """Of the model, 64 hex digits; of several files over their digests and names, as sha256sum prints."""
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in self.model.items()}
        if len(digests) == 1:
            return next(iter(digests.values()))
        listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
        return hashlib.sha256(listing.encode()).hexdigest()

    def with_labels(self, content: bytes) -> Source:
        """With that labels.txt."""
        return replace(self, companions={**self.companions, LABELS_NAME: content})

    def with_settings(self, content: bytes, where: str) -> Source:
        """With what that bundle.toml says, golden images apart. Raises BundleError."""
        return replace(self, settings=parse_settings(content, where), golden=())


def read_source(path: Path) -> Source:
    """What lies at ``path``: a folder, a zip or a file. Raises BundleError, ConversionError."""
    suffix = path.suffix.lower()
    if suffix in KERAS_SUFFIXES and path.is_file():
        return _lone(path, "keras")
    if path.name == SAVED_MODEL:
        raise ConversionError(f"{path} is a part of a SavedModel", f"give its folder: {path.parent}")
    if suffix == ".pb" and path.is_file():
        return _lone(path, "frozen-graph")
    entries = open_entries(path)
    home, kind, name = _find(entries)
    if kind == "tflite":
        return _from_bundle(path)
    return _from_home(path, entries, home, kind, name)


def _lone(path: Path, kind: Kind) -> Source:
    content = read_regular(path, MAX_BUNDLE_BYTES)
    if kind == "keras" and not content.startswith(KERAS_STARTS):
        raise ConversionError(f"{path} is no Keras file", "copy it again, or save it again")
    return Source(path, kind, {path.name: content}, {}, BundleSettings())


def _find(entries: Entries) -> tuple[str, Kind, str]:
    """The folder with the model, its kind, its name. Raises ConversionError."""
    if isinstance(entries, LoneEntry):
        return "", "tflite", entries.files("")[0]
    inner = [
        folder for folder in entries.folders("") if not PurePosixPath(folder).name.startswith((".", "__"))
    ]
    homes = [
        home for top in ("", *(inner if len(inner) == 1 else ())) for home in (top, f"{top}/app".lstrip("/"))
    ]
    for home in homes:
        names = [name for name in entries.files(home) if not PurePosixPath(name).name.startswith(".")]
        for suffixes, kind in _KINDS:
            found = [name for name in names if name.lower().endswith(suffixes)]
            if len(found) > 1 and kind != "tflite":
                raise ConversionError(
                    f"{entries.title}: several models: {', '.join(found)}", "name one of them"
                )
            if found:
                return home, kind, found[0]
    raise ConversionError(f"{entries.title}: no model to convert", _WHAT)


_KINDS: tuple[tuple[tuple[str, ...], Kind], ...] = (
    ((".tflite", ".lite"), "tflite"),
    ((SAVED_MODEL,), "saved-model"),
    (KERAS_SUFFIXES, "keras"),
    ((".pb",), "frozen-graph"),
)
_WHAT = (
    "give an export (TensorFlow, SavedModel, TensorFlow Lite), a .keras or .h5 file, or a SavedModel's folder"
)


def _from_bundle(path: Path) -> Source:
    """A TensorFlow Lite export: a bundle already."""
    files = read_bundle(path)
    if files.model is None:
        raise ConversionError(
            f"{path}: only a model compiled for the Edge TPU", "give the float model it comes from"
        )
    model_name = next(PurePosixPath(part.name) for part in files.parts if part.role == "model")
    home = "" if str(model_name.parent) == "." else f"{model_name.parent}/"
    travellers = {
        part.name.removeprefix(home): part.content
        for part in files.parts
        if part.role in ("labels", "manifest", "metadata")
    }
    if files.labels is not None and not any(part.role == "labels" for part in files.parts):
        travellers[LABELS_NAME] = "\n".join(files.labels).encode()  # they were inside the model
    return Source(
        path,
        "tflite",
        {model_name.name: files.model},
        travellers,
        files.settings,
        files.golden,
        model_name.name,
    )


def _from_home(path: Path, entries: Entries, home: str, kind: Kind, name: str) -> Source:
    """TensorFlow's or Keras's model in a folder or zip, and what lies beside it."""
    names = [name]
    if kind == "saved-model":
        names += entries.files(f"{home}/variables".lstrip("/"))
    prefix = f"{home}/" if home else ""
    model = {each.removeprefix(prefix): _read(entries, each, MAX_BUNDLE_BYTES) for each in names}
    beside = {PurePosixPath(each).name: each for each in entries.files(home)}
    travellers = {each: _read(entries, beside[each], _SMALL) for each in _TRAVELLERS if each in beside}
    source = Source(path, kind, model, travellers, BundleSettings())
    if SETTINGS_NAME not in beside:
        return source
    settings = parse_settings(_read(entries, beside[SETTINGS_NAME], _SMALL), f"{path}: {SETTINGS_NAME}")
    golden = tuple(
        GoldenImage(
            each.label, each.min_score, each.image, _read(entries, prefix + each.image, MAX_BUNDLE_BYTES)
        )
        for each in settings.golden
    )
    return replace(source, settings=settings, golden=golden)


def _read(entries: Entries, name: str, cap: int) -> bytes:
    content = entries.read(name, cap)
    if content is None:
        raise BundleError(f"{entries.title}: {name} is missing", "copy the export again")
    return content
