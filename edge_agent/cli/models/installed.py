"""``edge-agent models list|install|activate|rollback|prune``: through the running agent, or without one."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from edge_agent.bundle import BundleFiles
from edge_agent.bundle.packing import pack
from edge_agent.cli.asking import ask, config_or_defaults, one_slot, slots_of
from edge_agent.cli.models.lists import listed
from edge_agent.cli.options import config_option, json_option
from edge_agent.clock import SystemClock
from edge_agent.errors import BundleError
from edge_agent.repository.records import SHORT_DIGITS
from edge_agent.watcher import read_unchanged, wait_until_still

slot_option = click.option("--slot", help="The slot, from [models.<slot>]. Left out: the only one.")
all_slots_option = click.option("--slot", help="The slot, from [models.<slot>]. Left out: all of them.")

_OUTCOMES = {
    "serving": "serves now",
    "unchanged": "was serving already",
    "activated": "will serve when the agent starts",
}


@click.command("list", epilog="\b\nExample:\n  edge-agent models list --slot default")
@all_slots_option
@config_option
@json_option
def show(slot: str | None, config_path: Path | None, as_json: bool) -> None:
    """List what is installed, which of it serves, and what was refused and why."""
    config = config_or_defaults(config_path)
    slots = slots_of(config, slot)
    arguments = {} if slot is None else {"slot": slot}
    told = ask(config, "models/list", arguments, lambda: _offline().show(config, slots))
    if as_json:
        _print_json(told)
        return
    for line in listed(told["slots"]):
        click.echo(line)


@click.command(epilog="\b\nExample:\n  edge-agent models install /media/usb/export.zip")
@click.argument("path", type=click.Path(readable=False, path_type=Path))
@slot_option
@config_option
@json_option
def install(path: Path, slot: str | None, config_path: Path | None, as_json: bool) -> None:
    """Prove a bundle, install it, and have it serve: now, or when the agent starts.

    What is installed already is not copied again. Exit code 1 with the reason where it may not serve; then
    nothing has changed.
    """
    config = config_or_defaults(config_path)
    slot = one_slot(config, slot)
    wait_until_still(path, config.updates.settle_s, SystemClock())
    files = _read(path)
    arguments = {"slot": slot, "path": str(path.absolute())}
    told = ask(
        config,
        "models/install",
        arguments,
        lambda: _offline().install(config, slot, files),
        lambda: pack(files),
    )
    _print_outcome(told, as_json)


@click.command(epilog="\b\nExample:\n  edge-agent models activate 3f9c0a1b")
@click.argument("digest")
@slot_option
@click.option(
    "--force", is_flag=True, help="Without probation: it stays, even if the agent dies while it serves."
)
@config_option
@json_option
def activate(digest: str, slot: str | None, force: bool, config_path: Path | None, as_json: bool) -> None:
    """Have an installed model serve.

    DIGEST: the first digits are enough, four at least. What served before is the previous one then, and held:
    the slot's path and inbox cannot bring it back, `rollback` and `activate` can.
    """
    config = config_or_defaults(config_path)
    slot = one_slot(config, slot)
    arguments = {"slot": slot, "digest": digest, "force": force}
    told = ask(
        config, "models/activate", arguments, lambda: _offline().activate(config, slot, digest, force=force)
    )
    _print_outcome(told, as_json)


@click.command(epilog="\b\nExample:\n  edge-agent models rollback")
@slot_option
@config_option
@json_option
def rollback(slot: str | None, config_path: Path | None, as_json: bool) -> None:
    """Have the previous model serve again.

    The one that is left is held: the slot's path and inbox cannot bring it back, `activate` can.
    """
    config = config_or_defaults(config_path)
    slot = one_slot(config, slot)
    told = ask(config, "models/rollback", {"slot": slot}, lambda: _offline().rollback(config, slot))
    _print_outcome(told, as_json)


@click.command(epilog="\b\nExample:\n  edge-agent models prune")
@all_slots_option
@config_option
@json_option
def prune(slot: str | None, config_path: Path | None, as_json: bool) -> None:
    """Remove the oldest models; never the one that serves, nor the previous one."""
    config = config_or_defaults(config_path)
    slots = slots_of(config, slot)
    arguments = {} if slot is None else {"slot": slot}
    told = ask(config, "models/prune", arguments, lambda: _offline().prune(config, slots))
    if as_json:
        _print_json(told)
        return
    for each in told["slots"]:
        removed = ", ".join(digest[:SHORT_DIGITS] for digest in each["removed"])
        click.echo(f"slot {each['slot']}: {'removed ' + removed if removed else 'nothing to remove'}")


def _read(path: Path) -> BundleFiles:
    """Raises BundleError."""
    files = read_unchanged(path)
    if files is None:
        raise BundleError(f"{path} changed while it was read", "try again when it is complete")
    return files


def _offline() -> ModuleType:
    """Half a second of imports that nobody needs while the agent runs."""
    from edge_agent.cli.models import offline

    return offline


def _print_outcome(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(told)
        return
    model = f"{told['name']} {told['digest'][:SHORT_DIGITS]}"
    held = f"; {told['left'][:SHORT_DIGITS]} is held" if told.get("left") else ""
    click.echo(f"slot {told['slot']}: {model} {_OUTCOMES[told['outcome']]}{held}")
    for warning in told.get("warnings", []):
        click.echo(f"warning: {warning}")


def _print_json(told: Any) -> None:
    click.echo(json.dumps(told, ensure_ascii=False))
