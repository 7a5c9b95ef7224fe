"""What the board says of itself."""

from __future__ import annotations

from pathlib import Path

THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")
"""On a Raspberry Pi the only zone, and that of the SoC."""


def temperature_c(path: Path = THERMAL) -> float | None:
    """The SoC's temperature in degrees Celsius; None where the board does not tell."""
    try:
        return int(path.read_text()) / 1000
    except (OSError, ValueError):
        return None
