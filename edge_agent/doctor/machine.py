"""Where the doctor looks: parameters, so that a folder can pass for a machine."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.bus import may_open
from edge_agent.cameras.v4l2 import captures
from edge_agent.clock import SystemClock


@dataclass(frozen=True)
class User:
    """Who asks. ``groups`` hold in this session; ``coming_groups`` from the next login on."""

    name: str
    groups: frozenset[str]
    coming_groups: frozenset[str] = frozenset()


def current_user() -> User:
    """The user of this process; numbers stand for names that the system does not know."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    groups = frozenset(_group_name(gid) for gid in {os.getegid(), *os.getgroups()})
    listed = frozenset(group.gr_name for group in grp.getgrall() if name in group.gr_mem)
    return User(name, groups, listed - groups)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


@dataclass(frozen=True)
class Machine:
    """The folders that the kernel and the system tell of themselves in, and who asks.

    Programs (``vcgencmd``, ``systemctl``) are found through PATH. ``locks`` is the folder of the device
    locks; None: where every agent has them.
    """

    sys: Path = Path("/sys")
    dev: Path = Path("/dev")
    proc: Path = Path("/proc")
    etc: Path = Path("/etc")
    run: Path = Path("/run")
    udev_rules: tuple[Path, ...] = (
        Path("/etc/udev/rules.d"),
        Path("/run/udev/rules.d"),
        Path("/usr/local/lib/udev/rules.d"),
        Path("/usr/lib/udev/rules.d"),
        Path("/lib/udev/rules.d"),
    )
    locks: Path | None = None
    user: User = field(default_factory=current_user)
    may_open: Callable[[Path], bool] = may_open
    is_device: Callable[[int], bool] = stat.S_ISCHR
    captures: Callable[[Path], bool | None] = captures
    is_synchronized: Callable[[], bool] = field(default_factory=lambda: SystemClock().is_synced)
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free


def holder(machine: Machine, node: Path) -> int | None:
    """A process that has the node open, so far as this user may see it."""
    target = os.path.realpath(node)
    for process in entries(machine.proc, "[0-9]*"):
        for descriptor in entries(process / "fd", "*"):
            with contextlib.suppress(OSError):
                if str(descriptor.readlink()) == target:
                    return int(process.name)
    return None


def entries(folder: Path, pattern: str) -> list[Path]:
    """What is in ``folder`` by this pattern, sorted; nothing where it cannot be read."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []
