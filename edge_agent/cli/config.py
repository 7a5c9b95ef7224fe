"""``edge-agent config``: a commented file to begin with, the effective values, the JSON Schema."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from pathlib import Path

import click

from edge_agent.cli.options import config_option, json_option
from edge_agent.errors import ConfigError, EdgeAgentError

_SOME_MODEL = Path("/srv/models/finish")  # the example where the bundled model is not installed


@click.group(no_args_is_help=False)
def config() -> None:
    """Write, show and describe the configuration."""


@config.command(
    epilog="""\b
Examples:
  edge-agent config init | less
  edge-agent config init -o /etc/edge-agent/config.toml"""
)
@click.option(
    "-o",
    "--output",
    type=click.Path(readable=False, path_type=Path),
    metavar="FILE",
    help="Write to FILE, not stdout.",
)
@click.option("--force", is_flag=True, help="Replace FILE where it exists.")
def init(output: Path | None, force: bool) -> None:
    """Print a commented configuration that works as it stands.

    Every key is in it, with its default; the camera is a built-in scene, the model the bundled one.
    """
    from edge_agent.config.text import example

    text = example(_bundled_model())
    if output is None:
        click.echo(text, nl=False)
        return
    write_new(output, text, replace=force)
    click.echo(f"{output} is written; prove it: edge-agent check -c {output}", err=True)


@config.command(
    epilog="""\b
Examples:
  edge-agent config show -c config.toml
  EDGE_AGENT_MQTT__HOST=broker edge-agent config show --json"""
)
@config_option
@json_option
def show(config_path: Path | None, as_json: bool) -> None:
    """Print every value in force and where it is from: the file, a variable, what was set while the agent
    ran (overrides.toml), the default.

    Passwords are masked.
    """
    from edge_agent.config.file import read_config
    from edge_agent.config.overrides import overridden
    from edge_agent.config.text import effective, effective_json

    read = read_config(config_path, os.environ)
    try:
        read = overridden(read)
    except ConfigError as error:
        click.echo(f"warning: {error}: what was set while the agent ran is not shown", err=True)
    if as_json:
        click.echo(json.dumps(effective_json(read), ensure_ascii=False))
    else:
        click.echo(effective(read), nl=False)


@config.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from edge_agent.config import Config

    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    click.echo(json.dumps(described, indent=2, ensure_ascii=False))


def _bundled_model() -> Path:
    package = Path(__file__).resolve().parent.parent
    installed, in_checkout = package / "models" / "finishes", package.parent / "models" / "finishes"
    return next((place for place in (installed, in_checkout) if place.is_dir()), _SOME_MODEL)


def write_new(path: Path, text: str, *, replace: bool) -> None:
    """Write a whole file or none: under another name first, then moved to its place.

    Raises:
        EdgeAgentError: it exists and is not to be replaced, or it cannot be written.
    """
    draft = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    try:
        _make_folder(path.parent)
        with draft.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
            path.hardlink_to(draft)  # unlike a rename, fails where the name is taken
    except FileExistsError:
        raise EdgeAgentError(f"{path} exists", "name another file, or add --force to replace it") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise EdgeAgentError(f"cannot write {path}: {why}", "name another file with -o") from None
    finally:
        with contextlib.suppress(OSError, ValueError):
            draft.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is no folder") from None
