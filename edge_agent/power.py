"""The supply voltage and the heat of a Raspberry Pi, as its firmware tells them.

Asked for in this order: the program ``vcgencmd``, the firmware's file in sysfs, and the voltage sensor (which
knows of under-voltage only, and only of the last seconds).
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edge_agent.child import ask
from edge_agent.kernel_files import read_text

SYS = Path("/sys")

FIRMWARE = "devices/platform/soc/soc:firmware/get_throttled"

ASK_TIMEOUT_S = 5.0

SINCE_BOOT = 16
"""A bit so much higher says that it has happened since boot."""

BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
"""Of the firmware's ``get_throttled``."""

UNDER_VOLTAGE = 1 | 1 << SINCE_BOOT
SLOWED_NOW = 0b1110

FEED = (
    "use the board's own power supply (Pi 5: 5 A, others: 3 A) with its own cable, or put the stick "
    "on a powered hub"
)
COOL = "cool the board: a fan, a heat sink, an open case"

_TOLD = re.compile(r"(?:throttled=)?(?:0x)?([0-9a-fA-F]{1,8})")


@dataclass(frozen=True)
class Power:
    """The firmware's ``bits``."""

    bits: int

    @property
    def now(self) -> tuple[str, ...]:
        """What is wrong at the moment, in words."""
        return _words(self.bits)

    @property
    def since_boot(self) -> tuple[str, ...]:
        """What is or was wrong, in words."""
        return _words(self.bits | self.bits >> SINCE_BOOT)

    @property
    def slowed(self) -> bool:
        """Whether the board runs slower than it could, at the moment."""
        return bool(self.bits & SLOWED_NOW)

    @property
    def fault(self) -> str | None:
        """What is wrong at the moment, with its remedy."""
        if not self.now:
            return None
        return f"{', '.join(self.now)}; {FEED if self.bits & 1 else COOL}"

    def __str__(self) -> str:
        """``under-voltage now; throttled: has happened since boot``; bits without a meaning as a number."""
        before = [word for word in self.since_boot if word not in self.now]
        said = [f"{', '.join(self.now)} now"] if self.now else []
        said += [f"{', '.join(before)}: has happened since boot"] if before else []
        return "; ".join(said) or f"0x{self.bits:x}"


def power(sys: Path = SYS) -> Power | None:
    """None where nothing tells. Blocks for ``ASK_TIMEOUT_S`` at most."""
    for told in (_asked(), read_text(sys / FIRMWARE)):
        match = _TOLD.fullmatch(told or "")
        if match:
            return Power(int(match[1], 16))
    try:
        chips = sorted((sys / "class/hwmon").glob("hwmon*/name"))
    except OSError:
        return None
    alarms = [read_text(chip.parent / "in0_lcrit_alarm") for chip in chips if read_text(chip) == "rpi_volt"]
    known = [alarm for alarm in alarms if alarm in ("0", "1")]
    return Power(int("1" in known)) if known else None


def _words(bits: int) -> tuple[str, ...]:
    return tuple(word for bit, word in BITS.items() if bits >> bit & 1)


def _asked() -> str | None:
    try:
        child = ask(["vcgencmd", "get_throttled"], ASK_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return child.stdout.decode(errors="replace").strip() if child.returncode == 0 else None
