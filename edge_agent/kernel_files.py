"""The small files that the kernel tells of itself in: sysfs and procfs."""

from __future__ import annotations

import secrets
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_UNTOLD = f"untold-{secrets.token_hex(8)}"


def read_text(path: Path) -> str | None:
    """The stripped text of a file; None where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def boot_id() -> str:
    """Names this boot of the machine; where the kernel does not tell, this process alone has the name."""
    return read_text(BOOT_ID) or _UNTOLD


def read_number(path: Path) -> int | None:
    """The whole number in a file; None where there is none."""
    text = read_text(path) or ""
    return int(text) if text.isascii() and text.isdigit() else None
