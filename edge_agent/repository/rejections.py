"""Which bundles may not serve, and why, in plain words: a file for each."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from edge_agent.repository.disk import Disk, content_of, entries
from edge_agent.repository.records import Rejection

KEEP_REJECTIONS = 50


class Rejections:
    """The newest refusals of a slot. Methods raise OSError where the disk refuses."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._folder = disk.root / "rejected"

    def all(self) -> list[Rejection]:
        """Newest first."""
        found = [refusal for path in entries(self._folder) if (refusal := _read(path)) is not None]
        return sorted(found, key=lambda refusal: refusal.at_ns, reverse=True)

    def find(self, digest: str) -> Rejection | None:
        """That of a digest."""
        return _read(self._folder / f"{digest}.json")

    def add(self, refusal: Rejection) -> None:
        """Write it down, and forget the oldest ones."""
        path = self._disk.folder(self._folder) / f"{refusal.digest}.json"
        self._disk.replace(path, refusal.model_dump_json(indent=1).encode())
        kept = {f"{each.digest}.json" for each in self.all()[:KEEP_REJECTIONS]}
        for path in entries(self._folder):
            if path.name not in kept:
                path.unlink()

    def remove(self, digest: str) -> None:
        """It may serve after all."""
        (self._folder / f"{digest}.json").unlink(missing_ok=True)


def _read(path: Path) -> Rejection | None:
    try:
        refusal = Rejection.model_validate_json(content_of(path))
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None
    return refusal if path.name == f"{refusal.digest}.json" else None
