"""Where the doctor looks: parameters, so that a folder can pass for a machine."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.bus import may_open


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

    Programs (``vcgencmd``) are found through PATH. ``locks`` is the folder of the device locks; None: where
    every agent has them.
    """

    sys: Path = Path("/sys")
    dev: Path = Path("/dev")
    proc: Path = Path("/proc")
    etc: Path = Path("/etc")
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


def entries(folder: Path, pattern: str) -> list[Path]:
    """What is in ``folder`` by this pattern, sorted; nothing where it cannot be read."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []
