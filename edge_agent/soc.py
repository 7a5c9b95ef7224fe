"""What the board says of itself."""

from __future__ import annotations

from pathlib import Path

MODEL = Path("/proc/device-tree/model")

THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")
"""On a Raspberry Pi the only zone, and that of the SoC."""


def temperature_c(path: Path = THERMAL) -> float | None:
    """The SoC's temperature in degrees Celsius; None where the board does not tell."""
    try:
        return int(path.read_text()) / 1000
    except (OSError, ValueError):
        return None


def board(path: Path = MODEL) -> str:
    """The model of a single-board computer, "" for other machines."""
    try:
        return path.read_text(errors="replace").strip(" \0\n")
    except OSError:
        return ""
