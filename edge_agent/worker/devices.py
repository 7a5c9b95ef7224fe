"""Which Edge TPUs libedgetpu sees, as JSON on stdout: asked in a child, for the library may end its process.

Run it only while no worker holds a device: listing opens the USB bus. Runs on Python 3.9.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any, Dict, List

from edge_agent.worker import leash

KINDS = {0: "pci", 1: "usb"}
"""EDGETPU_APEX_PCI and EDGETPU_APEX_USB of edgetpu_c.h."""


class _Device(ctypes.Structure):
    """``struct edgetpu_device`` of edgetpu_c.h."""

    _fields_ = [("type", ctypes.c_int), ("path", ctypes.c_char_p)]


def list_devices(library: str) -> Dict[str, Any]:
    """The library's version, and kind and path of each device, in the order of its indices per kind.

    Raises OSError where the library cannot be loaded.
    """
    edgetpu = ctypes.CDLL(library)
    edgetpu.edgetpu_version.restype = ctypes.c_char_p
    edgetpu.edgetpu_list_devices.restype = ctypes.POINTER(_Device)
    edgetpu.edgetpu_list_devices.argtypes = [ctypes.POINTER(ctypes.c_size_t)]
    edgetpu.edgetpu_free_devices.argtypes = [ctypes.POINTER(_Device)]
    count = ctypes.c_size_t(0)
    devices = edgetpu.edgetpu_list_devices(ctypes.byref(count))
    found: List[Dict[str, str]] = [
        {
            "kind": KINDS.get(devices[i].type, "unknown"),
            "path": (devices[i].path or b"").decode(errors="replace"),
        }
        for i in range(count.value)
    ]
    if devices:
        edgetpu.edgetpu_free_devices(devices)
    return {"version": (edgetpu.edgetpu_version() or b"").decode(errors="replace"), "devices": found}


def main(library: str, seconds: int) -> int:
    """Print what there is, or the reason why nothing can be told; at most so long."""
    leash.put_on(seconds)
    try:
        said = list_devices(library)
    except (OSError, AttributeError) as error:
        said = {"error": str(error)}
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
