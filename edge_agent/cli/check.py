"""``edge-agent check``: everything that `run` will need, proven one by one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from edge_agent import assembly, edgetpu
from edge_agent.bundle import read_bundle
from edge_agent.cameras import Bell, Camera
from edge_agent.cli.options import config_option, json_option
from edge_agent.clock import Clock, SystemClock
from edge_agent.config import Config
from edge_agent.config.file import ReadConfig, read_config
from edge_agent.config.overrides import overridden
from edge_agent.edgetpu import EdgeTpuSettings
from edge_agent.errors import (
    BrokerError,
    ConfigError,
    DeviceBusyError,
    EdgeAgentError,
    RepositoryBusyError,
    WorkerStartError,
)
from edge_agent.images import read_image
from edge_agent.mqtt import judge, try_broker
from edge_agent.proof import HINT_NO_TWIN, compiled_refusal
from edge_agent.repository import Repository

FIRST_FRAME_S = 15.0
"""An H.264 camera that sends its key frames rarely takes some ten seconds to show anything."""

NO_FRAME = f"no frame within {FIRST_FRAME_S:.0f} s; see what another program makes of the source"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; ``remedy`` only where it failed."""

    what: str
    ok: bool
    found: str
    remedy: str | None = None


@click.command(
    epilog="""\b
Examples:
  edge-agent check
  edge-agent check -c dock.toml --json"""
)
@config_option
@json_option
def check(config_path: Path | None, as_json: bool) -> int:
    """Prove the configuration, the Edge TPU, the models, the cameras and the broker: a line each.

    An Edge TPU that another program uses is left alone. A camera or broker that the running agent holds may
    refuse a second user. Exit code 0 when all is well, 1 when something is not, 78 when the configuration
    cannot be used.
    """
    read = read_config(config_path, os.environ)
    failed = False
    for finding in _findings(read, SystemClock()):
        failed |= not finding.ok
        if as_json:
            click.echo(json.dumps(asdict(finding), ensure_ascii=False))
        else:
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            click.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.what}: {finding.found}{remedy}")
    return 1 if failed else 0


def _findings(read: ReadConfig, clock: Clock) -> Iterator[Finding]:
    config = read.config
    try:
        config = overridden(read).config
    except ConfigError as error:
        yield Finding("overrides", False, error.what, "see what was paused, and pause it again")
    if config.cameras:
        yield Finding("config", True, f"{len(config.models)} models, {len(config.cameras)} cameras")
    else:
        yield Finding("config", False, "no camera is configured", "add a section [cameras.<name>]")
    wanted = assembly.edgetpu_settings(config.inference)
    version = None
    if wanted is not None:
        finding, version = _check_edgetpu(wanted)
        yield finding
    for slot, model in config.models.items():
        yield _check_model(slot, model.path, config, version, clock)
        if model.canary is not None and model.canary_label is not None:
            yield _check_canary(slot, model.path, model.canary, model.canary_label)
    for name in config.cameras:
        yield _check_camera(name, config, clock)
    yield _check_broker(config, clock)


def _check_edgetpu(wanted: EdgeTpuSettings) -> tuple[Finding, str | None]:
    """Whether there is one, and libedgetpu's version where it could be asked. No device is opened."""
    try:
        taken = edgetpu.take(wanted.wanted, wanted.library)
    except DeviceBusyError as error:
        return Finding("edgetpu", True, f"{error.what}: left alone"), None
    except WorkerStartError as error:
        if wanted.wanted == "auto":
            return Finding("edgetpu", True, f"{error.what}: the CPU serves"), None
        return Finding("edgetpu", False, error.what, error.remedy), None
    taken.close()
    return Finding("edgetpu", True, f"{taken.device.name}, {taken.version}"), taken.version


def _check_model(slot: str, path: Path, config: Config, version: str | None, clock: Clock) -> Finding:
    """``version`` is libedgetpu's, None where it is not known."""
    what = f"model {slot}"
    try:
        vetted = assembly.admission(config, slot, None, clock).prove(read_bundle(path))
    except EdgeAgentError as error:
        serves = None if path.exists() else _check_installed(slot, config, clock)
        return serves or Finding(what, False, error.what, error.remedy)
    refusal = compiled_refusal(vetted, version or "")
    if refusal is not None and vetted.model is None:
        return Finding(what, False, *refusal.split("; ", 1))
    bundle = vetted.bundle
    found = f"{bundle.name} {bundle.short}, {len(bundle.labels)} labels, {vetted.first_run}"
    doubts = [f"warning: {warning}" for warning in (*bundle.warnings, *([refusal] if refusal else ()))]
    hints = [HINT_NO_TWIN] if vetted.compiled is None and config.inference.device != "cpu" else []
    return Finding(what, True, "; ".join([found, *doubts, *hints]))


def _check_canary(slot: str, path: Path, canary: Path, label: str) -> Finding:
    """Whether it can be read, and the model knows its label, so far as the bundle's files tell."""
    what = f"canary {slot}"
    try:
        height, width = read_image(canary).shape[:2]
        labels = read_bundle(path).labels if path.exists() else None
    except EdgeAgentError as error:
        return Finding(what, False, error.what, error.remedy)
    if labels is not None and label not in labels:
        remedy = f"set canary_label to one of the model's: {', '.join(labels[:5])}"
        return Finding(what, False, f"the model has no label {label!r}", remedy)
    return Finding(what, True, f"{canary.name}, {width} x {height}, is to be {label}")


def _check_installed(slot: str, config: Config, clock: Clock) -> Finding | None:
    """Where nothing lies at the path, what is installed serves; None where that does not either."""
    state_dir = config.agent.state_dir
    if not (state_dir / "models" / slot).is_dir():
        return None
    try:
        with Repository(state_dir, slot, config.updates.keep, clock, to_read=True) as repository:
            vetted = assembly.admission(config, slot, repository, clock).current()
    except RepositoryBusyError:
        return Finding(
            f"model {slot}", True, "nothing lies at its path; the running agent has what is installed"
        )
    except EdgeAgentError as error:
        return Finding(f"model {slot}", False, error.what, error.remedy)
    if vetted is None:
        return None
    bundle = vetted.bundle
    found = f"{bundle.name} {bundle.short} is installed, {len(bundle.labels)} labels, {vetted.first_run}"
    return Finding(f"model {slot}", True, f"{found}; nothing lies at its path")


def _check_camera(name: str, config: Config, clock: Clock) -> Finding:
    """Wait for one frame, but of a camera that nobody is to look at."""
    what = f"camera {name}"
    if config.cameras[name].paused:
        return Finding(what, True, f"paused: left alone; resume it: edge-agent resume {name}")
    bell = Bell()
    try:
        camera = Camera(assembly.camera_settings(name, config.cameras[name]), bell, clock)
    except EdgeAgentError as error:
        return Finding(what, False, error.what, error.remedy)
    camera.start()
    try:
        deadline_ns = clock.monotonic_ns() + int(FIRST_FRAME_S * 1e9)
        while (frame := camera.take()) is None:
            left_s = (deadline_ns - clock.monotonic_ns()) / 1e9
            status = camera.status()
            if status.fault or left_s <= 0:
                found, _, remedy = (status.fault or NO_FRAME).partition("; ")
                return Finding(what, False, found, remedy or None)
            bell.wait(min(left_s, 0.2))
    finally:
        camera.close(1.0)
    height, width = frame.pixels.shape[:2]
    return Finding(what, True, f"a frame of {width} x {height}")


def _check_broker(config: Config, clock: Clock) -> Finding:
    settings, topics = assembly.broker_settings(config.mqtt), assembly.topics(config)
    what = f"broker {settings.where}"
    try:
        trial = try_broker(settings, topics.check, clock)
    except BrokerError as error:
        return Finding(what, False, error.what, error.remedy)
    verdict = judge(trial, settings, topics.check, hears=config.mqtt.requests != "off")
    return Finding(what, verdict.remedy is None, verdict.found, verdict.remedy)
