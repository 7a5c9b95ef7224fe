"""The system clock: a Raspberry Pi has none that runs without power, up to the 4."""

from __future__ import annotations

from datetime import UTC, datetime

from edge_agent.clock import Clock
from edge_agent.doctor.findings import Finding
from edge_agent.doctor.machine import Machine

FIRST_YEAR = 2026
"""The agent is not older: a clock that says so was never set."""

_SET = "sudo apt install systemd-timesyncd && sudo timedatectl set-ntp true"


def look(machine: Machine, clock: Clock) -> Finding:
    """The one finding, ``clock``."""
    now = datetime.fromtimestamp(clock.wall_ns() // 1_000_000_000, UTC)
    found = f"{now:%Y-%m-%d %H:%M} UTC"
    if now.year < FIRST_YEAR:
        why = "certificates are refused, and what is published says `unsynced`"
        return Finding("clock", "problem", f"{found}: it was never set", why, None, _SET)
    if not machine.is_synchronized():
        why = "what is published says `unsynced`, and may be off by as long as the power was off"
        return Finding("clock", "note", f"{found}, not synchronised", why, None, _SET)
    return Finding("clock", "ok", f"{found}, synchronised")
