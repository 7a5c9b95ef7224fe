"""The whole agent under a service manager, as far as the protocol goes; tests/system/ has a real one."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents import PATIENCE_S, Agent, configuration
from tests.brokers import free_port
from tests.places import need_data

SCENE = {"source": "scene:finishes"}


class Manager:
    """Hears what the agent tells; ``environment`` names it."""

    def __init__(self, folder: Path) -> None:
        address = str(folder / "notify")
        self.environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE_S)
        self.socket.bind(address)

    def hears(self, word: str) -> list[str]:
        """What comes until this does, that included."""
        heard = [self.socket.recv(4096).decode()]
        while not heard[-1].startswith(word):
            heard.append(self.socket.recv(4096).decode())
        return heard


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """One that listens."""
    made = Manager(tmp_path)
    yield made
    made.socket.close()


@need_data
def test_it_is_ready_without_broker_and_camera(tmp_path: Path, manager: Manager) -> None:
    """Both may come days later; it gives signs of life all the while, and says that it goes."""
    text = configuration(free_port(), {"door": {"source": "/dev/video_that_is_not_there"}})
    with Agent(tmp_path, text, environment=manager.environment) as agent:
        before = manager.hears("READY=1")
        assert any(each.startswith("EXTEND_TIMEOUT_USEC=") for each in before)
        manager.hears("WATCHDOG=1")
        manager.hears("WATCHDOG=1")
        assert 0 == agent.stop()
        assert "READY=1" not in manager.hears("STOPPING=1")


@need_data
def test_sighup_is_a_reload(tmp_path: Path, manager: Manager) -> None:
    """`systemctl reload` knows when the new configuration is in force."""
    text = configuration(free_port(), {"scene": SCENE})
    with Agent(tmp_path, text, environment=manager.environment) as agent:
        manager.hears("READY=1")
        agent.process.send_signal(signal.SIGHUP)
        manager.hears("RELOADING=1")
        manager.hears("READY=1")
        assert agent.logged("SIGHUP: done")
