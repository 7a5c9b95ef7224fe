"""The small files that the kernel tells of itself in: sysfs and procfs."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path) -> str | None:
    """The stripped text of a file; None where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def boot_id() -> str:
    """Names this boot of the machine; "" where the kernel does not tell."""
    return read_text(Path("/proc/sys/kernel/random/boot_id")) or ""


def read_number(path: Path) -> int | None:
    """The whole number in a file; None where there is none."""
    text = read_text(path) or ""
    return int(text) if text.isascii() and text.isdigit() else None
