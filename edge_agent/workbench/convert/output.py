"""A bundle written whole: beside its place first, then renamed; nothing is left of one that failed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_agent.bundle import read_bundle
from edge_agent.errors import BundleError, ConversionError, UsageError

_FIXED_TIME = (2020, 1, 1, 0, 0, 0)
"""In a zip, so that the same bundle is the same file."""


class Output:
    """Where the bundle is to be: a folder, or a zip where the name ends in ``.zip``."""

    def __init__(self, path: Path, *, force: bool) -> None:
        """Raises ConversionError where what is there may not be replaced, or no folder is; UsageError."""
        self.path = path
        if path.suffix.lower() == ".tflite":
            raise UsageError(f"{path}: a bundle is a folder or a .zip", f"name it {path.with_suffix('')}")
        if not path.parent.is_dir():
            raise ConversionError(f"{path.parent} is no folder", f"mkdir -p {path.parent}")
        if os.path.lexists(path):
            if not force:
                raise ConversionError(f"{path} exists", "name another place, or say --force to replace it")
            self._check_replaceable()

    def _check_replaceable(self) -> None:
        """Only a bundle gives way to a bundle: ``--force -o ~`` must not cost a home."""
        if self.path.is_dir() and not self.path.is_symlink() and not any(self.path.iterdir()):
            return
        try:
            read_bundle(self.path)
        except BundleError as error:
            raise ConversionError(f"{self.path} exists and is no bundle", "name another place") from error

    @contextlib.contextmanager
    def staged(self) -> Iterator[Path]:
        """A folder beside it, to be filled; gone at the end, unless :meth:`put` has taken it."""
        try:
            staging = Path(
                tempfile.mkdtemp(prefix=f".{self.path.name}.", suffix=".partial", dir=self.path.parent)
            )
        except OSError as error:
            raise ConversionError(f"cannot write to {self.path.parent}: {error.strerror}", _ROOM) from error
        try:
            yield staging
        except OSError as error:
            raise ConversionError(f"cannot write {self.path}: {error.strerror}", _ROOM) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def put(self, staging: Path) -> None:
        """Have what is staged stand at the path, whole. Raises OSError."""
        if self.path.suffix.lower() == ".zip":
            packed = staging.with_suffix(".zip")
            try:
                _zip(staging, packed)
                packed.replace(self.path)
            finally:
                packed.unlink(missing_ok=True)
            return
        staging.chmod(0o755)
        for file in staging.rglob("*"):
            _sync(file)
        if self.path.is_dir() and not self.path.is_symlink():
            aside = staging.with_suffix(".old")
            self.path.rename(aside)
            staging.rename(self.path)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            self.path.unlink(missing_ok=True)
            staging.rename(self.path)


_ROOM = "check the room and the permissions there"


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Names, relative, to contents. Raises OSError."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _zip(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(str(file.relative_to(folder)), _FIXED_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())
    _sync(target)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
