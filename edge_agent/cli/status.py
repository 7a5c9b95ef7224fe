"""``edge-agent status``: the running agent on one screen, or whether it should be restarted."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edge_agent.cli.asking import config_or_defaults
from edge_agent.cli.options import config_option, json_option
from edge_agent.cli.overview import screen
from edge_agent.control_socket import ControlClient
from edge_agent.errors import ControlError

CHECK_TIMEOUT_S = 10.0
"""The main loop turns twice a second; a loaded Pi 3 takes some seconds."""


@click.command(epilog="\b\nExamples:\n  edge-agent status\n  edge-agent status --check")
@config_option
@json_option
@click.option(
    "--check",
    "only_check",
    is_flag=True,
    help="Print nothing while all is well: for health checks. Exit code 1 where a restart would help.",
)
def status(config_path: Path | None, as_json: bool, only_check: bool) -> None:
    """Show what the running agent does: device, models, cameras, broker, faults.

    Exit code 0 when an agent answered, 1 when none does. With --check it is 1, too, for one that is stuck,
    and that a restart would heal; never for a camera, a broker or an Edge TPU that is away.
    """
    path = config_or_defaults(config_path).agent.socket
    if only_check:
        check(ControlClient(path, CHECK_TIMEOUT_S))
        return
    told = ControlClient(path).ask("status")
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    for line in screen(told):
        click.echo(line)


def check(client: ControlClient) -> None:
    """Raises ControlError where no agent answers in time, or where it is stuck."""
    for stuck in client.ask("status")["health"].get("stuck", ()):
        raise ControlError(stuck)
