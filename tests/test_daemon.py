"""daemon.py: what the whole agent does with what it is told at its end."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from edge_agent.config import Config
from edge_agent.config.file import load_config
from edge_agent.control_socket import ControlClient
from edge_agent.daemon import run_daemon
from tests.agents import configuration
from tests.places import FINISHES


def test_a_restart_does_not_swallow_a_sigterm(tmp_path: Path) -> None:
    """Who tells the agent to end while it is about to start again means it."""
    text = configuration(1, {"scene": {"source": "scene:finishes"}}, model={"path": FINISHES})
    (tmp_path / "config.toml").write_text(text)
    config = load_config(tmp_path / "config.toml", {})
    started: list[str] = []

    def reread() -> Config:
        os.kill(os.getpid(), signal.SIGTERM)
        return config

    def ask() -> None:
        ControlClient(config.agent.socket).ask("restart")

    asking = threading.Timer(0.0, ask)

    def seen(_camera: str, _prediction: object) -> None:
        if asking.ident is None:
            asking.start()

    assert 0 == run_daemon(config, on_prediction=seen, reread=reread, restart=lambda: started.append("again"))
    asking.join()
    assert [] == started
