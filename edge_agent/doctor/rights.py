"""What the user that the agent runs as may do, told from owner, group and mode."""

from __future__ import annotations

import grp
import pwd
import stat
from pathlib import Path

from edge_agent.doctor.machine import Machine, User


def may_use(machine: Machine, user: User, path: Path) -> bool:
    """Whether ``user`` may read and write ``path``; access lists count only for who asks."""
    if user == machine.user or user.name == "root":
        return user.name == "root" or machine.may_open(path)
    try:
        found = path.stat()
    except OSError:
        return False
    shift = 6 if owner_of(found.st_uid) == user.name else 3 if group_of(found.st_gid) in user.groups else 0
    return stat.S_IMODE(found.st_mode) >> shift & 0o6 == 0o6


def named(name: str, more_groups: frozenset[str] = frozenset()) -> User | None:
    """The user of this name with its groups, and those that its service adds; None where there is none."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    listed = frozenset(group.gr_name for group in grp.getgrall() if name in group.gr_mem)
    return User(name, listed | more_groups | {group_of(entry.pw_gid)})


def owner_of(uid: int) -> str:
    """The user's name, else the number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_of(gid: int) -> str:
    """The group's name, else the number."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
