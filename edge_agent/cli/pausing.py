"""``edge-agent pause`` and ``edge-agent resume``: nobody looks at a camera any more, or again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edge_agent.cli.asking import ask, config_or_defaults
from edge_agent.cli.options import config_option, json_option
from edge_agent.config import Config
from edge_agent.config.overrides import Overrides
from edge_agent.errors import UsageError


@click.command(epilog="\b\nExamples:\n  edge-agent pause door\n  edge-agent pause")
@click.argument("camera", required=False)
@config_option
@json_option
def pause(camera: str | None, config_path: Path | None, as_json: bool) -> None:
    """Stop looking at CAMERA (all without it): its device is released, restarts included.

    Without a running agent it is paused from the next start on.
    """
    _tell(config_path, camera, paused=True, as_json=as_json)


@click.command(epilog="\b\nExamples:\n  edge-agent resume door\n  edge-agent resume")
@click.argument("camera", required=False)
@config_option
@json_option
def resume(camera: str | None, config_path: Path | None, as_json: bool) -> None:
    """Look at CAMERA (all without it) again."""
    _tell(config_path, camera, paused=False, as_json=as_json)


def _tell(config_path: Path | None, camera: str | None, *, paused: bool, as_json: bool) -> None:
    config = config_or_defaults(config_path)
    verb = "pause" if paused else "resume"
    arguments = {} if camera is None else {"camera": camera}
    told = ask(config, verb, arguments, lambda: _without_agent(config, camera, paused=paused))
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    for each in told["cameras"]:
        click.echo(f"camera {each['camera']}: {_state(each)}")
    if not told["kept"]:
        click.echo("until the agent ends: its state_dir cannot be written to", err=True)


def _without_agent(config: Config, camera: str | None, *, paused: bool) -> dict[str, Any]:
    """On the disk, for the next start. Raises UsageError, RepositoryError."""
    if camera is not None and camera not in config.cameras:
        there_are = ", ".join(config.cameras) or "none"
        raise UsageError(f"there is no camera {camera!r}", f"there are: {there_are}")
    cameras = list(config.cameras) if camera is None else [camera]
    overrides = Overrides(config)
    overrides.pause(cameras, paused=paused)
    overrides.write()
    return {
        "cameras": [{"camera": each, "paused": paused, "released": paused} for each in cameras],
        "kept": True,
    }


def _state(told: dict[str, Any]) -> str:
    if not told["paused"]:
        return "looked at"
    return "paused" if told["released"] else "paused; its source has not let go of the device yet"
