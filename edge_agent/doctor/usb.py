"""How an Edge TPU is plugged in: how fast its link is, and who may open it. Nothing is opened."""

from __future__ import annotations

import grp
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from edge_agent.bus import IDENTITIES, Stick
from edge_agent.doctor.findings import Finding
from edge_agent.doctor.machine import Machine, entries
from edge_agent.kernel_files import read_number, read_text

USB3_MBPS = 5000

RULES = (
    'SUBSYSTEM=="usb", ATTRS{idVendor}=="1a6e", ATTRS{idProduct}=="089a", MODE="0660", GROUP="plugdev"',
    'SUBSYSTEM=="usb", ATTRS{idVendor}=="18d1", ATTRS{idProduct}=="9302", MODE="0660", GROUP="plugdev"',
    'SUBSYSTEM=="apex", MODE="0660", GROUP="plugdev"',
)
"""Both identities need one: the stick comes back under the other once its firmware is loaded."""

RULES_FILE = "/etc/udev/rules.d/99-edgetpu-accelerator.rules"
_RELOAD = "sudo udevadm control --reload && sudo udevadm trigger"


def look(machine: Machine, stick: Stick) -> Iterator[Finding]:
    """``access`` and, on USB, ``speed``."""
    yield _access(machine, stick)
    if stick.speed_mbps is not None:
        yield _speed(machine, stick, stick.speed_mbps)


def _access(machine: Machine, stick: Stick) -> Finding:
    user = machine.user.name
    if not os.path.lexists(stick.node):
        return Finding(
            "access",
            "problem",
            f"{stick.node} is not there, though the kernel has {stick.path}",
            "libedgetpu opens the stick through it",
            "in a container: pass the whole bus in, for the stick's node changes when its firmware is loaded",
            "docker run -v /dev/bus/usb:/dev/bus/usb --device-cgroup-rule='c 189:* rmw' ..."
            if stick.kind == "usb"
            else f"docker run --device {stick.path} ...",
        )
    if not machine.may_open(stick.node):
        return _closed(machine, stick)
    if not has_rule(machine, stick):
        return Finding(
            "access",
            "note",
            f"{stick.node} is open to {user}, but no udev rule names the stick",
            "another user, such as a service's, may find it closed",
            None,
            write_rules(),
        )
    return Finding("access", "ok", f"{stick.node} is open to {user}")


def _closed(machine: Machine, stick: Stick) -> Finding:
    """Which of the steps to the stick is missing: rule, its effect, membership, login."""
    user = machine.user
    group, mode = _group_and_mode(stick.node)
    found = f"{stick.node} (group {group}, mode {mode:03o}) is closed to {user.name}"
    why = "libedgetpu then lists no device, and does not say why"
    join = f"sudo usermod -aG {group} {shlex.quote(user.name)}"
    if not has_rule(machine, stick):
        member = "" if "plugdev" in user.groups else f" && sudo usermod -aG plugdev {shlex.quote(user.name)}"
        remedy = "then plug the stick in again" + (" and log in again" if member else "")
        return Finding("access", "problem", f"{found}: no udev rule", why, remedy, write_rules() + member)
    if mode & 0o060 != 0o060 or group == "root":
        remedy = "a udev rule is there but without effect yet: afterwards plug the stick in again"
        return Finding("access", "problem", found, why, remedy, _RELOAD)
    if group in user.coming_groups:
        remedy = (
            f"{user.name} was added to {group} after this session began: log in again, restart the service"
        )
        return Finding("access", "problem", found, why, remedy)
    remedy = "then log in again; for a service, restart it"
    return Finding("access", "problem", f"{found}, who is not in it", why, remedy, join)


def has_rule(machine: Machine, stick: Stick) -> bool:
    """Whether any udev rule names this kind of device, under both of its identities."""
    wanted = [vendor for vendor, _ in sorted(IDENTITIES)] if stick.kind == "usb" else ["apex"]
    text = "".join(
        line
        for folder in machine.udev_rules
        for file in entries(folder, "*.rules")
        for line in (read_text(file) or "").splitlines(keepends=True)
        if not line.lstrip().startswith("#") and ("GROUP" in line or "MODE" in line or "uaccess" in line)
    )
    return all(each in text for each in wanted)


def write_rules() -> str:
    """The command that writes the rules and lets them take effect."""
    lines = " ".join(shlex.quote(rule) for rule in RULES)
    return rf"printf '%s\n' {lines} | sudo tee {RULES_FILE} && {_RELOAD}"


def _speed(machine: Machine, stick: Stick, speed_mbps: int) -> Finding:
    if speed_mbps >= USB3_MBPS:
        return Finding("speed", "ok", f"{stick.path}: USB 3, {speed_mbps} Mbit/s")
    found = f"{stick.path}: USB {2 if speed_mbps >= 480 else 1} only, {speed_mbps} Mbit/s"
    why = "an inference takes two to three times as long as over USB 3"
    roots = entries(machine.sys / "bus/usb/devices", "usb[0-9]*")
    if max((read_number(root / "speed") or 0 for root in roots), default=0) < USB3_MBPS:
        return Finding("speed", "note", f"{found}; this board has nothing faster", why)
    remedy = "plug it into a blue port, without a USB 2 hub or extension between, and with its own cable"
    return Finding("speed", "problem", found, why, remedy)


def _group_and_mode(node: Path) -> tuple[str, int]:
    try:
        status = node.stat()
    except OSError:
        return "unknown", 0
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    return group, stat.S_IMODE(status.st_mode)
