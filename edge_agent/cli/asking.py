"""What commands need to ask the running agent."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from edge_agent.config import Config
from edge_agent.config.file import DEFAULT_PATH, load_config
from edge_agent.control_socket import ControlClient
from edge_agent.errors import AgentNotRunningError, UsageError
from edge_agent.sealed import SealedFile


def config_or_defaults(path: Path | None) -> Config:
    """The configuration; the defaults where nobody named one and there is none. Raises ConfigError."""
    if path is None and not os.environ.get("EDGE_AGENT_CONFIG") and not DEFAULT_PATH.exists():
        return Config()
    return load_config(path, os.environ)


def slots_of(config: Config, slot: str | None) -> list[str]:
    """The named slot, else all that are configured. Raises UsageError where it is not one of them."""
    known = list(config.models) or ["default"]
    if slot is not None and slot not in known:
        raise UsageError(f"there is no slot {slot!r}", f"there are: {', '.join(known)}")
    return known if slot is None else [slot]


def one_slot(config: Config, slot: str | None) -> str:
    """The named slot, else the only one. Raises UsageError where there are several to choose from."""
    found = slots_of(config, slot)
    if len(found) > 1:
        raise UsageError(f"there are several slots: {', '.join(found)}", "name one with --slot")
    return found[0]


def ask(
    config: Config,
    verb: str,
    arguments: Mapping[str, Any],
    otherwise: Callable[[], Any],
    file: Callable[[], SealedFile] | None = None,
) -> Any:
    """What the running agent answers; what ``otherwise`` gives where none runs.

    ``file`` makes what is handed over. Progress goes to stderr. Raises ControlError, UsageError.
    """
    client = ControlClient(config.agent.socket)
    try:
        return client.ask(verb, arguments, None if file is None else file(), tell_progress)
    except AgentNotRunningError:
        return otherwise()


def tell_progress(content: Any) -> None:
    """One step of long work, on stderr."""
    click.echo(f"{content['text']} ...", err=True)
