"""The Python that the agent runs in."""

from __future__ import annotations

import platform
import struct
import sys

from edge_agent.doctor.findings import Finding

OLDEST = (3, 11)


def look(bits: int = 8 * struct.calcsize("P"), version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """The one finding, ``python``."""
    own = sys.prefix != sys.base_prefix
    where = f"the virtual environment {sys.prefix}" if own else sys.executable
    found = f"Python {'.'.join(map(str, version))}, {bits} bit, {platform.machine()}, in {where}"
    if bits < 64:
        return Finding(
            "python",
            "problem",
            found,
            "there is no TensorFlow Lite runtime for 32 bit any more",
            "write the 64-bit Raspberry Pi OS to the card; a 64-bit kernel alone is not enough",
        )
    if version < OLDEST:
        why = "the agent needs 3.11; Debian 12 and newer have it"
        return Finding("python", "problem", found, why, None, "sudo apt install python3.11 python3.11-venv")
    return Finding("python", "ok", found)
