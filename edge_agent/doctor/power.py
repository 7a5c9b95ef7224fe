"""Whether the board gets enough power, and keeps cool."""

from __future__ import annotations

from edge_agent.doctor.findings import Finding
from edge_agent.doctor.machine import Machine
from edge_agent.power import COOL, FEED, UNDER_VOLTAGE, power


def look(machine: Machine) -> Finding:
    """The one finding, ``power``."""
    told = power(machine.sys)
    if told is None:
        return Finding("power", "note", "this machine does not tell of its supply voltage")
    if not told.bits:
        return Finding("power", "ok", "no under-voltage and no throttling since boot")
    if told.bits & UNDER_VOLTAGE:
        return Finding(
            "power",
            "problem",
            str(told),
            "a USB stick that gets too little power vanishes in the middle of an inference",
            f"{FEED}; then restart, which resets the record",
        )
    return Finding(
        "power",
        "problem" if told.slowed else "note",
        str(told),
        "a hot board runs slower: the CPU prepares every picture, and answers while the stick is away",
        COOL,
    )
