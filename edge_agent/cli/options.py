"""Options that several commands share, so that they are spelt and explained alike."""

from __future__ import annotations

from pathlib import Path

import click

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(readable=False, path_type=Path),
    metavar="FILE",
    help="The configuration; else $EDGE_AGENT_CONFIG, else /etc/edge-agent/config.toml.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
