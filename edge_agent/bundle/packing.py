"""A bundle as one piece of sealed memory, to be handed to another process."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from pathlib import Path

from edge_agent.bundle.files import BundleFiles, read_bundle
from edge_agent.bundle.identity import readable_name
from edge_agent.errors import BundleError
from edge_agent.sealed import SealedFile


def pack(files: BundleFiles) -> SealedFile:
    """The parts as a zip, not compressed: models hardly are, and a small board would take seconds for it."""
    return SealedFile.filled(f"{files.name}.zip", lambda descriptor: _write_zip(files, descriptor))


def unpack(packed: SealedFile, path: Path) -> BundleFiles:
    """The bundle that was packed, or any other zip or ``.tflite`` that came as one file.

    ``path`` is where it was read on the other side: it gives the name, and errors tell of it. Raises
    BundleError.
    """
    place = Path(f"/proc/self/fd/{packed.fileno()}")
    try:
        files = read_bundle(place)
    except BundleError as error:
        raise type(error)(error.what.replace(str(place), str(path)), error.remedy) from error
    return dataclasses.replace(files, path=path, name=files.settings.name or readable_name(path))


def _write_zip(files: BundleFiles, descriptor: int) -> None:
    with (
        os.fdopen(os.dup(descriptor), "wb") as memory,
        zipfile.ZipFile(memory, "w", zipfile.ZIP_STORED) as archive,
    ):
        for part in files.parts:
            archive.writestr(zipfile.ZipInfo(part.name), part.content)
