"""Which Edge TPUs there are, as libedgetpu tells it in a child."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edge_agent.child import ask
from edge_agent.errors import NoDeviceError, WorkerStartError, ending

LIBRARY = "libedgetpu.so.1"
LIST_TIMEOUT_S = 10.0
"""The library waits up to 6 s for a wedged stick."""

_REPLACE = "install a libedgetpu that fits this system"


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

    def fitting(self, wanted: str) -> tuple[Device, ...]:
        """The devices that ``auto``, ``edgetpu``, ``edgetpu:usb:1`` ... may mean."""
        name = wanted.partition(":")[2]
        return tuple(device for device in self.devices if not name or device.name == name)


def list_devices(library: str = LIBRARY, timeout_s: float = LIST_TIMEOUT_S) -> Listing:
    """Ask libedgetpu in a child; only while no worker of ours holds a device.

    Raises NoDeviceError: the library is missing. WorkerStartError: it ended or outlasted the child.
    """
    leash_s = math.ceil(timeout_s) + 1
    command = [sys.executable, "-P", "-m", "edge_agent.worker.devices", library, str(leash_s)]
    try:
        child = ask(command, timeout_s)
    except subprocess.TimeoutExpired:
        remedy = "unplug the stick and plug it in again"
        raise WorkerStartError(f"{library} lists no devices within {timeout_s:g} s", remedy) from None
    except OSError as error:
        raise WorkerStartError(f"devices cannot be listed: {error}") from error
    if child.returncode != 0:
        what = f"listing devices with {library} ended by {ending(child.returncode)}"
        raise WorkerStartError(what, _REPLACE)
    return _listing_from(child.stdout, library)


def _listing_from(said: bytes, library: str) -> Listing:
    try:
        told = json.loads(said)
        if "error" in told:
            raise _unloadable(library, str(told["error"]))
        counts: dict[str, int] = {}
        devices = []
        for each in told["devices"]:
            kind = str(each["kind"])
            devices.append(Device(kind, counts.get(kind, 0), str(each["path"])))
            counts[kind] = counts.get(kind, 0) + 1
        return Listing(str(told["version"]), tuple(devices))
    except (ValueError, KeyError, TypeError) as error:
        what = f"listing devices with {library} said nothing sensible"
        raise WorkerStartError(what, _REPLACE) from error


def _unloadable(library: str, fault: str) -> NoDeviceError:
    if fault != f"{library}: cannot open shared object file: {os.strerror(errno.ENOENT)}":
        what = f"{library} cannot be loaded ({fault})"
    elif Path(library).is_file():
        # That is how the loader speaks of a file that it passed over.
        what = f"{library} is for another kind of processor"
    else:
        what = f"no {library} is installed"
    return NoDeviceError(what, "install libedgetpu1-std built on TensorFlow 2.19 or newer")
