"""The running agent on one screen of 80 columns: what ``status`` answered, for people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edge_agent.cli.folding import folded
from edge_agent.cli.table import local_time, table
from edge_agent.kernel_files import read_text

NAME_WIDTH = 9
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
_UNIT = re.compile(r"/([^/]+\.service)$", re.MULTILINE)


def screen(told: dict[str, Any]) -> Iterator[str]:
    """The lines for an answer: the agent, its models, its cameras, what is wrong."""
    for name, text in _rows(told):
        yield from folded(text, f"{name:<{NAME_WIDTH}}")
    yield ""
    yield from _models(told["models"])
    yield ""
    yield from _cameras(told["cameras"])
    faults = told["health"]["faults"]
    if faults:
        yield ""
        yield "FAULTS"
    for fault in faults:
        yield from folded(fault, "- ")


def _rows(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and text of each line about the agent as a whole."""
    health, broker, outbox = told["health"], told["broker"], told["health"]["outbox"]
    up = duration_text(health["uptime_s"])
    unit = unit_of(read_text(Path(f"/proc/{told['pid']}/cgroup")) or "")
    service = f", {unit}" if unit else ""
    yield "agent", f"{told['agent']}, edge-agent {health['version']}, up {up}, pid {told['pid']}{service}"
    yield "device", _device(health)
    yield "broker", f"{'connected to' if broker['connected'] else 'away:'} {broker['where']}"
    stored = f" ({outbox['on_disk']} on the disk)" if outbox["on_disk"] else ""
    yield "outbox", f"{outbox['rows']} waiting{stored}, {outbox['dropped']} dropped"
    if health["soc_c"] is not None:
        throttled = ", throttled" if health["throttled"] else ""
        yield "soc", f"{health['soc_c']:.1f} \N{DEGREE SIGN}C{throttled}"


def unit_of(cgroup: str) -> str | None:
    """The service that a process belongs to, by its /proc/PID/cgroup; None where it was started by hand."""
    found = _UNIT.search(cgroup)
    return found[1] if found else None


def _device(health: dict[str, Any]) -> str:
    told = health["device"] or "none"
    if health["degraded"]:
        told += f", not {health['aspired']}"
    if health["reason"]:
        told += f": {health['reason']}"
    if health["losses"]:
        lost = "1 loss" if health["losses"] == 1 else f"{health['losses']} losses"
        back = "1 recovery" if health["recoveries"] == 1 else f"{health['recoveries']} recoveries"
        told += f"; {lost}, {back}"
    return told


def _models(models: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A table of what serves, is coming and was before; below it what was refused, and warnings."""
    rows = [row for model in models for row in _model_rows(model)]
    yield from table(("SLOT", "STATE", "MODEL", "DIGEST", "DEVICE", "SINCE"), rows)
    for model in models:
        for refusal in model["rejected"]:
            digest = (refusal["digest"] or "unreadable")[:12]
            said = f"{model['slot']}: refused {digest} at {local_time(refusal['at'])}: {refusal['reason']}"
            yield from folded(said, "  ")
        for warning in model["warnings"]:
            yield from folded(f"{model['slot']}: {warning}", "  ")


def _model_rows(model: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    serving = model["serving"]
    if serving is None:
        state = "down" if model["state"] == "serving" else model["state"]
        yield model["slot"], state, "nothing serves", "-", "-", "-"
    else:
        name, digest = _name(serving), serving["digest"][:12]
        yield model["slot"], model["state"], name, digest, serving["device"], local_time(serving["since"])
    for role in ("candidate", "previous"):
        if model[role] is not None:
            yield "", role, _name(model[role]), model[role]["digest"][:12], "", ""


def _name(bundle: dict[str, Any]) -> str:
    """With the start of its iteration: Custom Vision's is as long as half a screen."""
    return f"{bundle['name']} ({bundle['iteration'][:8]})" if bundle["iteration"] else bundle["name"]


def _cameras(cameras: Sequence[dict[str, Any]]) -> Iterator[str]:
    headers = ("CAMERA", "STATE", "FPS", "DROPPED", "FAILED", "LATEST", "INFERENCE")
    rows = [
        (
            camera["camera"],
            "paused" if camera["paused"] else camera["state"],
            f"{camera['fps']:.1f}",
            str(camera["dropped"]),
            str(camera["failed"]),
            "-" if camera.get("frame_age_s") is None else f"{age_text(camera['frame_age_s'])} ago",
            "-" if camera["inference_ms"] is None else f"{camera['inference_ms']:.1f} ms",
        )
        for camera in cameras
    ]
    yield from table(headers, rows, right="FPS DROPPED FAILED LATEST INFERENCE")


def age_text(seconds: float) -> str:
    """As "0.2 s", and from a minute on as :func:`duration_text`."""
    return f"{seconds:.1f} s" if seconds < 60 else duration_text(int(seconds))


def duration_text(seconds: int) -> str:
    """The two largest units: "3 h 12 min"."""
    parts: list[str] = []
    for size, unit in _UNITS:
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    parts.append(f"{seconds} s")
    return " ".join(parts[:2])
