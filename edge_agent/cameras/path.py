"""A path; what stands there is found when it is opened, for a drive may be mounted later."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edge_agent.cameras.folder import FolderSource
from edge_agent.cameras.settings import CameraSettings
from edge_agent.cameras.source import Picture
from edge_agent.cameras.video import VideoSource
from edge_agent.errors import CameraError
from edge_agent.images import IMAGE_SUFFIXES


class PathSource:
    """A folder of images, an image, or a video."""

    lossless = True
    has_sensor = False
    retry_cap_s = 10.0

    def __init__(self, path: Path, settings: CameraSettings) -> None:
        self._path = path
        self._loop = settings.loop
        self._inner: FolderSource | VideoSource | None = None

    @property
    def unreadable(self) -> int:
        """Pictures that could not be decoded, so far."""
        return 0 if self._inner is None else self._inner.unreadable

    def open(self) -> None:
        """Find out what it is, and open that. Raises CameraError."""
        is_folder = stat.S_ISDIR(_mode(self._path))
        is_image = self._path.suffix.lower() in IMAGE_SUFFIXES
        self._inner = (FolderSource if is_folder or is_image else VideoSource)(self._path, loop=self._loop)
        self._inner.open()

    def grab(self) -> bool:
        """The next image or frame."""
        assert self._inner is not None
        return self._inner.grab()

    def retrieve(self) -> Picture | None:
        """It, decoded, under its file's name."""
        assert self._inner is not None
        return self._inner.retrieve()

    def interrupt(self) -> None:
        """Reading a file cannot be interrupted."""

    def close(self) -> None:
        """Let go of the file."""
        if self._inner is not None:
            self._inner.close()


def _mode(path: Path) -> int:
    """The mode of a file or folder that may be read. Raises CameraError."""
    try:
        # Opening a pipe without O_NONBLOCK may wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        remedy = "check the path and its permissions, and that its drive is mounted"
        raise CameraError(f"cannot read {path}: {reason}", remedy) from error
    try:
        mode = os.fstat(descriptor).st_mode
    finally:
        os.close(descriptor)
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise CameraError(
            f"{path} is neither a file nor a folder", "name a video, an image or a folder of images"
        )
    return mode
