"""How hot the board's chip is."""

from __future__ import annotations

from edge_agent.doctor.findings import Finding
from edge_agent.doctor.machine import Machine
from edge_agent.soc import temperature_c

WARM_C, HOT_C = 70.0, 80.0
"""A Raspberry Pi runs slower from 80 degrees on (a 3B+ from 60), and much slower from 85."""


def look(machine: Machine) -> Finding:
    """The one finding, ``heat``."""
    celsius = temperature_c(machine.sys / "class/thermal/thermal_zone0/temp")
    if celsius is None:
        return Finding("heat", "note", "this machine does not tell its temperature")
    found = f"{celsius:.0f} \N{DEGREE SIGN}C"
    if celsius < WARM_C:
        return Finding("heat", "ok", found)
    why = "from 80 \N{DEGREE SIGN}C on the board runs slower, and wears faster"
    remedy = "cool it: a fan, a heat sink, an open case, a place out of the sun"
    return Finding("heat", "problem" if celsius >= HOT_C else "note", found, why, remedy)
