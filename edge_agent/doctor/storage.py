"""Where the agent keeps what must outlive it: whether it may write there, and how worn the card is."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_agent.doctor import rights
from edge_agent.doctor.findings import Finding
from edge_agent.doctor.machine import Machine, User, entries
from edge_agent.kernel_files import read_number, read_text

LITTLE, TIGHT = 100_000_000, 1_000_000_000
"""Bytes: what a full outbox and a model take, and what the kept versions of a large one may."""

PASSING = ("tmpfs", "ramfs", "overlay")
"""File systems of memory, and the layer of a container, or of a card that is kept read-only."""

WORN = 0x0A
"""Of ``life_time``, in steps of ten per cent: nine tenths of the writes that the maker promised are done."""

_CARD = "copy what matters, and replace the card: an industrial one (SLC, pSLC) lasts longest"


@dataclass(frozen=True)
class Mount:
    """A line of /proc/mounts."""

    device: str
    point: str
    kind: str
    options: frozenset[str]


def look(machine: Machine, user: User, state_dir: Path | None) -> Iterator[Finding]:
    """``state`` and ``space`` where there is a ``state_dir``, ``filesystem`` and ``wear`` in any case."""
    if state_dir is not None:
        existing = next(each for each in (state_dir, *state_dir.parents) if os.path.lexists(each))
        yield _state(machine, user, state_dir, existing)
        yield _space(machine, existing)
    yield from _errors(machine)
    yield from _wear(machine)


def mount_of(machine: Machine, path: Path) -> Mount | None:
    """The one that ``path`` lies on."""
    lines = (read_text(machine.proc / "mounts") or "").splitlines()
    fields = [line.split() for line in lines]
    mounts = [
        Mount(each[0], _unescaped(each[1]), each[2], frozenset(each[3].split(",")))
        for each in fields
        if len(each) >= 4
    ]
    over = [each for each in mounts if path.resolve().is_relative_to(each.point)]
    return max(reversed(over), key=lambda each: len(each.point), default=None)


def _unescaped(point: str) -> str:
    """With its spaces, which the kernel writes in octal."""
    return point.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def _state(machine: Machine, user: User, state_dir: Path, existing: Path) -> Finding:
    mount = mount_of(machine, existing)
    kept = "installed models, the outbox and what was paused are kept there"
    if mount is not None and "ro" in mount.options:
        found = f"{state_dir} is on {mount.point}, which may only be read"
        remedy = "after an error the kernel mounts a card read-only: see `filesystem`, and check it"
        again = f"sudo mount -o remount,rw {shlex.quote(mount.point)}"
        return Finding("state", "problem", found, kept, remedy, again)
    if existing == state_dir and not rights.may_use(machine, user, state_dir):
        found = f"{state_dir} may not be written to by {user.name}"
        owner = f"{shlex.quote(user.name)}:"
        return Finding(
            "state", "problem", found, kept, None, f"sudo chown -R {owner} {shlex.quote(str(state_dir))}"
        )
    if mount is not None and mount.kind in PASSING:
        found = f"{state_dir} is on {mount.point} ({mount.kind}), where nothing survives a restart"
        remedy = "put agent.state_dir on a disk; in a container, give it a volume"
        fix = (
            f"docker run -v edge-agent:{shlex.quote(str(state_dir))} ..." if mount.kind == "overlay" else None
        )
        return Finding("state", "problem", found, kept, remedy, fix)
    if existing != state_dir:
        return Finding("state", "note", f"{state_dir} is not there yet: it is made at the start")
    return Finding("state", "ok", f"{state_dir} may be written to by {user.name}")


def _space(machine: Machine, existing: Path) -> Finding:
    free = machine.free_bytes(existing)
    found = f"{free / 1e6:,.0f} MB free at {existing}"
    if free >= TIGHT:
        return Finding("space", "ok", found)
    why = "a model that finds no room is refused, and messages are lost while the broker is away"
    fix = "edge-agent models prune; sudo journalctl --vacuum-size=100M; sudo apt clean"
    return Finding("space", "problem" if free < LITTLE else "note", found, why, None, fix)


def _errors(machine: Machine) -> Iterator[Finding]:
    """Each ext4 that has met errors since it was last checked."""
    for file in entries(machine.sys / "fs/ext4", "*/errors_count"):
        count = read_number(file) or 0
        if count:
            device = file.parent.name
            found = f"/dev/{device}: {count} errors of the file system"
            why = "the card or disk loses data, and may be mounted read-only at any time"
            remedy = f"the file system is checked at the next start with fsck.mode=force; {_CARD}"
            yield Finding("filesystem", "problem", found, why, remedy, "sudo journalctl -k -g EXT4-fs")


def _wear(machine: Machine) -> Iterator[Finding]:
    """Each card or eMMC that tells how worn it is; most SD cards do not."""
    for block in entries(machine.sys / "block", "mmcblk[0-9]*"):
        lives = [_hexadecimal(each) for each in (read_text(block / "device/life_time") or "").split()]
        if not lives:
            continue
        used = max(lives)
        spent = "more than 100" if used > WORN else f"{max(used - 1, 0) * 10} to {used * 10}"
        found = f"/dev/{block.name}: {spent} % of its writes are used"
        if used >= WORN or _hexadecimal(read_text(block / "device/pre_eol_info") or "") > 1:
            why = "a worn card fails without a warning"
            yield Finding("wear", "problem", found, why, _CARD)
        else:
            yield Finding("wear", "ok", found)


def _hexadecimal(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0
