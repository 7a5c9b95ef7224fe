"""The supply voltage and the heat of a Raspberry Pi, as its firmware tells them.

Asked for in this order: the program ``vcgencmd``, the firmware's file in sysfs, and the voltage sensor (which
knows of under-voltage only, and only of the last seconds).
"""

from __future__ import annotations

import re
import subprocess

from edge_agent.doctor.findings import Finding
from edge_agent.doctor.machine import Machine, entries
from edge_agent.kernel_files import read_text

SINCE_BOOT = 16
"""A bit so much higher says that it has happened since boot."""

BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
"""Of the firmware's ``get_throttled``."""

UNDER_VOLTAGE = 1 | 1 << SINCE_BOOT
HOT_NOW = 0b1110

FIRMWARE = "devices/platform/soc/soc:firmware/get_throttled"
ASK_TIMEOUT_S = 5.0

_TOLD = re.compile(r"(?:throttled=)?(?:0x)?([0-9a-fA-F]{1,8})")


def look(machine: Machine) -> Finding:
    """The one finding, ``power``."""
    bits = throttled(machine)
    if bits is None:
        return Finding("power", "note", "this machine does not tell of its supply voltage")
    if not bits:
        return Finding("power", "ok", "no under-voltage and no throttling since boot")
    if bits & UNDER_VOLTAGE:
        return Finding(
            "power",
            "problem",
            in_words(bits),
            "a USB stick that gets too little power vanishes in the middle of an inference",
            "use the board's own power supply (Pi 5: 5 A, others: 3 A) with its own cable, or put the stick "
            "on a powered hub; then restart, which resets the record",
        )
    return Finding(
        "power",
        "problem" if bits & HOT_NOW else "note",
        in_words(bits),
        "a hot board runs slower: the CPU prepares every picture, and answers while the stick is away",
        "cool the board: a fan, a heat sink, an open case",
    )


def throttled(machine: Machine) -> int | None:
    """The firmware's bits; None where nothing tells."""
    for told in (_asked(), read_text(machine.sys / FIRMWARE)):
        match = _TOLD.fullmatch(told or "")
        if match:
            return int(match[1], 16)
    alarms = [
        read_text(chip.parent / "in0_lcrit_alarm")
        for chip in entries(machine.sys / "class/hwmon", "hwmon*/name")
        if read_text(chip) == "rpi_volt"
    ]
    known = [alarm for alarm in alarms if alarm in ("0", "1")]
    return int("1" in known) if known else None


def in_words(bits: int) -> str:
    """``under-voltage now; throttled: has happened since boot``; bits without a meaning as a number."""
    now = [word for bit, word in BITS.items() if bits >> bit & 1]
    before = [word for bit, word in BITS.items() if bits >> bit + SINCE_BOOT & 1 and not bits >> bit & 1]
    said = [f"{', '.join(now)} now"] if now else []
    said += [f"{', '.join(before)}: has happened since boot"] if before else []
    return "; ".join(said) or f"0x{bits:x}"


def _asked() -> str | None:
    try:
        child = subprocess.run(
            ["vcgencmd", "get_throttled"],
            capture_output=True,
            check=False,
            timeout=ASK_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return child.stdout.decode(errors="replace").strip() if child.returncode == 0 else None
