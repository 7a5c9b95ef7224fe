"""``edge-agent models``: bundles before they serve, and those that are installed."""

from __future__ import annotations

import click

from edge_agent.cli.models.installed import activate, install, prune, rollback, show
from edge_agent.cli.models.look import inspect, verify
from edge_agent.cli.models.sign import sign

__all__ = ["models"]


@click.group(no_args_is_help=False)
def models() -> None:
    """Look into models, install them, and choose which one serves."""


for _command in (verify, inspect, sign, show, install, activate, rollback, prune):
    models.add_command(_command)
