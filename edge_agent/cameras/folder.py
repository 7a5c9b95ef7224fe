"""A folder of images, or one image: each of them once, in the order of their names."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from edge_agent.cameras.source import Picture
from edge_agent.errors import CameraError, ImageError
from edge_agent.images import IMAGE_SUFFIXES, read_image

logger = logging.getLogger(__name__)

_DIGITS = re.compile(r"([0-9]+)")


class FolderSource:
    """The images of one folder, not of folders in it; listed anew at each turn of a loop."""

    lossless = True
    has_sensor = False
    retry_cap_s = 10.0

    def __init__(self, path: Path, *, loop: bool) -> None:
        """``path``: a folder, or an image."""
        self.unreadable = 0
        self._path = path
        self._loop = loop
        self._waiting: list[Path] = []
        self._current: Path | None = None
        self._read_in_turn = 0
        self._told: set[Path] = set()

    def open(self) -> None:
        """List the folder. Raises CameraError when it holds no image."""
        self._waiting = images_at(self._path)[::-1]
        self._read_in_turn = 0

    def grab(self) -> bool:
        """Go on to the next image."""
        if not self._waiting:
            if not self._read_in_turn:
                raise CameraError(f"none of the images in {self._path} can be read", "put images there")
            if not self._loop:
                return False
            self.open()
        self._current = self._waiting.pop()
        return True

    def retrieve(self) -> Picture | None:
        """Read it; one that cannot be read is told, counted and passed over."""
        assert self._current is not None
        try:
            pixels = read_image(self._current)
        except ImageError as error:
            self._pass_over(self._current, error)
            return None
        self._read_in_turn += 1
        return Picture(pixels, self._current.name)

    def interrupt(self) -> None:
        """Reading a file cannot be interrupted."""

    def close(self) -> None:
        """Nothing is held."""

    def _pass_over(self, image: Path, error: ImageError) -> None:
        if not self._path.exists():
            raise CameraError(f"{self._path} is gone", "mount or connect it again") from error
        self.unreadable += 1
        level = logging.DEBUG if image in self._told else logging.WARNING
        self._told.add(image)
        logger.log(level, "passed over: %s", error)


def images_at(path: Path) -> list[Path]:
    """The images of a folder as people number them, 2 before 10; or the one image. Raises CameraError."""
    try:
        found = [path] if path.is_file() else [entry for entry in path.iterdir() if _is_image(entry)]
    except OSError as error:
        raise CameraError(
            f"cannot list {path}: {error.strerror}", "check that it is there and may be read"
        ) from error
    if not found:
        raise CameraError(f"no images in {path}", f"put images there: {', '.join(sorted(IMAGE_SUFFIXES))}")
    return sorted(found, key=lambda image: natural_key(image.name))


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """To sort by: numbers by value, letters without regard to case, then the name itself."""
    parts = _DIGITS.split(name.casefold())
    return [
        (int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in parts if part
    ], name


def _is_image(entry: Path) -> bool:
    return entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".") and entry.is_file()
