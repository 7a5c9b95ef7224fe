"""``edge-agent run``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import click

from edge_agent.cli.options import config_option


@click.command(
    epilog="""\b
Signals: SIGTERM and SIGINT end it within two seconds; SIGHUP reads the configuration again and applies
what can change while it runs (thresholds, top_k, cameras, log level), and says what needs a restart.

\b
Examples:
  edge-agent run
  edge-agent run -c dock.toml"""
)
@config_option
def run(config_path: Path | None) -> int:
    """Watch the cameras and publish what they show, until told to stop.

    When every source is a file or a folder, it ends after the last picture.
    """
    # A reload that is asked for before anything was read asks for nothing.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from edge_agent.config.file import load_config
    from edge_agent.daemon import run_daemon
    from edge_agent.logs import set_up_logs

    config = load_config(config_path, os.environ)
    set_up_logs(config.agent.log_level, os.environ)
    return run_daemon(config, reread=lambda: load_config(config_path, os.environ), restart=start_again)


def start_again() -> None:
    """Become a new process, started as this one was; no service manager is needed for it."""
    sys.stdout.flush()
    sys.stderr.flush()
    # Process 1 would not hear it before the new program has its handler: until then it waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    # A thread that is blocked in a camera was left behind: its device must not stay open in the new process.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  what we are already
