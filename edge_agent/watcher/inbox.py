"""A folder in which each entry is a bundle of its own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

MAX_LISTED = 4096
MAX_CANDIDATES = 64
"""More bundles than a technician brings; each costs a look every few seconds."""

_ENDINGS = (".zip", ".tflite")
_COMPANIONS = ("cvexport.manifest", "labels.txt", "bundle.toml")
"""Where one of them lies beside a model in the inbox itself, somebody unpacked an export there."""

_NOT_OURS = frozenset({"__MACOSX", "lost+found", "System Volume Information", "$RECYCLE.BIN", "FOUND.000"})
"""What computers and cameras leave on a drive."""


def candidates(inbox: Path) -> list[Path]:
    """The folders, zips and ``.tflite`` files in it, by name.

    The inbox itself instead of the ``.tflite`` files, where an export was unpacked right into it: one of its
    models without its labels would be another bundle. The inbox itself too where it cannot be listed: then
    whoever reads it tells why. Hidden files are none. Never raises.
    """
    try:
        with os.scandir(inbox) as scan:
            entries = sorted(itertools.islice(scan, MAX_LISTED), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError:
        return [inbox]
    names = {entry.name for entry in entries}
    unpacked = not names.isdisjoint(_COMPANIONS) and any(name.lower().endswith(".tflite") for name in names)
    found = [Path(entry.path) for entry in entries if _is_candidate(entry, unpacked=unpacked)]
    return [inbox, *found] if unpacked else found


def newest(found: Sequence[Path]) -> list[Path]:
    """Those :data:`MAX_CANDIDATES` of them that changed last, in the order in which they came."""
    if len(found) <= MAX_CANDIDATES:
        return list(found)
    kept = set(sorted(found, key=_changed_ns)[-MAX_CANDIDATES:])
    return [path for path in found if path in kept]


def _changed_ns(path: Path) -> int:
    """The change time: `cp -p` and `rsync -t` set the other one back."""
    try:
        return path.lstat().st_ctime_ns
    except OSError:
        return 0


def _is_candidate(entry: os.DirEntry[str], *, unpacked: bool) -> bool:
    """Of an unpacked export the folders and models are parts; another one may lie beside it as a zip."""
    if entry.name.startswith(".") or entry.name in _NOT_OURS:
        return False
    try:
        is_link, is_folder = entry.is_symlink(), entry.is_dir(follow_symlinks=False)
    except OSError:  # its drive has just been pulled
        return False
    if is_link:
        return False
    if is_folder:
        return not unpacked
    return entry.name.lower().endswith(".zip" if unpacked else _ENDINGS)
