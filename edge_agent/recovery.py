"""What is done about an Edge TPU that fails: the rungs of a ladder, and the pauses between them.

Which rung, and after how long, is decided by pure functions; ``climb`` acts.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from edge_agent.bus import DEV, SYS, USB_PATH, sticks
from edge_agent.child import ask
from edge_agent.errors import RecoveryError, ending, one_line

RETURN_LOOK_S = 0.05

_SBIN = "/usr/sbin:/sbin"
"""Where Debian has uhubctl; a user's PATH does not lead there."""


class Rung(Enum):
    """What precedes the next worker: nothing, a reset of the stick, its port without power for a while."""

    RESPAWN = "respawn"
    USB_RESET = "usb-reset"
    POWER_CYCLE = "power-cycle"


@dataclass(frozen=True)
class Ladder:
    """How often each rung is tried in a row, and the pauses between.

    ``power_cycles`` is for hubs that switch each port by itself: a Raspberry Pi 4 has one switch for all, so
    that a camera or the boot drive on USB would lose power too.
    ``backoff_s`` is the first pause, ``backoff_max_s`` the longest; a stick that served for ``stable_s`` has
    its failures forgotten.
    """

    respawns: int = 2
    usb_resets: int = 2
    power_cycles: int = 0
    backoff_s: float = 1.0
    backoff_max_s: float = 300.0
    stable_s: float = 60.0


@dataclass(frozen=True)
class Bounds:
    """How long a rung may take at most.

    ``reset_s``: the kernel tries a port's reset five times over, and waits up to 5 s for a device that says
    nothing. ``switch_s``: uhubctl leaves the port without power for 2 s, and asks every hub and its devices
    before and after. ``return_s``: between power, or a reset, and being on the bus lie 1 to 3 s.
    """

    reset_s: float = 15.0
    switch_s: float = 30.0
    return_s: float = 10.0


BOUNDS = Bounds()


def rung_for(step: int, ladder: Ladder) -> Rung:
    """The rung after ``step`` further failures in a row: 0 after the first one.

    After the last rung the ladder begins again; where every rung is left out a new worker is all that is
    tried.
    """
    rungs = (
        [Rung.RESPAWN] * ladder.respawns
        + [Rung.USB_RESET] * ladder.usb_resets
        + [Rung.POWER_CYCLE] * ladder.power_cycles
    )
    return rungs[step % len(rungs)] if rungs else Rung.RESPAWN


def delay_s(failures: int, ladder: Ladder, jitter: float) -> float:
    """How long to wait after that many failures in a row: not at all after the first, then doubling from
    ``backoff_s`` to the cap; ``jitter`` in 0..1 spreads it over 80 to 120 %.
    """
    if failures <= 1:
        return 0.0
    doubled = ladder.backoff_s * 2.0 ** min(failures - 2, 30)
    return min(ladder.backoff_max_s, doubled) * (0.8 + 0.4 * jitter)


def climb(
    rung: Rung,
    path: str,
    sys_root: Path = SYS,
    dev_root: Path = DEV,
    bounds: Bounds = BOUNDS,
) -> None:
    """Do what ``rung`` says to the device that libedgetpu calls ``path``, and wait until it is back.

    No process may have it open; its lock should be held. Takes a minute at most. On a machine: the ioctl
    USBDEVFS_RESET on the node below ``dev_root``, and the program uhubctl; the bus is watched below
    ``sys_root``. A test stands in for all three: folders for the roots, a program of that name on PATH, and
    for the kernel's answer to the ioctl a library that the child loads first.

    Raises RecoveryError: it is not permitted, not possible, or the device did not come back.
    """
    if rung is Rung.RESPAWN:
        return
    if not path.startswith(USB_PATH):
        what = f"{path} is not on USB: it can be neither reset nor switched off"
        raise RecoveryError(what, "restart the machine if new workers do not help")
    before = _nodes(sys_root, dev_root)
    if rung is Rung.USB_RESET:
        if _reset(path, sys_root, dev_root, bounds.reset_s):
            return
    else:
        _power_cycle(path.removeprefix(USB_PATH), bounds.switch_s)
    end_s = time.monotonic() + bounds.return_s
    while not _nodes(sys_root, dev_root) - before:
        if time.monotonic() > end_s:
            what = f"{path} did not come back within {bounds.return_s:g} s of a {rung.value}"
            raise RecoveryError(what, "plug the stick in again")
        time.sleep(RETURN_LOOK_S)


def _nodes(sys_root: Path, dev_root: Path) -> set[Path]:
    """The nodes of the sticks: one that left the bus comes back with another number, maybe on another bus."""
    return {stick.node for stick in sticks(sys_root, dev_root) if stick.kind == "usb"}


def _reset(path: str, sys_root: Path, dev_root: Path, timeout_s: float) -> bool:
    """Reset the stick; whether it stayed on the bus. Without its firmware it comes back as another device."""
    stick = next((stick for stick in sticks(sys_root, dev_root) if stick.path == path), None)
    if stick is None:
        raise RecoveryError(f"{path} has left the bus and cannot be reset", "plug the stick in again")
    leash_s = math.ceil(timeout_s) + 1
    command = [sys.executable, "-P", "-m", "edge_agent.worker.usb_reset", str(stick.node), str(leash_s)]
    code, said, _ = _run(command, timeout_s, f"the reset of {stick.node}")
    if code == 0:
        return True
    try:
        told = json.loads(said)
        failed, number = str(told["failed"]), int(told["errno"])
    except (ValueError, KeyError, TypeError):
        raise RecoveryError(f"the reset of {stick.node} ended by {ending(code)}") from None
    if failed == "reset" and number == errno.ENODEV:
        return False
    if number in (errno.EACCES, errno.EPERM):
        what = f"not permitted to reset {stick.node}"
        raise RecoveryError(what, "edge-agent doctor names the udev rule that opens it to this user")
    raise RecoveryError(f"the reset of {stick.node} failed: {os.strerror(number)}", "plug the stick in again")


def _power_cycle(name: str, timeout_s: float) -> None:
    """Have uhubctl switch the port of the device ``name`` (the kernel's: 2-1.3) off and on."""
    hub, port = hub_and_port(name)
    program = shutil.which("uhubctl", path=f"{os.environ.get('PATH', os.defpath)}:{_SBIN}")
    if program is None:
        what = f"port {port} of USB hub {hub} cannot be switched: uhubctl is not installed"
        raise RecoveryError(what, "sudo apt-get install uhubctl, or set inference.recovery.power_cycles to 0")
    command = [program, "-l", hub, "-p", port, "-a", "cycle"]
    code, said, complained = _run(command, timeout_s, f"uhubctl -l {hub} -p {port}")
    words = (complained + said).lower()
    # uhubctl ends by 0 even where a hub refused: it only says so.
    if code == 0 and b"failed to control port power" not in complained.lower():
        return
    if b"permission" in words:
        what = f"uhubctl is not permitted to switch port {port} of USB hub {hub}"
        remedy = (
            "give this user leave to: https://github.com/mvp/uhubctl/blob/master/udev/rules.d/52-usb.rules"
        )
        raise RecoveryError(what, remedy)
    if b"no compatible" in words:
        what = f"USB hub {hub} cannot switch its port {port}"
        remedy = "put the stick on a hub that uhubctl lists, or set inference.recovery.power_cycles to 0"
        raise RecoveryError(what, remedy)
    complaint = one_line(complained.decode(errors="replace"))[:200] or ending(code)
    raise RecoveryError(f"uhubctl could not switch port {port} of USB hub {hub}: {complaint}")


def hub_and_port(name: str) -> tuple[str, str]:
    """The hub that a USB device is plugged into, and the port, as uhubctl takes them: 2-1.3 is in port 3 of
    hub 2-1, 2-1 in port 1 of hub 2.
    """
    hub, dot, port = name.rpartition(".")
    return (hub, port) if dot else (name.partition("-")[0], name.partition("-")[2])


def _run(command: list[str], timeout_s: float, doing: str) -> tuple[int, bytes, bytes]:
    """Exit code, stdout and stderr. Raises RecoveryError: it did not end, or could not be started."""
    try:
        child = ask(command, timeout_s)
    except subprocess.TimeoutExpired:
        what = f"{doing} did not end within {timeout_s:g} s"
        raise RecoveryError(what, "plug the stick in again, else restart the machine") from None
    except OSError as error:
        raise RecoveryError(f"{doing} could not be started: {error}") from error
    return child.returncode, child.stdout, child.stderr
