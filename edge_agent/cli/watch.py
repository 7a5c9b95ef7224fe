"""``edge-agent watch``: what is published, one line each, until Ctrl-C."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import click

from edge_agent.cli.options import config_option, json_option
from edge_agent.cli.sightings import Sightings, object_line
from edge_agent.clock import SystemClock
from edge_agent.errors import BrokerError, UsageError
from edge_agent.mqtt import BrokerSettings, Pace, Received, Subscription
from edge_agent.topics import check_level, check_topic

EVERY_AGENT = "+"

_TURN_S = 0.5


@click.command(
    epilog="""\b
Examples:
  edge-agent watch --host 192.168.1.5
  edge-agent watch --json | jq -r .predictions[0].label"""
)
@config_option
@click.option("--host", help="The broker; with it no configuration is read.")
@click.option("--port", type=click.IntRange(1, 65535), help="With --host. [default: 1883]")
@click.option("--username", help="With --host: the user name to log in with.")
@click.option(
    "--password-file",
    type=click.Path(readable=False, path_type=Path),
    metavar="FILE",
    help="With --host: holds the password and nothing else.",
)
@click.option("--base-topic", help="What every topic begins with. [default: edge-agent, or as configured]")
@click.option("--agent", help="One agent's name. [default: every agent, or the configured one]")
@json_option
def watch(
    config_path: Path | None,
    host: str | None,
    port: int | None,
    username: str | None,
    password_file: Path | None,
    base_topic: str | None,
    agent: str | None,
    as_json: bool,
) -> None:
    """Show live what agents publish: labels, scores, device and rate.

    With --json: the predictions as they were published, one object per line.
    """
    if host is None:
        if port is not None or username is not None or password_file is not None:
            raise UsageError(
                "--port, --username and --password-file go with --host", "without it the configuration counts"
            )
        settings, base, name = _configured(config_path)
    else:
        password = None if password_file is None else _password(password_file)
        settings = BrokerSettings(host=host, port=port or 1883, username=username, password=password)
        base, name = "edge-agent", EVERY_AGENT
    filters = _filters(base_topic or base, agent or name)
    try:
        _show(Subscription(settings, filters if not as_json else filters[:1], SystemClock()), as_json)
    except KeyboardInterrupt:
        return


def _configured(path: Path | None) -> tuple[BrokerSettings, str, str]:
    """The broker, base topic and agent that the daemon on this machine uses."""
    from edge_agent.assembly import broker_settings
    from edge_agent.config.file import load_config

    config = load_config(path, os.environ)
    return broker_settings(config.mqtt), config.mqtt.base_topic, config.agent.name


def _password(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"cannot read the password from {path}: {said}") from error


def _filters(base: str, agent: str) -> tuple[str, ...]:
    """Predictions first, then the two kinds of availability."""
    root = f"{check_topic(base)}/{agent if agent == EVERY_AGENT else check_level(agent)}"
    return f"{root}/camera/+/prediction", f"{root}/availability", f"{root}/camera/+/availability"


def _show(subscription: Subscription, as_json: bool) -> None:
    """Print what comes, for ever; a broker that was there once is waited for."""
    sightings = Sightings(SystemClock())
    with subscription:
        subscription.open()
        while True:
            try:
                for message in subscription.receive(_TURN_S):
                    _print(object_line(message) if as_json else sightings.line(message), message)
            except BrokerError as error:
                click.echo(f"{error}", err=True)
                _reopen(subscription)


def _print(line: str | None, message: Received) -> None:
    if line is None:
        click.echo(f"not understood: {len(message.payload)} bytes on {message.topic!r}", err=True)
    else:
        click.echo(line.encode("utf-8", "backslashreplace"))  # whatever the terminal's locale says


def _reopen(subscription: Subscription) -> None:
    """Try again until the broker is back."""
    pace, failures, never = Pace(), 0, threading.Event()
    while True:
        failures += 1
        never.wait(pace.delay_s(failures))
        try:
            subscription.open()
        except BrokerError:
            continue
        click.echo("connected again", err=True)
        return
