"""Edge TPUs: which there are, and who may open one.

libedgetpu is asked in a child, for it may end the process that asks; and only by whoever holds the lock, for
a second process on a stick ends the first one's.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from edge_agent.errors import DeviceBusyError, WorkerStartError, ending

LIBRARY = "libedgetpu.so.1"
LIST_TIMEOUT_S = 10.0
"""The library waits up to 6 s for a wedged stick."""


@dataclass(frozen=True)
class Device:
    """One Edge TPU: ``kind`` is usb or pci, ``index`` counts per kind, ``path`` is the system's name."""

    kind: str
    index: int
    path: str

    @property
    def name(self) -> str:
        """As configuration and delegate take it: ``usb:0``."""
        return f"{self.kind}:{self.index}"


@dataclass(frozen=True)
class Listing:
    """What libedgetpu says of itself and of the devices that it sees."""

    version: str
    devices: tuple[Device, ...]

    def choose(self, wanted: str) -> Device | None:
        """The device for ``auto``, ``edgetpu``, ``edgetpu:usb:1`` ...: the first that fits, or None."""
        name = wanted.partition(":")[2]
        return next((device for device in self.devices if not name or device.name == name), None)


def list_devices(library: str = LIBRARY) -> Listing:
    """Ask libedgetpu in a child; only while no worker of ours holds a device.

    Raises WorkerStartError: the library is missing, or it ended or outlasted the child.
    """
    command = [sys.executable, "-P", "-m", "edge_agent.worker.devices", library]
    try:
        child = subprocess.run(command, capture_output=True, check=False, timeout=LIST_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        remedy = "unplug the stick and plug it in again"
        raise WorkerStartError(f"{library} lists no devices within {LIST_TIMEOUT_S:.0f} s", remedy) from None
    if child.returncode != 0:
        remedy = "install a libedgetpu that fits this system"
        raise WorkerStartError(f"listing devices with {library} ended by {ending(child.returncode)}", remedy)
    return _listing_from(child.stdout, library)


def _listing_from(said: bytes, library: str) -> Listing:
    try:
        told = json.loads(said)
        if "error" in told:
            raise WorkerStartError(
                f"{library} cannot be loaded ({told['error']})",
                "install libedgetpu1-std from Coral or a fork of it",
            )
        counts: dict[str, int] = {}
        devices = []
        for each in told["devices"]:
            kind = str(each["kind"])
            devices.append(Device(kind, counts.get(kind, 0), str(each["path"])))
            counts[kind] = counts.get(kind, 0) + 1
        return Listing(str(told["version"]), tuple(devices))
    except (ValueError, KeyError, TypeError) as error:
        raise WorkerStartError(f"listing devices with {library} said nothing sensible") from error


def lock_folder() -> Path:
    """Where every agent on this machine looks for locks: /run/lock, else the folder for temporary files."""
    run = Path("/run/lock")
    return run if os.access(run, os.W_OK) else Path(tempfile.gettempdir())


def _open_shared(path: Path) -> int:
    """Open a lock file that every user of the machine may open. Raises OSError."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        # First without O_CREAT: in a sticky folder the kernel refuses it for another user's file.
        return os.open(path, flags)
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_CREAT, 0o666)
        os.fchmod(descriptor, 0o666)  # whatever the umask says
        return descriptor


class DeviceLock:
    """The right to open one device; given back by close(), or by the end of the process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, device: Device, folder: Path | None = None) -> Self:
        """Take the lock of ``device``. Raises DeviceBusyError, naming who has it."""
        name = "".join(letter if letter.isalnum() else "-" for letter in device.path or device.name)
        path = (folder or lock_folder()) / f"edge-agent-{name.strip('-')}.lock"
        try:
            descriptor = _open_shared(path)
        except OSError as error:
            raise DeviceBusyError(device.name, None, f"{path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise DeviceBusyError(device.name, int(holder) if holder.isdigit() else None) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(path, descriptor)

    def close(self) -> None:
        """Give it back; the file stays, for removing it would let two hold it."""
        os.close(self._descriptor)


def delegate_options(device: Device, performance: str) -> Sequence[tuple[str, str]]:
    """What libedgetpu's plugin is given: it honours ``Performance`` for a device named by index only."""
    return (("device", device.name), ("Performance", performance))
