"""Libedgetpu as a file: whether it can be loaded, and how to get one. No device is opened."""

from __future__ import annotations

import json
import subprocess
import sys

from edge_agent.doctor.findings import Finding, Level
from edge_agent.doctor.machine import Machine
from edge_agent.errors import ending
from edge_agent.kernel_files import read_text

BUILD = ("16.0TF2.19.1-1", "16.0tf2.19.1-1")
"""A rebuild of libedgetpu on a TensorFlow of today, by its release and its package version. Google's own
package is of 2021 and fails with every runtime since 2.12 (google-coral/edgetpu#812).
"""

BUILT_FOR = ("bookworm", "trixie")
"""Debian releases, Raspberry Pi OS included, that there are packages for."""

RELEASES = "https://github.com/feranick/libedgetpu/releases"
LOAD_TIMEOUT_S = 20.0

_LOAD = """
import ctypes, json, sys
try:
    library = ctypes.CDLL(sys.argv[1])
    library.edgetpu_version.restype = ctypes.c_char_p
    print(json.dumps({"version": (library.edgetpu_version() or b"").decode(errors="replace")}))
except (OSError, AttributeError) as error:
    print(json.dumps({"error": str(error)}))
"""


def look(machine: Machine, library: str, level: Level = "problem") -> Finding:
    """The finding ``libedgetpu``; ``level`` is that of a library that cannot be loaded."""
    version, fault = load(library)
    if fault is None:
        return Finding("libedgetpu", "ok", f"{library}: {version or 'of unknown version'}")
    why = "without it nothing runs on the Edge TPU; the CPU serves"
    if fault.startswith(f"{library}: cannot open shared object file"):
        remedy, fix = how_to_install(machine)
        return Finding("libedgetpu", level, f"no {library} is installed", why, remedy, fix)
    if "libusb" in fault and "cannot open shared object file" in fault:
        fix = "sudo apt-get install -y libusb-1.0-0"
        return Finding("libedgetpu", level, f"{library} lacks another library: {fault}", why, None, fix)
    remedy, fix = how_to_install(machine)
    return Finding("libedgetpu", level, f"{library} cannot be loaded: {fault}", why, remedy, fix)


def load(library: str) -> tuple[str, str | None]:
    """Version and None, or "" and why a child could not load it."""
    command = [sys.executable, "-P", "-c", _LOAD, library]
    try:
        child = subprocess.run(
            command, capture_output=True, check=False, timeout=LOAD_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return "", f"no end within {LOAD_TIMEOUT_S:.0f} s"
    if child.returncode != 0:
        return "", f"loading it ended by {ending(child.returncode)}"
    try:
        told = json.loads(child.stdout)
        return str(told.get("version", "")), told.get("error")
    except (ValueError, AttributeError):
        return "", "loading it said nothing sensible"


def how_to_install(machine: Machine) -> tuple[str | None, str | None]:
    """In words where no package is known to fit, else the command."""
    release = _codename(machine)
    if release not in BUILT_FOR:
        return f"install libedgetpu1-std for this system, built on TensorFlow 2.19 or newer: {RELEASES}", None
    tag, version = BUILD
    file = f"libedgetpu1-std_{version}.{release}_$(dpkg --print-architecture).deb"
    download = f'curl -fLo /tmp/libedgetpu1-std.deb "{RELEASES}/download/{tag}/{file}"'
    return None, f"{download} && sudo apt-get install -y /tmp/libedgetpu1-std.deb"


def _codename(machine: Machine) -> str:
    for line in (read_text(machine.etc / "os-release") or "").splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip("\"' ")
    return ""
