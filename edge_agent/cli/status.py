"""``edge-agent status``: the running agent on one screen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from edge_agent.cli.asking import config_or_defaults
from edge_agent.cli.options import config_option, json_option
from edge_agent.cli.table import local_time
from edge_agent.control_socket import ControlClient

NAME_WIDTH = 12
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


@click.command(epilog="\b\nExample:\n  edge-agent status")
@config_option
@json_option
def status(config_path: Path | None, as_json: bool) -> None:
    """Show what the running agent does: device, models, cameras, broker, faults.

    Exit code 0 when an agent answered, 1 when none does.
    """
    told = ControlClient(config_or_defaults(config_path).agent.socket).ask("status")
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    for name, text in _rows(told):
        click.echo(f"{name:<{NAME_WIDTH}}{text}")


def _rows(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and text of each line."""
    health = told["health"]
    up = duration_text(health["uptime_s"])
    yield "agent", f"{told['agent']}, edge-agent {health['version']}, pid {told['pid']}, up {up}"
    yield "device", _device(health)
    for model in told["models"]:
        yield "model", _model(model)
        for refusal in model["rejected"]:
            digest = (refusal["digest"] or "unreadable")[:12]
            yield "", f"refused {digest} at {local_time(refusal['at'])}: {refusal['reason']}"
    for camera in told["cameras"]:
        yield "camera", _camera(camera)
    broker = told["broker"]
    yield "broker", f"{broker['where']}: {'connected' if broker['connected'] else 'away'}"
    outbox = health["outbox"]
    stored = f" ({outbox['on_disk']} on the disk)" if outbox["on_disk"] else ""
    yield "outbox", f"{outbox['rows']} waiting{stored}, {outbox['dropped']} dropped"
    if health["soc_c"] is not None:
        throttled = ", throttled" if health["throttled"] else ""
        yield "soc", f"{health['soc_c']:.1f} \N{DEGREE SIGN}C{throttled}"
    for fault in health["faults"]:
        yield "fault", fault


def _device(health: dict[str, Any]) -> str:
    device = health["device"] or "none"
    losses = f"; {health['losses']} losses, {health['recoveries']} recoveries" if health["losses"] else ""
    if not health["degraded"]:
        return f"{device}{losses}"
    return f"{device}, not {health['aspired']}: {health['reason']}{losses}"


def _model(model: dict[str, Any]) -> str:
    start = f"{model['slot']}: {model['state']}"
    serving = model["serving"]
    if serving is None:
        told = [f"{start}, nothing serves"]
    else:
        told = [f"{start} {_bundle(serving)} on {serving['device']} since {local_time(serving['since'])}"]
    for role in ("candidate", "previous"):
        if model[role] is not None:
            told.append(f"{role} {_bundle(model[role])}")
    return "; ".join(told)


def _bundle(bundle: dict[str, Any]) -> str:
    iteration = f", iteration {bundle['iteration']}" if bundle["iteration"] else ""
    return f"{bundle['name']} {bundle['digest'][:12]}{iteration}"


def _camera(camera: dict[str, Any]) -> str:
    paused = ", paused" if camera["paused"] else ""
    rate = f"{camera['fps']:g} fps, {camera['dropped']} dropped, {camera['failed']} failed"
    fault = f"; {camera['fault']}" if camera["fault"] else ""
    return f"{camera['camera']}: {camera['state']}{paused}, {rate}{fault}"


def duration_text(seconds: int) -> str:
    """The two largest units: "3 h 12 min"."""
    parts: list[str] = []
    for size, unit in _UNITS:
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    parts.append(f"{seconds} s")
    return " ".join(parts[:2])
