"""Installed bundles, a folder for each digest: its parts below ``files/``, and ``version.json``.

A bundle is built in ``staging/``, version.json last, and gets its place by one rename. What is to go loses
its place by one rename too, and is removed afterwards.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import ValidationError

from edge_agent.bundle import BundleFiles, Part, read_bundle
from edge_agent.bundle.parts import SIGNATURE
from edge_agent.errors import BundleError, DamagedVersionError, ProtocolError
from edge_agent.repository.disk import FORBIDDEN, Disk, content_of, entries
from edge_agent.repository.records import LATEST_NS, Version
from edge_agent.verdict import Verdict, verdict_from_json

KEEP_VERDICTS = 4
"""Per version: another runtime or another machine asks for one of its own."""

ROOM_PER_FILE = 8192
"""Bytes that a file takes beside its content, its last block included."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""What says nothing of the file that could not be read."""

logger = logging.getLogger(__name__)


class Versions:
    """What is installed below ``versions/``. Methods raise OSError where the disk refuses."""

    def __init__(self, disk: Disk, now_ns: Callable[[], int]) -> None:
        self._disk = disk
        self._now_ns = now_ns
        self.folder = disk.root / "versions"
        self._staging = disk.root / "staging"
        self._damaged = disk.root / "damaged"
        self._unreadable: set[str] = set()

    def all(self) -> list[Version]:
        """The whole ones, newest first."""
        places = entries(self.folder)
        found = [version for place in places if (version := self.find(place.name)) is not None]
        return sorted(found, key=lambda version: version.installed_ns, reverse=True)

    def find(self, digest: str) -> Version | None:
        """The version, where it is whole: written to its end, and not found damaged or unreadable since."""
        if digest in self._unreadable:
            return None
        try:
            return _record(self.folder / digest)
        except OSError as error:
            self._unreadable.add(digest)
            logger.warning("%s", self._disk.refusal(f"read model {digest[:12]}", error))
            return None

    def install(self, files: BundleFiles, origin: str) -> None:
        """Build the version in ``staging/``, in place of what was left there. :meth:`admit` must follow."""
        staged = self._staging / files.digest
        if staged.exists():
            self._disk.discard(staged)
        size = sum(len(part.content) for part in files.parts)
        newest = [each.installed_ns + 1 for each in self.all()[:1]]
        self._disk.make_room(size + ROOM_PER_FILE * (len(files.parts) + 4))
        version = Version(
            digest=files.digest,
            name=files.name,
            iteration=files.iteration,
            labels=None if files.labels is None else len(files.labels),
            size=size,
            installed_ns=min(max([self._now_ns(), *newest]), LATEST_NS),
            origin=origin,
        )
        try:
            self._build(staged, files.parts, version)
        except OSError:
            shutil.rmtree(staged, ignore_errors=True)
            raise

    def _build(self, staged: Path, parts: Iterable[Part], version: Version) -> None:
        folders = {self._disk.folder(staged)}
        for part in parts:
            path = staged / "files" / part.name
            folders.add(self._disk.folder(path.parent))
            self._disk.write(path, part.content)
        for folder in folders:
            self._disk.sync(folder)
        self._disk.write(staged / "version.json", version.model_dump_json(indent=1).encode())
        self._disk.sync(staged)

    def admit(self, digest: str) -> None:
        """Give what was built its place; what had it is replaced."""
        place = self._disk.folder(self.folder) / digest
        away = self._disk.take_away(place) if place.exists() else None
        self._disk.move(self._staging / digest, place)
        self._unreadable.discard(digest)
        if away is not None:
            shutil.rmtree(away)

    def read(self, digest: str) -> BundleFiles:
        """The bundle, its digest proven.

        Raises DamagedVersionError; OSError where the fault is not in the files.
        """
        try:
            files = read_bundle(self.folder / digest / "files")
        except BundleError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in FORBIDDEN | _EXHAUSTED:
                if cause.errno in FORBIDDEN:
                    self._unreadable.add(digest)
                raise cause from None
            raise DamagedVersionError(digest, error.what) from error
        if files.digest != digest:
            raise DamagedVersionError(digest, f"its files are of digest {files.short} now")
        version = self.find(digest)
        return files if version is None else dataclasses.replace(files, name=version.name)

    def holds(self, files: BundleFiles) -> bool:
        """Whether this very bundle is installed undamaged, its signature included where it has one."""
        if self.find(files.digest) is None:
            return False
        try:
            installed = self.read(files.digest)
        except DamagedVersionError as error:
            logger.warning("installed model %s is damaged: %s", files.short, error)
            return False
        return _signature(files) in (b"", _signature(installed))

    def set_aside(self, digest: str, reason: str) -> None:
        """Take a damaged version out of its place, to be looked into; only the newest is kept."""
        self._unreadable.add(digest)  # also where the disk refuses what follows
        for earlier in entries(self._disk.folder(self._damaged)):
            self._disk.discard(earlier)
        kept = self._damaged / digest
        self._disk.move(self.folder / digest, kept)
        told = {"digest": digest, "at_ns": self._now_ns(), "reason": reason}
        self._disk.replace(kept / "reason.json", json.dumps(told).encode())

    def remove(self, digest: str) -> None:
        """Remove it."""
        self._disk.discard(self.folder / digest)

    def tidy(self) -> None:
        """Finish what was built and has no place yet; remove other leftovers, and what was taken away."""
        for staged in entries(self._staging):
            if _record(staged) is not None and self.find(staged.name) is None:
                self.admit(staged.name)
            else:
                self._disk.discard(staged)
        for place in entries(self.folder):
            if not place.is_dir() or place.is_symlink():
                self._disk.discard(place)
            elif self.find(place.name) is None and place.name not in self._unreadable:
                self.set_aside(place.name, "its version.json is missing or damaged")
        self._disk.clear()

    def verdict(self, digest: str, key: str) -> Verdict | None:
        """What was found of the version under the conditions that ``key`` names."""
        try:
            return verdict_from_json(self._verdicts(digest)[key])
        except (KeyError, ProtocolError):
            return None

    def remember_verdict(self, digest: str, key: str, verdict: Verdict) -> None:
        """Keep it beside the version; the newest few are."""
        others = {each: known for each, known in self._verdicts(digest).items() if each != key}
        kept = dict(list({**others, key: verdict.to_json()}.items())[-KEEP_VERDICTS:])
        self._disk.replace(self.folder / digest / "verdicts.json", json.dumps(kept).encode())

    def _verdicts(self, digest: str) -> dict[str, object]:
        with contextlib.suppress(OSError, ValueError, RecursionError):
            found = json.loads(content_of(self.folder / digest / "verdicts.json"))
            if isinstance(found, dict):
                return found
        return {}


def _record(place: Path) -> Version | None:
    """Its version.json, None where it is not whole. Raises OSError where that cannot be read."""
    try:
        version = Version.model_validate_json(content_of(place / "version.json"))
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None
    return version if version.digest == place.name and (place / "files").is_dir() else None


def _signature(files: BundleFiles) -> bytes:
    return b"".join(part.content for part in files.parts if part.role == SIGNATURE)
