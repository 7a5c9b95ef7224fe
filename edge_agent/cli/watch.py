"""``edge-agent watch``: what is published, on a screen that lives or one line each, until Ctrl-C."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from edge_agent.cli.board import Board
from edge_agent.cli.options import config_option, json_option
from edge_agent.cli.sightings import Sightings, object_line
from edge_agent.clock import SystemClock
from edge_agent.errors import BrokerError, ConfigError, UsageError
from edge_agent.mqtt import BrokerSettings, Pace, Received, Subscription
from edge_agent.topics import check_level, check_topic

EVERY_AGENT = "+"

_TURN_S = 0.5


@click.command(
    epilog="""\b
Examples:
  edge-agent watch --host 192.168.1.5
  edge-agent watch --plain | grep door
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
@click.option("--plain", is_flag=True, help="Print a line per message, as without a terminal.")
@json_option
def watch(
    config_path: Path | None,
    host: str | None,
    port: int | None,
    username: str | None,
    password_file: Path | None,
    base_topic: str | None,
    agent: str | None,
    plain: bool,
    as_json: bool,
) -> None:
    """Show live what agents publish: cameras, labels, scores, device, rate, models and faults.

    Without a terminal, or with --plain: a line per message. With --json: the predictions as they were
    published, one object per line.
    """
    if host is None:
        if port is not None or username is not None or password_file is not None:
            raise UsageError(
                "--port, --username and --password-file go with --host", "without it the configuration counts"
            )
        settings, base, name = _configured(config_path)
    else:
        if password_file is not None and username is None:
            raise UsageError("--password-file goes with --username")
        password = None if password_file is None else _password(password_file)
        settings = BrokerSettings(host=host, port=port or 1883, username=username, password=password)
        base, name = "edge-agent", EVERY_AGENT
    base = check_topic(base_topic or base)
    wanted = agent or name
    root = f"{base}/{wanted if wanted == EVERY_AGENT else check_level(wanted)}"
    try:
        if not (plain or as_json) and _is_a_screen():
            _draw(settings, base, root)
        else:
            _print_lines(settings, root, as_json=as_json)
    except KeyboardInterrupt:
        return


def _configured(path: Path | None) -> tuple[BrokerSettings, str, str]:
    """The broker, base topic and agent that the daemon on this machine uses."""
    from edge_agent.assembly import broker_settings
    from edge_agent.config.file import load_config

    config = load_config(path, os.environ)
    return broker_settings(config.mqtt), config.mqtt.base_topic, config.agent.name


def _password(path: Path) -> str:
    from edge_agent.config.secrets import password_in

    try:
        return password_in(path, f"--password-file {path}").get_secret_value()
    except ConfigError as error:
        raise UsageError(error.what, error.remedy) from error


def _is_a_screen() -> bool:
    from edge_agent.cli import screen  # rich is only loaded where it is used

    return screen.is_possible()


def _draw(settings: BrokerSettings, base: str, root: str) -> None:
    """Show everything below ``root`` on a screen of its own, for ever."""
    from edge_agent.cli.screen import Screen

    filters = [f"{root}/{kind}" for kind in ("availability", "health", "model/+", "camera/+/prediction")]
    filters += [f"{root}/camera/+/{kind}" for kind in ("availability", "label", "status")]
    clock = SystemClock()
    board = Board(base, clock)
    with Subscription(settings, filters, clock) as subscription:
        subscription.open()
        with Screen(board, settings.where) as screen:
            for message in _follow(subscription, screen.tell):
                if message is not None:
                    board.hear(message)
                screen.draw()


def _print_lines(settings: BrokerSettings, root: str, *, as_json: bool) -> None:
    """Print what comes, for ever."""
    filters = [f"{root}/camera/+/prediction"]
    if not as_json:
        filters += [f"{root}/availability", f"{root}/camera/+/availability"]
    clock = SystemClock()
    sightings = Sightings(clock)
    with Subscription(settings, filters, clock) as subscription:
        subscription.open()
        for message in _follow(subscription, _tell):
            if message is not None:
                _print(object_line(message) if as_json else sightings.line(message), message)


def _tell(trouble: str | None) -> None:
    click.echo(trouble or "connected again", err=True)


def _print(line: str | None, message: Received) -> None:
    if line is None:
        click.echo(f"not understood: {len(message.payload)} bytes on {message.topic!r}", err=True)
    else:
        click.echo(line.encode("utf-8", "backslashreplace"))  # whatever the terminal's locale says


def _follow(subscription: Subscription, tell: Callable[[str | None], None]) -> Iterator[Received | None]:
    """What comes in, for ever, and None from time to time; a broker that was there once is waited for.

    ``tell`` is given why nothing is heard, None once that is over, and what may not be listened to.
    """
    if subscription.refusal is not None:
        tell(str(subscription.refusal))
    while True:
        try:
            yield from subscription.receive(_TURN_S)
            yield None
        except BrokerError as error:
            tell(str(error))
            yield from _reopened(subscription)
            tell(None)
            if subscription.refusal is not None:
                tell(str(subscription.refusal))


def _reopened(subscription: Subscription) -> Iterator[None]:
    """Try again until the broker is back; a turn between the tries."""
    pace, failures, never = Pace(), 0, threading.Event()
    while True:
        failures += 1
        never.wait(pace.delay_s(failures))
        try:
            subscription.open()
        except BrokerError:
            yield None
            continue
        return
