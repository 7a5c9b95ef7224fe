"""The agent as a system service: whether it runs, how it ended, and as whom."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from edge_agent.child import ask as ask_program
from edge_agent.doctor import rights
from edge_agent.doctor.findings import Finding
from edge_agent.doctor.machine import Machine, User

UNIT = "edge-agent.service"
ASK_TIMEOUT_S = 10.0
OFTEN = 3
"""So many restarts since it was started are no accident."""

BAD_CONFIG = "78"
"""The agent's exit code for a configuration that cannot be used: systemd does not try again."""

_ASKED = (
    *("LoadState", "ActiveState", "SubState", "UnitFileState", "NRestarts", "Result", "ExecMainStatus"),
    *("User", "SupplementaryGroups", "ProtectHome"),
)
_LOG = f"journalctl -u {UNIT} -n 50 --no-pager"

Properties = Mapping[str, str]


def ask(machine: Machine) -> Properties | None:
    """What systemd knows of the unit; None where no systemd runs, or it does not know it."""
    if not (machine.run / "systemd" / "system").is_dir():
        return None
    try:
        child = ask_program(["systemctl", "show", UNIT, f"--property={','.join(_ASKED)}"], ASK_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = child.stdout.decode(errors="replace").splitlines()
    told = dict(line.partition("=")[::2] for line in lines)
    return told if told.get("LoadState") == "loaded" else None


def user_of(machine: Machine, unit: Properties | None) -> User:
    """Whom the service runs as, else who asks."""
    name = (unit or {}).get("User", "")
    groups = frozenset((unit or {}).get("SupplementaryGroups", "").split())
    return (rights.named(name, groups) if name else None) or machine.user


def hides_home(unit: Properties | None) -> bool:
    """Whether the service sees nothing of /home, /root and /run/user."""
    return (unit or {}).get("ProtectHome") in ("yes", "tmpfs")


def look(unit: Properties | None) -> Finding:
    """The one finding, ``service``."""
    if unit is None:
        return Finding("service", "note", f"there is no {UNIT} here: the agent is started in another way")
    state, boots = unit.get("ActiveState", ""), unit.get("UnitFileState", "")
    found = f"{UNIT} is {state} ({unit.get('SubState', '')}), {boots or 'not enabled'}"
    if state == "failed":
        return _failed(unit, found)
    if state not in ("active", "activating", "reloading"):
        return Finding("service", "problem", found, "nobody looks", None, f"sudo systemctl start {UNIT}")
    restarts = unit.get("NRestarts", "0")
    if restarts.isdigit() and int(restarts) >= OFTEN:
        found += f", and was started again {restarts} times"
        return Finding("service", "problem", found, "something ends it again and again", None, _LOG)
    if boots == "disabled":
        why = "after a power cut nobody looks"
        return Finding("service", "problem", found, why, None, f"sudo systemctl enable {UNIT}")
    return Finding("service", "ok", found)


def _failed(unit: Properties, found: str) -> Finding:
    status = unit.get("ExecMainStatus", "0")
    if status == BAD_CONFIG:
        why = "its configuration cannot be used, so it is not started again by itself"
        fix = f"edge-agent check; sudo systemctl restart {UNIT}"
        return Finding(
            "service", "problem", f"{found}: exit code {status}", why, "correct what check says", fix
        )
    found += f": {unit.get('Result', 'unknown')}, exit code {status}"
    why = "it is not started again by itself any more"
    remedy = f"the log says why; afterwards: sudo systemctl reset-failed {UNIT}, and start it"
    return Finding("service", "problem", found, why, remedy, _LOG)
