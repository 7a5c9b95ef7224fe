"""Choosing an Edge TPU and making it ours."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from edge_agent.edgetpu.devices import Device, Listing, list_devices
from edge_agent.edgetpu.lock import DeviceLock
from edge_agent.errors import DeviceBusyError, NoDeviceError, WorkerStartError


@dataclass(frozen=True)
class Taken:
    """A device that no other agent opens until close(); ``version`` is what libedgetpu calls itself,
    ``listed`` every device that it saw.
    """

    device: Device
    lock: DeviceLock
    version: str
    listed: tuple[Device, ...]

    def close(self) -> None:
        """Let others have it; once no worker of ours is on it."""
        self.lock.close()


def take(wanted: str, library: str, held: Taken | None = None, locks: Path | None = None) -> Taken:
    """List the devices in a child and lock the first that fits ``wanted`` (as Listing.fitting takes it).

    One that is ``held`` already is kept as long as it is listed, or nothing could be; it is given back where
    another is taken or none can be. ``locks`` is the folder of the locks, None for the machine's. Takes as
    long as the child does; no worker of ours may be on a device meanwhile.

    Raises NoDeviceError: the library or such a device is missing. DeviceBusyError: others hold all that fit.
    WorkerStartError: the devices could not be listed.
    """
    with contextlib.ExitStack() as given_back:
        if held is not None:
            given_back.callback(held.close)
        listing = _list(library, given_back)
        fitting = listing.fitting(wanted)
        if not fitting:
            raise _none_fits(listing, wanted)
        kept = next((device for device in fitting if held and device.path == held.device.path), None)
        if held is not None and kept is not None:
            given_back.pop_all()
            return Taken(kept, held.lock, listing.version, listing.devices)
        device, lock = _lock_one(fitting, locks)
        return Taken(device, lock, listing.version, listing.devices)


def _list(library: str, given_back: contextlib.ExitStack) -> Listing:
    """Raises as list_devices; what is held stays so where libedgetpu hangs or ends over the listing."""
    try:
        return list_devices(library)
    except NoDeviceError:
        raise
    except WorkerStartError:
        given_back.pop_all()
        raise


def _none_fits(listing: Listing, wanted: str) -> NoDeviceError:
    names = ", ".join(device.name for device in listing.devices)
    if not names:
        return NoDeviceError("no Edge TPU is there", 'plug one in; if one is, ask "edge-agent doctor" why')
    name = wanted.partition(":")[2]
    return NoDeviceError(f"no Edge TPU {name} is there, only {names}", "name one of these, or none")


def _lock_one(devices: tuple[Device, ...], locks: Path | None) -> tuple[Device, DeviceLock]:
    busy: DeviceBusyError | None = None
    for device in devices:
        try:
            return device, DeviceLock.acquire(device, locks)
        except DeviceBusyError as error:
            busy = busy or error
    assert busy is not None, "one of no devices cannot be locked"
    raise busy
