"""Edge TPUs as the kernel sees them: what is plugged in, and whether that has changed. Nothing is opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edge_agent.kernel_files import read_number, read_text

SYS = Path("/sys")
DEV = Path("/dev")

IDENTITIES = frozenset({("1a6e", "089a"), ("18d1", "9302")})
"""Vendor and product on USB: before libedgetpu has loaded the firmware, and after."""

USB_PATH = "/sys/bus/usb/devices/"
"""What libedgetpu's name of a stick begins with; the rest is the kernel's: ``2-1.3`` is on bus 2, in the
third port of the hub in the first one.
"""


@dataclass(frozen=True)
class Stick:
    """One Edge TPU: ``kind`` is usb or pci, ``path`` is what libedgetpu calls it (the lock's name comes from
    it), ``node`` is its file under /dev, another one each time that it is plugged in; ``speed_mbps`` is the
    link's, where it has one.
    """

    kind: str
    path: str
    node: Path
    speed_mbps: int | None = None


def sticks(sys_root: Path = SYS, dev_root: Path = DEV) -> list[Stick]:
    """Every Edge TPU on USB or PCI."""
    folder = sys_root / "bus/usb/devices"
    on_usb = (_on_usb(folder / name, dev_root) for name in _names(folder))
    on_pci = (Stick("pci", f"/dev/{name}", dev_root / name) for name in _apex(dev_root))
    return [*(stick for stick in on_usb if stick is not None), *on_pci]


def _on_usb(folder: Path, dev_root: Path) -> Stick | None:
    if (read_text(folder / "idVendor"), read_text(folder / "idProduct")) not in IDENTITIES:
        return None
    bus, device = read_number(folder / "busnum") or 0, read_number(folder / "devnum") or 0
    node = dev_root / f"bus/usb/{bus:03}/{device:03}"
    return Stick("usb", USB_PATH + folder.name, node, read_number(folder / "speed"))


class BusWatch:
    """Tells cheaply, some 100 microseconds a look, that Edge TPUs may have come, gone or become accessible.

    A stick that is plugged in is on the bus a moment before udev lets its group open it, and until then
    libedgetpu lists nothing: that it was opened up is a change as well.
    """

    def __init__(self, sys_root: Path = SYS, dev_root: Path = DEV) -> None:
        self._sys, self._dev = sys_root, dev_root
        self._nodes: tuple[Path, ...] = ()
        self._seen = self._look()
        self._find_nodes()

    def changed(self) -> bool:
        """Whether anything changed since the last call, the first one's being the making of this watch."""
        if self._look() == self._seen:
            return False
        self._find_nodes()
        return True

    def _find_nodes(self) -> None:
        self._nodes = tuple(stick.node for stick in sticks(self._sys, self._dev))
        self._seen = self._look()

    def _look(self) -> tuple[list[str], tuple[bool, ...]]:
        names = _names(self._sys / "bus/usb/devices") + _apex(self._dev)
        return names, tuple(may_open(node) for node in self._nodes)


def may_open(path: Path) -> bool:
    """Whether this process may read and write ``path``; access lists count, as the kernel counts them."""
    return os.access(path, os.R_OK | os.W_OK, effective_ids=True)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208  names alone are wanted, a hundred times a second
    except OSError:
        return []


def _apex(dev_root: Path) -> list[str]:
    return [name for name in _names(dev_root) if name.startswith("apex_") and name[5:].isdigit()]
