"""The configured cameras: whether each is there, and may be opened by whom the agent runs as. None is opened,
but for the moment in which a device is asked what it can do.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edge_agent.addresses import PORTS, masked, scheme_of
from edge_agent.cameras.network import reach
from edge_agent.cameras.picamera import PROGRAMS
from edge_agent.cameras.v4l2 import device_path
from edge_agent.doctor import rights
from edge_agent.doctor.findings import Finding
from edge_agent.doctor.machine import Machine, User, holder
from edge_agent.errors import CameraError
from edge_agent.kernel_files import read_text

_BLIND = "the camera is offline, and its labels are unknown"
_LIST = "v4l2-ctl --list-devices"
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))


def look(
    machine: Machine, user: User, sources: Mapping[str, str], *, hides_home: bool = False
) -> Iterator[Finding]:
    """A finding ``camera`` for each of ``sources``, by the camera's name; each begins with that. Files in
    people's folders are not there for an agent that these are hidden from.
    """
    for name, source in sources.items():
        yield _look(machine, user, name, source, _HOMES if hides_home else ())


def _look(machine: Machine, user: User, name: str, source: str, hidden: Sequence[Path]) -> Finding:
    if scheme_of(source) in PORTS:
        return _stream(name, source)
    if source.startswith("scene:"):
        return Finding("camera", "ok", f"{name}: {source} is always there")
    if source.startswith("picamera:"):
        return _camera_module(name, source)
    device = device_path(source)
    if device is not None:
        return _device(machine, user, name, machine.dev / Path(device).relative_to("/dev"))
    if any(Path(source).is_relative_to(each) for each in hidden):
        found = f"{name}: {source} is hidden from the service"
        remedy = "its sandbox hides /home, /root and /run/user: have it elsewhere, such as in /srv"
        return Finding("camera", "problem", found, _BLIND, remedy)
    if os.path.lexists(source):
        return Finding("camera", "ok", f"{name}: {source} is there")
    remedy = "it is waited for; correct the path if it is wrong"
    return Finding("camera", "problem", f"{name}: there is no {source}", _BLIND, remedy)


def _stream(name: str, source: str) -> Finding:
    try:
        reach(source)
    except CameraError as error:
        return Finding(
            "camera", "problem", f"{name}: {error.what}", _BLIND, error.remedy or "see its address"
        )
    return Finding("camera", "ok", f"{name}: {masked(source)} takes connections")


def _camera_module(name: str, source: str) -> Finding:
    if any(shutil.which(program) for program in PROGRAMS):
        return Finding("camera", "ok", f"{name}: {source}, read by {' or '.join(PROGRAMS)}")
    found = f"{name}: there is no {PROGRAMS[0]}"
    return Finding("camera", "problem", found, _BLIND, None, "sudo apt install rpicam-apps")


def _device(machine: Machine, user: User, name: str, node: Path) -> Finding:
    """Whether it is there, a device, open to the user, a camera, and free: in this order."""
    try:
        found = node.stat()
    except OSError:
        remedy = "plug it in; in a container, pass it in (docker run --device); this lists what is there"
        return Finding("camera", "problem", f"{name}: there is no {node}", _BLIND, remedy, _LIST)
    if not machine.is_device(found.st_mode):
        remedy = "something wrote a file in its place: remove that, and plug the camera in again"
        return Finding("camera", "problem", f"{name}: {node} is no device", _BLIND, remedy, f"sudo rm {node}")
    if not rights.may_use(machine, user, node):
        return _closed(user, name, node, found)
    captures = machine.captures(node)
    if captures is False:
        remedy = (
            "a camera has a second device, for its metadata: the first one that this lists has the pictures"
        )
        return Finding("camera", "problem", f"{name}: {node} gives no pictures", _BLIND, remedy, _LIST)
    return _free(machine, name, node)


def _closed(user: User, name: str, node: Path, found: os.stat_result) -> Finding:
    group, mode = rights.group_of(found.st_gid), stat.S_IMODE(found.st_mode)
    said = f"{name}: {node} (group {group}, mode {mode:03o}) is closed to {user.name}"
    fix = f"sudo usermod -aG {group} {shlex.quote(user.name)}"
    if group == "root" or mode & 0o060 != 0o060:
        rule = 'SUBSYSTEM=="video4linux", GROUP="video", MODE="0660"'
        write = f"echo {shlex.quote(rule)} | sudo tee /etc/udev/rules.d/99-cameras.rules"
        fix = f"{write} && sudo udevadm control --reload && sudo udevadm trigger"
    return Finding("camera", "problem", said, _BLIND, "then log in again; for a service, restart it", fix)


def _free(machine: Machine, name: str, node: Path) -> Finding:
    pid = holder(machine, node)
    if pid is None:
        return Finding("camera", "ok", f"{name}: {node} is there, and nobody is seen to have it open")
    program = read_text(machine.proc / str(pid) / "comm") or "unknown"
    said = f"{name}: {node} is in use by pid {pid} ({program})"
    if program == "edge-agent":
        return Finding("camera", "ok", said)
    why = "a camera gives its pictures to one program at a time"
    return Finding(
        "camera", "note", said, why, "end that program, unless it is the agent itself", f"ps -fp {pid}"
    )
