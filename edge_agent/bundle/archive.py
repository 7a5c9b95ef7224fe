"""The files of a zip, in memory; and the one door to folder, zip and lone file, :func:`open_entries`."""

from __future__ import annotations

import io
import lzma
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from edge_agent.bundle.entries import (
    MAX_ENTRIES,
    Entries,
    FolderEntries,
    LoneEntry,
    read_regular,
    reason,
    relative_name,
    too_large,
    unreadable,
)
from edge_agent.bundle.parts import MAX_BUNDLE_BYTES
from edge_agent.errors import BundleError

MAX_ARCHIVE_BYTES = MAX_BUNDLE_BYTES + (1 << 20)
"""Of a zip, which is read as a whole: a bundle that is not packed at all, and the zip's own headers."""

MAX_RATIO = 200
"""Declared size to compressed size: models were seen at 1.1 to 8, text at 4; deflate can do 1032."""

RATIO_EXEMPT_BYTES = 1 << 20
"""An entry up to this size is harmless at any ratio."""

_CHUNK = 1 << 20
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_READ_FAILURES = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError, RuntimeError,
    OSError, ValueError, KeyError, IndexError, OverflowError,
)  # fmt: skip
"""What zipfile was seen to raise on damaged archives."""


def open_entries(path: Path) -> Entries:
    """The files of a folder or a zip, or the one file at ``path`` if it is neither, named ``*.tflite``.

    A zip is known by its first bytes, not by its name. Raises BundleError.
    """
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if is_folder:
        return FolderEntries(path)
    content = read_regular(path, MAX_ARCHIVE_BYTES)
    if content[:4] in _ZIP_STARTS:
        return ZipEntries(content, str(path))
    return LoneEntry(
        content, path.name if path.name.endswith(".tflite") else f"{path.name}.tflite", str(path)
    )


class ZipEntries:
    """The files of a zip in memory.

    The whole archive is refused for one entry whose name leads out of it, that is a link or a special file,
    is encrypted, is packed by a method other than stored and deflated, whose name differs from another's in
    case or Unicode form only, or is a folder's too; for more than :data:`MAX_ENTRIES`; for declared sizes or
    a ratio that no export has. A zip inside a zip is just a file. What an entry really holds is read up to
    the cap only.
    """

    def __init__(self, content: bytes, title: str) -> None:
        """Raises BundleError."""
        self.title = title
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
            entries = self._zip.infolist()
        except _READ_FAILURES as error:
            raise BundleError(f"{title}: damaged zip: {reason(error)}", "copy it again") from error
        if len(entries) > MAX_ENTRIES:
            raise BundleError(f"{title}: {len(entries)} entries, more than {MAX_ENTRIES}")
        if sum(entry.file_size for entry in entries) > MAX_BUNDLE_BYTES:
            what = f"{title}: unpacks to more than {MAX_BUNDLE_BYTES >> 20} MB"
            raise BundleError(what, "leave out of it what the bundle does not need")
        self._by_name: dict[str, zipfile.ZipInfo] = {}
        self._folders: set[str] = set()
        self._index(entries)

    def _index(self, entries: list[zipfile.ZipInfo]) -> None:
        seen: set[str] = set()
        for entry in entries:
            name = relative_name(entry.orig_filename, self.title)
            key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
            if key in seen:
                raise BundleError(f"{self.title}: two entries are named {name!r}")
            seen.add(key)
            _refuse_unfit(entry, f"{self.title}: {name!r}")
            is_folder = entry.is_dir() or entry.orig_filename.endswith("\\")
            if not is_folder:
                self._by_name[name] = entry
            parents = PurePosixPath(name).parents
            self._folders.update(str(parent) for parent in parents if str(parent) != ".")
            if is_folder:
                self._folders.add(name)
        both = self._folders & self._by_name.keys()
        if both:
            raise BundleError(f"{self.title}: {min(both)!r} is a file and a folder")

    def files(self, folder: str) -> tuple[str, ...]:
        """As :meth:`Entries.files`."""
        return tuple(sorted(name for name in self._by_name if _parent(name) == folder))

    def folders(self, folder: str) -> tuple[str, ...]:
        """As :meth:`Entries.folders`."""
        return tuple(sorted(name for name in self._folders if _parent(name) == folder))

    def read(self, name: str, cap: int) -> bytes | None:
        """As :meth:`Entries.read`. Raises BundleError for damaged content too."""
        entry = self._by_name.get(name)
        if entry is None:
            return None
        where = f"{self.title}: {name}"
        if entry.file_size > cap:
            raise too_large(where, entry.file_size, cap)
        try:
            with self._zip.open(entry) as file:
                unpacked = io.BytesIO()  # read() at one go would hold it twice
                shutil.copyfileobj(file, unpacked, _CHUNK)
                content = unpacked.getvalue()
        except _READ_FAILURES as error:
            raise BundleError(f"{where}: damaged zip: {reason(error)}", "copy it again") from error
        if len(content) != entry.file_size:
            raise BundleError(
                f"{where}: {len(content)} bytes, not the {entry.file_size} that the zip declares"
            )
        return content


def _refuse_unfit(entry: zipfile.ZipInfo, where: str) -> None:
    """Raises BundleError for an entry that no export has."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BundleError(f"{where} is a link or a special file", "pack the file itself")
    if entry.flag_bits & 0x1:
        raise BundleError(f"{where} is encrypted", "pack it without a password")
    if entry.compress_type not in _METHODS:
        raise BundleError(f"{where} is packed by method {entry.compress_type}", "pack it as an ordinary zip")
    if entry.file_size > max(RATIO_EXEMPT_BYTES, MAX_RATIO * entry.compress_size):
        raise BundleError(f"{where} would grow {MAX_RATIO}-fold and more: refused as a zip bomb")


def _parent(name: str) -> str:
    return name.rpartition("/")[0]
