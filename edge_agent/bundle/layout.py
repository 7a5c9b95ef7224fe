"""Which file of a folder or zip plays which part in a bundle; nothing but names is looked at here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from edge_agent.bundle.entries import Entries
from edge_agent.bundle.manifest import Manifest
from edge_agent.errors import BundleError, LabelsError, ManifestError, UnsupportedModelError

MANIFEST_NAME = "cvexport.manifest"
METADATA_NAME = "metadata_properties.json"
SETTINGS_NAME = "bundle.toml"
SIGNATURE_NAME = "bundle.sig"
LABELS_NAME = "labels.txt"
TWIN_ENDING = "_edgetpu.tflite"

_TFLITE_SUFFIXES = (".tflite", ".lite")
EXPORT_AGAIN = "export the iteration again as TensorFlow Lite"
_FOREIGN = {
    ".pb": "a TensorFlow graph",
    ".onnx": "ONNX",
    ".mlmodel": "Core ML",
    ".zip": "a zip",
    ".xml": "OpenVINO",
    ".h5": "Keras",
    ".keras": "Keras",
}


class Layout:
    """Where a bundle's files are looked for: its home folder, then ``app/`` in it (as in a container export).

    The home is the top, or the only folder there where neither the top nor ``app/`` has a model or manifest.
    Hidden files and ``__MACOSX`` are no part of a bundle.
    """

    def __init__(self, entries: Entries) -> None:
        """Raises BundleError, or UnsupportedModelError where all there is is a model of another kind."""
        self.entries = entries
        inner = [name for name in entries.folders("") if _visible(name)]
        for top in ("", *(inner if len(inner) == 1 else ())):
            self._homes = (top, _join(top, "app"))
            if self.candidates(_is_tflite) or self.find(MANIFEST_NAME):
                return
        self._homes = ("", "app")
        raise self._no_model()

    def find(self, name: str, beside: str | None = None) -> str | None:
        """The full name of a file, looked for in the folder of the file ``beside`` first."""
        folders = self._homes if beside is None else (_folder(beside), *self._homes)
        for folder in folders:
            full = _join(folder, name)
            if full in self.entries.files(_folder(full)):
                return full
        return None

    def candidates(self, wanted: Callable[[str], bool]) -> list[str]:
        """Full names of the visible files that are wanted, in the first home that has any."""
        for home in self._homes:
            found = [name for name in self.entries.files(home) if _visible(name) and wanted(name)]
            if found:
                return found
        return []

    def _no_model(self) -> BundleError:
        foreign = self.candidates(lambda name: foreign_kind(name) is not None)
        if foreign:
            remedy = "unzip it, or give its own path" if foreign[0].lower().endswith(".zip") else EXPORT_AGAIN
            kind = foreign_kind(foreign[0])
            return UnsupportedModelError(f"{self.entries.title}: {foreign[0]} is {kind}", remedy)
        remedy = "give an export as it was unzipped, or still zipped, or a .tflite file"
        return BundleError(f"{self.entries.title}: neither a .tflite file nor {MANIFEST_NAME}", remedy)


def choose_models(
    layout: Layout, manifest: Manifest | None, manifest_name: str | None
) -> tuple[str | None, str | None, tuple[str, ...]]:
    """Names of the model and of its Edge TPU twin, and warnings; at least one of the two is there.

    The model is the one that the manifest names, else the only ``.tflite``; the twin is
    ``<model>_edgetpu.tflite``, else the only ``*_edgetpu.tflite``. Raises ManifestError where what the
    manifest names is missing, UnsupportedModelError where it is of another kind and nothing else is there,
    BundleError where there are several to choose from.
    """
    found = layout.candidates(_is_tflite)
    twins = [name for name in found if name.lower().endswith(TWIN_ENDING)]
    models = [name for name in found if name not in twins]
    title, warnings = layout.entries.title, []
    if manifest is not None and manifest.model_file.lower().endswith(_TFLITE_SUFFIXES):
        named = layout.find(manifest.model_file, manifest_name)
        if named is None:
            there = f"there is {', '.join(found)}" if found else "there is no .tflite file"
            raise ManifestError(
                f"{title}: the manifest names {manifest.model_file}, but {there}", EXPORT_AGAIN
            )
        models = [named]
    elif manifest is not None:
        kind = f"{manifest.model_file} of a {manifest.export} export"
        if len(models) != 1:
            raise UnsupportedModelError(f"{title}: the model is {kind}, not TensorFlow Lite", EXPORT_AGAIN)
        warnings.append(f"the manifest names {kind}; {models[0]} is taken for what became of it")
    if len(models) > 1:
        raise BundleError(
            f"{title}: several models: {', '.join(models)}", "keep one, or name the file itself"
        )
    model = models[0] if models else None
    return model, _choose_twin(twins, model, title), tuple(warnings)


def _choose_twin(twins: list[str], model: str | None, title: str) -> str | None:
    if model is not None:
        own = str(PurePosixPath(model).with_suffix("")) + TWIN_ENDING
        if own in twins:
            return own
    if len(twins) > 1:
        raise BundleError(f"{title}: several Edge TPU models: {', '.join(twins)}", "keep one")
    return twins[0] if twins else None


def choose_labels(
    layout: Layout, manifest: Manifest | None, manifest_name: str | None, stem: str
) -> str | None:
    """The name of the labels file: the manifest's, else ``labels.txt``, else the one ``.txt`` that has
    "label" in its name or is named like the model (``stem``), the latter first. Raises LabelsError.
    """
    title = layout.entries.title
    if manifest is not None and manifest.label_file is not None:
        named = layout.find(manifest.label_file, manifest_name)
        if named is None:
            raise LabelsError(
                f"{title}: the manifest names {manifest.label_file}, which is missing", _COPY_IT
            )
        return named
    exact = layout.find(LABELS_NAME)
    if exact is not None:
        return exact
    own = {f"{stem}{ending}".lower() for ending in (".txt", "_labels.txt", "-labels.txt", ".labels.txt")}
    named_alike = layout.candidates(lambda name: PurePosixPath(name).name.lower() in own)
    found = named_alike or layout.candidates(_is_labels)
    if len(found) > 1:
        raise LabelsError(f"{title}: several labels files: {', '.join(found)}", f"name one {LABELS_NAME}")
    return found[0] if found else None


_COPY_IT = "copy it from the export too"


def _is_labels(name: str) -> bool:
    base = PurePosixPath(name).name.lower()
    return base.endswith(".txt") and "label" in base


def _is_tflite(name: str) -> bool:
    return name.lower().endswith(".tflite")


def foreign_kind(name: str) -> str | None:
    """What kind of a model the name is of, None for TensorFlow Lite and for no model at all."""
    path = PurePosixPath(name)
    return "TensorFlow.js" if path.name == "model.json" else _FOREIGN.get(path.suffix.lower())


def _visible(name: str) -> bool:
    return not PurePosixPath(name).name.startswith((".", "__MACOSX"))


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
