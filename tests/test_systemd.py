"""systemd.py: what reaches the service manager's socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.systemd import ServiceManager
from tests.fakes.clock import FakeClock


class Listener:
    """The service manager's end."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        """What came since the last call."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    """One at a path."""
    listening = Listener(str(tmp_path / "notify"))
    yield listening
    listening.socket.close()


def manager(listener: Listener, clock: FakeClock, **environ: str) -> ServiceManager:
    """The one that listens there."""
    return ServiceManager.of({"NOTIFY_SOCKET": listener.socket.getsockname(), **environ}, clock)


def test_each_word_is_sd_notify_s(listener: Listener) -> None:
    """One datagram for each, in the protocol's own terms."""
    told = manager(listener, FakeClock())
    told.extend_start(60)
    told.status("cpu; default: finish")
    told.ready()
    told.reloading()
    told.stopping()
    told.close()
    assert [
        "EXTEND_TIMEOUT_USEC=60000000",
        "STATUS=cpu; default: finish",
        "READY=1",
        "RELOADING=1\nMONOTONIC_USEC=1000000",
        "STOPPING=1",
    ] == listener.heard()


def test_an_abstract_socket_is_reached() -> None:
    """Its name begins with @ in the environment and with NUL in the kernel."""
    name = f"edge-agent-test-{os.getpid()}"
    listening = Listener(f"\0{name}")
    told = ServiceManager.of({"NOTIFY_SOCKET": f"@{name}"}, FakeClock())
    assert told.ready()
    told.close()
    assert ["READY=1"] == listening.heard()
    listening.socket.close()


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "relative"])
def test_nobody_who_can_be_told_is_no_failure(address: str | None) -> None:
    """In a terminal or a container nothing is told, and nothing is tried again."""
    told = ServiceManager.of({} if address is None else {"NOTIFY_SOCKET": address}, FakeClock())
    assert told.ready()
    told.close()


def test_what_is_not_heard_is_said_not_to_be(tmp_path: Path) -> None:
    """The service manager is being started anew: whoever tells must do it again."""
    told = ServiceManager.of({"NOTIFY_SOCKET": str(tmp_path / "nobody")}, FakeClock())
    assert not told.ready()
    told.close()


def test_a_full_queue_holds_nothing_up(listener: Listener) -> None:
    """The main loop never waits for the service manager."""
    told = manager(listener, FakeClock())
    while told.status("x"):
        continue
    assert listener.heard()
    assert told.status("x")
    told.close()


def test_signs_of_life_come_four_times_per_watchdog(listener: Listener) -> None:
    """However fast the main loop turns."""
    clock = FakeClock()
    told = manager(listener, clock, WATCHDOG_USEC="20000000", WATCHDOG_PID=str(os.getpid()))
    counts = []
    for _ in range(20):
        told.alive()
        counts.append(len(listener.heard()))
        clock.advance(1)
    told.close()
    assert [1, 0, 0, 0, 0] * 4 == counts


def test_a_sign_of_life_that_was_not_heard_comes_again(listener: Listener) -> None:
    """At the next turn, not after a quarter of the time."""
    told = manager(listener, FakeClock(), WATCHDOG_USEC="20000000")
    while told.status("x"):
        continue
    told.alive()
    listener.heard()
    told.alive()
    told.close()
    assert ["WATCHDOG=1"] == listener.heard()


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "9000000", "WATCHDOG_PID": "1"}],
)
def test_who_is_not_watched_gives_no_sign(listener: Listener, environ: dict[str, str]) -> None:
    """The variables may be another process's, inherited."""
    told = manager(listener, FakeClock(), **environ)
    told.alive()
    told.close()
    assert [] == listener.heard()
