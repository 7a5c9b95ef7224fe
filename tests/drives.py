"""Drives that are plugged in and pulled: real file systems, mounted as the udev rule's unit mounts them."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

OPTIONS = "ro,nosuid,nodev,noexec"


class Drive:
    """An ext4 image of what lies in ``content``, or memory where there is no loop device.

    :meth:`plug` mounts it on ``mounts/name``; the end of the ``with`` unmounts it. Skips the test where
    nothing can be mounted.
    """

    def __init__(self, content: Path, mounts: Path, name: str) -> None:
        self.place = mounts / name
        self._content = content
        self._image = mounts.parent / f"{name}.img"

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            pytest.skip("no disk can be mounted here")
        self._image.unlink(missing_ok=True)
        size = f"{8 + 2 * sum(each.stat().st_size for each in self._content.rglob('*')) // (1 << 20)}M"
        _run(["mkfs.ext4", "-q", "-d", str(self._content), str(self._image), size])
        return self

    def __exit__(self, *_: object) -> None:
        if self.place.is_mount():
            self.pull(at_once=True)

    def plug(self) -> None:
        """Mount it."""
        self.place.mkdir(parents=True, exist_ok=True)
        if _run(["mount", "-o", f"loop,{OPTIONS}", str(self._image), str(self.place)]):
            return
        if not _run(["mount", "-t", "tmpfs", "tmpfs", str(self.place)]):
            pytest.skip("no disk can be mounted here")
        shutil.copytree(self._content, self.place, dirs_exist_ok=True)
        _run(["mount", "-o", f"remount,{OPTIONS}", str(self.place)])

    def fail(self) -> None:
        """From now on it cannot be read: its content is gone from under the file system."""
        if "loop" not in _mounted_from(self.place):
            pytest.skip("no loop device can be had here")
        os.truncate(self._image, 0)

    def pull(self, *, at_once: bool = False) -> bool:
        """Unmount it, and remove the folder; whether nobody held on to it, which is not asked ``at_once``."""
        free = _run(["umount", *(["-l"] if at_once else []), str(self.place)])
        if free:
            self.place.rmdir()
        return free


@contextmanager
def hanging(place: Path) -> Iterator[None]:
    """A file system whose driver answers nothing is mounted there: whoever looks at it hangs in the kernel,
    until the end of the ``with``. Skips the test where none can be.
    """
    place.mkdir(parents=True)
    mount = ctypes.CDLL(None, use_errno=True)
    try:
        driver = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        pytest.skip("no file system of our own can be had here")
    try:
        options = f"fd={driver},rootmode=40000,user_id=0,group_id=0".encode()
        if mount.mount(b"hanging", os.fsencode(place), b"fuse", 0, options):
            pytest.skip("no disk can be mounted here")
        yield
    finally:
        os.close(driver)
        _run(["umount", "-l", str(place)])


def _mounted_from(place: Path) -> str:
    command = ["findmnt", "--noheadings", "--output", "SOURCE", str(place)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _run(command: Sequence[str]) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
