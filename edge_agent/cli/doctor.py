"""``edge-agent doctor``: what is wrong on this machine, and the exact fix."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import click

from edge_agent import assembly
from edge_agent.bundle import read_bundle
from edge_agent.cli.folding import folded
from edge_agent.cli.options import config_option, json_option
from edge_agent.clock import SystemClock
from edge_agent.config import Config
from edge_agent.config.file import DEFAULT_PATH, load_config
from edge_agent.doctor import Finding, Installation, Machine, Setup, examine
from edge_agent.errors import BundleError, ConfigError, UsageError
from edge_agent.sealed import SealedFile

WIDTH = 100
NAME_WIDTH = 12
LEVEL_WIDTH = 9


@click.command(
    epilog="""\b
Examples:
  edge-agent doctor
  edge-agent doctor -c dock.toml --json
  edge-agent doctor --model mobilenet_edgetpu.tflite"""
)
@config_option
@click.option(
    "--model",
    "model",
    type=click.Path(readable=False, path_type=Path),
    metavar="PATH",
    help="A model compiled for the Edge TPU, or a bundle with one, to prove libedgetpu with.",
)
@click.option(
    "--library", metavar="PATH", help="Another libedgetpu than the configuration's (inference.library)."
)
@json_option
@click.pass_context
def doctor(
    context: click.Context, config_path: Path | None, model: Path | None, library: str | None, as_json: bool
) -> int:
    """Name what is wrong on this machine, why it matters, and the fix.

    Python, packages, service, power, heat, clock, storage, cameras, broker and Edge TPU. Nothing is changed,
    and a stick that another process uses is not opened. Exit code 0 when there is no
    problem, 1 when there is one.
    """
    machine = context.find_object(Machine) or Machine()
    findings: list[Finding] = []
    for finding in _findings(machine, config_path, model, library):
        findings.append(finding)
        if not as_json:
            click.echo("\n".join(_lines(finding)))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=1))
    return 1 if any(finding.level == "problem" for finding in findings) else 0


def _findings(
    machine: Machine, config_path: Path | None, model: Path | None, library: str | None
) -> Iterator[Finding]:
    setup = Setup(models=(_compiled(model),) if model else ())
    config = None
    try:
        config = _config(config_path)
    except ConfigError as error:
        yield unusable(error, is_root=os.geteuid() == 0)
    if config is not None:
        setup, notes = _setup_of(config, setup)
        yield from notes
    if library is not None:
        setup = dataclasses.replace(setup, worker=dataclasses.replace(setup.worker, library=library))
    installation = None if config is None else _installation_of(config)
    yield from examine(machine, setup, SystemClock(), installation)


def unusable(error: ConfigError, *, is_root: bool) -> Finding:
    """What to say of a configuration that could not be read, or not used."""
    if os.strerror(errno.EACCES) in error.what and not is_root:
        why = "it is the agent's and root's alone, for there may be passwords in it"
        return Finding("config", "problem", error.what, why, None, "sudo edge-agent doctor")
    why = "the agent will not start; what follows holds for the defaults"
    return Finding("config", "problem", error.what, why, error.remedy or "correct it")


def _config(path: Path | None) -> Config | None:
    """None where nobody named a configuration and there is none. Raises ConfigError."""
    if path is None and not os.environ.get("EDGE_AGENT_CONFIG") and not DEFAULT_PATH.exists():
        return None
    return load_config(path, os.environ)


def _installation_of(config: Config) -> Installation:
    """What it asks of the machine beside the Edge TPU. Raises ConfigError."""
    return Installation(
        state_dir=config.agent.state_dir,
        cameras={name: camera.source for name, camera in config.cameras.items() if not camera.paused},
        broker=assembly.broker_settings(config.mqtt),
        topic=assembly.topics(config).check,
        hears=config.mqtt.requests != "off",
    )


def _setup_of(config: Config, given: Setup) -> tuple[Setup, list[Finding]]:
    """The setup that the configuration asks for; a model that was given stands for those of its bundles."""
    inference = config.inference
    python = None if inference.python is None else str(inference.python)
    cpu = assembly.worker_settings(inference)
    worker = dataclasses.replace(cpu, python=python, library=inference.library)
    models, notes = ([], []) if given.models else _twins(config)
    chosen = given.models or tuple(models)
    return Setup(worker, inference.device, inference.performance, chosen), notes


def _twins(config: Config) -> tuple[list[SealedFile], list[Finding]]:
    """The compiled models of all slots, each once; a note for each slot without one."""
    models: dict[bytes, SealedFile] = {}
    notes = []
    for slot, each in config.models.items():
        try:
            content = read_bundle(each.path).model_edgetpu
        except BundleError as error:
            why = "its compiled model could not be tried on the stick"
            notes.append(Finding("model", "note", f"{slot}: {error.what}", why, "see: edge-agent check"))
            continue
        if content is None:
            why = "this slot runs on the CPU"
            remedy = "compile its model with edgetpu_compiler and put the result beside it"
            notes.append(Finding("model", "note", f"{slot}: no model_edgetpu.tflite", why, remedy))
        elif content not in models:
            models[content] = SealedFile(content, f"{slot}_edgetpu.tflite")
    return list(models.values()), notes


def _compiled(path: Path) -> SealedFile:
    """Raises UsageError: nothing compiled; BundleError: nothing that can be read."""
    content = read_bundle(path).model_edgetpu
    if content is None:
        raise UsageError(f"{path} has no model compiled for the Edge TPU", "name a *_edgetpu.tflite")
    return SealedFile(content, path.name)


def _lines(finding: Finding) -> Iterable[str]:
    """One line, wrapped; below it the reason and the way out. A command is never broken."""
    start = f"{finding.level:<{LEVEL_WIDTH}}{finding.name:<{NAME_WIDTH}}"
    yield from folded(finding.found, start, WIDTH)
    indent = " " * LEVEL_WIDTH
    if finding.why:
        yield from folded(finding.why, f"{indent}{'why':<{NAME_WIDTH}}", WIDTH)
    if finding.fix:
        yield f"{indent}{'fix':<{NAME_WIDTH}}{finding.fix}"
    if finding.remedy:
        yield from folded(finding.remedy, f"{indent}{'' if finding.fix else 'fix':<{NAME_WIDTH}}", WIDTH)
