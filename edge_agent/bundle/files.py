"""A folder, a zip or a lone .tflite, read once into memory; the runtime is not involved.

A folder or zip is a Custom Vision export, or a folder as Coral publishes them: one ``*.tflite``, its
``*_edgetpu.tflite``, a labels file. A path that leads to one ``.tflite`` means that file and nothing beside
it, for what a bundle is must not depend on its neighbours: a twin or a labels file counts where the folder
is given.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from edge_agent.bundle.archive import open_entries
from edge_agent.bundle.compiled import EDGETPU_OPERATOR
from edge_agent.bundle.entries import LoneEntry
from edge_agent.bundle.identity import readable_name
from edge_agent.bundle.json_files import MAX_JSON_BYTES
from edge_agent.bundle.labels import MAX_LABELS_BYTES, Labels, embedded_labels, parse_labels
from edge_agent.bundle.layout import (
    EXPORT_AGAIN,
    LABELS_NAME,
    MANIFEST_NAME,
    METADATA_NAME,
    SETTINGS_NAME,
    SIGNATURE_NAME,
    TWIN_ENDING,
    Layout,
    choose_labels,
    choose_models,
    foreign_kind,
)
from edge_agent.bundle.manifest import Manifest, parse_manifest
from edge_agent.bundle.metadata import Metadata, parse_metadata
from edge_agent.bundle.parts import LISTED, MAX_BUNDLE_BYTES, SIGNATURE, Part, Parts
from edge_agent.bundle.settings import MAX_SETTINGS_BYTES, BundleSettings, parse_settings
from edge_agent.errors import BundleError, LabelsError, MetadataError, UnsupportedModelError, one_line

MAX_GOLDEN_BYTES = 32 << 20
MAX_SIGNATURE_BYTES = 4096

TFLITE_MARK = b"TFL3"
"""The FlatBuffers file identifier of TensorFlow Lite, at byte 4."""

GIT_LFS_START = b"version https://git-lfs"

SHORT_DIGITS = 12


@dataclass(frozen=True)
class GoldenImage:
    """A picture, still encoded, and the label that must win on it with at least ``min_score``."""

    label: str
    min_score: float
    name: str
    encoded: bytes = field(repr=False)


@dataclass(frozen=True)
class BundleFiles:
    """What a bundle's files say, without the runtime.

    ``labels`` is None where there are none; ``model`` is None where there is only an Edge TPU model,
    ``model_edgetpu`` where nothing is compiled; ``digest`` is 64 hex digits
    (:func:`~edge_agent.bundle.identity.bundle_digest`). ``parts`` are all files that belong to it: written to
    an empty folder they read as the same bundle, but for ``path`` and a ``name`` that came from it. Names of
    files that are no UTF-8 stand in what is told, ``path`` apart, as their escapes.
    """

    path: Path
    name: str
    digest: str
    model: bytes | None = field(repr=False)
    model_edgetpu: bytes | None = field(repr=False)
    labels: tuple[str, ...] | None = field(repr=False)
    labels_origin: str
    manifest: Manifest | None
    metadata: Metadata | None
    settings: BundleSettings
    golden: tuple[GoldenImage, ...]
    warnings: tuple[str, ...]
    iteration: str | None
    parts: tuple[Part, ...] = field(repr=False)

    @property
    def short(self) -> str:
        """The first 12 digits of the digest, as shown everywhere."""
        return self.digest[:SHORT_DIGITS]


def read_bundle(path: Path) -> BundleFiles:
    """Read the bundle at ``path``: a folder, a zip, or one ``.tflite``.

    Raises BundleError or one of its kind; what was read is in memory, nothing is left anywhere else.
    """
    reader = _Reader(path)
    manifest = reader.read_manifest()
    metadata = reader.read_metadata()
    settings = reader.read_settings()
    model, twin = reader.read_models()
    labels = reader.read_labels(model or twin)
    golden = tuple(reader.read_golden())
    reader.verify(settings)
    reader.read_signature()
    if model is None:
        reader.warnings.append(
            "only a model compiled for the Edge TPU: no fallback where there is none or it is lost; "
            "put the model.tflite that it was compiled from beside it"
        )
    if labels is not None:
        reader.warnings += labels.warnings
    return BundleFiles(
        path=path,
        name=settings.name or readable_name(path),
        digest=reader.parts.digest(),
        model=model,
        model_edgetpu=twin,
        labels=None if labels is None else labels.names,
        labels_origin="none" if labels is None else one_line(labels.origin),
        manifest=manifest,
        metadata=metadata,
        settings=settings,
        golden=golden,
        warnings=tuple(map(one_line, reader.warnings)),
        iteration=None if manifest is None else manifest.iteration,
        parts=reader.parts.files(),
    )


class _Reader:
    """Reads the parts in turn, and keeps them and what is odd."""

    def __init__(self, path: Path) -> None:
        self._entries = open_entries(path)
        self._title = self._entries.title
        self._layout = Layout(self._entries)
        self._manifest: Manifest | None = None
        self._manifest_name: str | None = None
        self._custom_vision = False
        self._model_name = ""
        self._settings = BundleSettings()
        self._settings_name: str | None = None
        self.parts = Parts()
        self.warnings: list[str] = []
        if isinstance(self._entries, LoneEntry) and not path.name.endswith(TWIN_ENDING):
            self._tell_of_neighbours(path)

    def _tell_of_neighbours(self, path: Path) -> None:
        twin = path.stem + TWIN_ENDING
        names = (twin, LABELS_NAME, MANIFEST_NAME, METADATA_NAME, SETTINGS_NAME)
        beside = [name for name in names if os.path.lexists(path.with_name(name))]
        if beside:
            self.warnings.append(f"{', '.join(beside)} beside it is not used: to use all, give the folder")

    def _use(self, role: str, name: str, cap: int) -> bytes:
        content = self._entries.read(name, min(cap, self.parts.room))
        if content is None:
            raise BundleError(f"{self._title}: {name} is missing")
        self.parts.add(Part(role, name, content))
        return content

    def read_manifest(self) -> Manifest | None:
        self._manifest_name = self._layout.find(MANIFEST_NAME)
        if self._manifest_name is None:
            return None
        content = self._use("manifest", self._manifest_name, MAX_JSON_BYTES)
        self._manifest = parse_manifest(content, f"{self._title}: {self._manifest_name}")
        self._custom_vision = True
        if self._manifest.detects:
            raise UnsupportedModelError(
                f"{self._title}: an object detection export (DomainType {self._manifest.domain_type})",
                _CLASSIFY,
            )
        return self._manifest

    def read_metadata(self) -> Metadata | None:
        named = None if self._manifest is None else self._manifest.metadata_file
        name = self._layout.find(named or METADATA_NAME, self._manifest_name)
        if name is None:
            if named is None:
                return None
            raise MetadataError(f"{self._title}: the manifest names {named}, which is missing", "copy it too")
        metadata = parse_metadata(self._use("metadata", name, MAX_JSON_BYTES), f"{self._title}: {name}")
        self._custom_vision = True
        self.warnings += metadata.warnings
        if metadata.detects:
            raise UnsupportedModelError(
                f"{self._title}: an object detection export (Method {metadata.postprocess_method})",
                _CLASSIFY,
            )
        return metadata

    def read_models(self) -> tuple[bytes | None, bytes | None]:
        """The model and its Edge TPU twin, at least one of them."""
        name, twin_name, warnings = choose_models(self._layout, self._manifest, self._manifest_name)
        if self._settings.origin is None:  # else the manifest is known to tell of another model
            self.warnings += warnings
        self._model_name = name or twin_name or ""
        model = None if name is None else self._read_model("model", name)
        twin = None if twin_name is None else self._read_model("model_edgetpu", twin_name)
        if name is not None and model is not None:
            self._check_sha1(name, model)
            if EDGETPU_OPERATOR in model:
                raise BundleError(
                    f"{self._title}: {name} is compiled for the Edge TPU",
                    f"name it *{TWIN_ENDING} and put the model that it was compiled from beside it",
                )
        if twin is not None and EDGETPU_OPERATOR not in twin:
            if model is None:
                raise BundleError(
                    f"{self._title}: {twin_name} has no Edge TPU operator: nothing in it was compiled",
                    f"name it without {TWIN_ENDING.removesuffix('.tflite')} to have the CPU run it",
                )
            self.warnings.append(f"{twin_name} has no Edge TPU operator: all of it runs on the CPU")
            twin = None
        return model, twin

    def _read_model(self, role: str, name: str) -> bytes:
        content = self._use(role, name, MAX_BUNDLE_BYTES)
        if content.startswith(GIT_LFS_START):
            raise BundleError(f"{self._title}: {name} is only a Git LFS pointer", "git lfs pull")
        if content[4:8] != TFLITE_MARK and foreign_kind(self._title):
            raise UnsupportedModelError(f"{self._title} is {foreign_kind(self._title)}", EXPORT_AGAIN)
        if content[4:8] != TFLITE_MARK:
            where = self._title if isinstance(self._entries, LoneEntry) else f"{self._title}: {name}"
            raise BundleError(f"{where} is no TensorFlow Lite model", "copy it again")
        return content

    def _check_sha1(self, name: str, model: bytes) -> None:
        manifest = self._manifest
        if manifest is None or manifest.model_sha1 is None or self._settings.origin is not None:
            return
        if PurePosixPath(name).name != PurePosixPath(manifest.model_file).name:
            return
        found, stated = hashlib.sha1(model, usedforsecurity=False).hexdigest(), manifest.model_sha1
        if found != stated.lower():
            self.warnings.append(
                f"{name} is not the file that the manifest describes: SHA-1 {found}, not {stated}"
            )

    def read_labels(self, model: bytes | None) -> Labels | None:
        """From a file, else from the model itself."""
        stem = PurePosixPath(self._model_name).stem.removesuffix("_edgetpu")
        name = choose_labels(self._layout, self._manifest, self._manifest_name, stem)
        if name is None:
            return None if model is None else embedded_labels(model, PurePosixPath(self._model_name).name)
        content = self._use("labels", name, MAX_LABELS_BYTES)
        try:
            return parse_labels(content, name, plain=self._custom_vision)
        except LabelsError as error:
            raise LabelsError(f"{self._title}: {error.what}", error.remedy) from error

    def read_settings(self) -> BundleSettings:
        self._settings_name = self._layout.find(SETTINGS_NAME)
        if self._settings_name is not None:
            content = self._use("settings", self._settings_name, MAX_SETTINGS_BYTES)
            self._settings = parse_settings(content, f"{self._title}: {self._settings_name}")
        return self._settings

    def read_golden(self) -> Iterable[GoldenImage]:
        for golden in self._settings.golden:
            content = self._use("golden", self._beside_settings(golden.image), MAX_GOLDEN_BYTES)
            yield GoldenImage(golden.label, golden.min_score, golden.image, content)

    def verify(self, settings: BundleSettings) -> None:
        """Compare the files that bundle.toml lists with their SHA-256. Raises BundleError."""
        for name, wanted in settings.sha256.items():
            full = self._beside_settings(name)
            content = self._entries.read(full, self._room_for(full))
            if content is None:
                raise BundleError(f"{self._title}: {full}, listed in {SETTINGS_NAME}, is missing")
            found = hashlib.sha256(content).hexdigest()
            if found != wanted.lower():
                raise BundleError(
                    f"{self._title}: {full} has SHA-256 {found}, not {wanted} as {SETTINGS_NAME} says",
                    "copy it again",
                )
            if not self.parts.has(full):
                self.parts.add(Part(LISTED, full, content))

    def _room_for(self, name: str) -> int:
        """A file that is a part already may be read again."""
        return MAX_BUNDLE_BYTES if self.parts.has(name) else self.parts.room

    def read_signature(self) -> None:
        """Beside bundle.toml, or where that would be; nothing is made of it here."""
        name = self._layout.find(SIGNATURE_NAME, self._settings_name)
        if name is not None:
            self._use(SIGNATURE, name, MAX_SIGNATURE_BYTES)

    def _beside_settings(self, name: str) -> str:
        folder = PurePosixPath(self._settings_name or "").parent
        return str(folder / name.replace("\\", "/"))


_CLASSIFY = "only classification is served; train and export a classification project"
