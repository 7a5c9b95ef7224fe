"""``edge-agent status``: the screen, and --check. What is asked of a real agent is in test_verbs.py."""

from __future__ import annotations

import copy
import queue
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cli.overview import age_text, duration_text, screen, unit_of
from edge_agent.cli.status import check
from edge_agent.clock import SystemClock
from edge_agent.control_socket import ControlClient, ControlRequest, ControlServer
from edge_agent.errors import AgentBusyError, AgentNotRunningError, ControlError
from tests.test_models_installed import DOCUMENTED


class Told:
    """A client that has an answer of its own."""

    def __init__(self, **health: Any) -> None:
        self.answer = copy.deepcopy(DOCUMENTED["status"][1][-1]["data"])
        self.answer["health"].update(health)

    def ask(self, verb: str) -> Any:
        """The answer to ``status``."""
        assert "status" == verb
        return self.answer


def checked(**health: Any) -> None:
    """Have an agent checked that says this."""
    check(Told(**health))  # type: ignore[arg-type]


def test_what_is_away_needs_no_restart() -> None:
    """A restart brings no camera, broker or stick back."""
    checked(degraded=True, device=None, faults=["camera door: there is no /dev/video0; plug it in"])


def test_an_agent_that_does_not_know_it_is_left_alone() -> None:
    """One of before tells nothing of being stuck."""
    told = Told()
    del told.answer["health"]["stuck"]
    del told.answer["cameras"][0]["frame_age_s"]
    check(told)  # type: ignore[arg-type]
    assert list(screen(told.answer))


def test_what_is_stuck_needs_a_restart() -> None:
    """The reason, and the remedy."""
    with pytest.raises(ControlError) as refusal:
        checked(stuck=["lane default is 9 s past its deadline; restart the agent"])
    assert "lane default is 9 s past its deadline; restart the agent" == str(refusal.value)


def test_a_main_loop_that_hangs_is_told_within_bounds(tmp_path: Path) -> None:
    """The socket is there and takes the question, and nobody answers."""
    requests: queue.SimpleQueue[ControlRequest] = queue.SimpleQueue()
    server = ControlServer(tmp_path / "s", requests, lambda: None, SystemClock())
    try:
        with pytest.raises(AgentBusyError):
            check(ControlClient(tmp_path / "s", 0.2))
    finally:
        server.close()


def test_no_agent_is_told(tmp_path: Path) -> None:
    """As any command tells it."""
    with pytest.raises(AgentNotRunningError):
        check(ControlClient(tmp_path / "none"))


def test_the_screen_fits_80_columns() -> None:
    """Text is folded between words; what has none is left whole."""
    told = Told(
        reason="Edge TPU usb:0 lost 12 s ago: worker 4711 ended by SIGABRT; " * 3,
        faults=["camera yard: 192.0.2.7:554 does not answer; check that the camera is powered " * 2],
    ).answer
    told["models"][0]["serving"]["iteration"] = "00000000-0000-0000-0000-000000000001"
    assert 80 >= max(map(len, screen(told)))


def test_what_is_not_known_yet_is_a_dash() -> None:
    """A slot that serves nothing, a camera without a frame."""
    told = Told().answer
    told["models"][0].update(serving=None, previous=None)
    told["cameras"][0].update(frame_age_s=None, inference_ms=None, state="connecting", fps=0.0)
    lines = list(screen(told))
    assert any(line.split() == ["default", "probation", "nothing", "serves", "-", "-", "-"] for line in lines)
    assert any(line.split() == ["door", "connecting", "0.0", "3", "0", "-", "-"] for line in lines)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(5, "5 s"), (61, "1 min 1 s"), (11_533, "3 h 12 min"), (90_000, "1 d 1 h"), (86_400, "1 d 0 h")],
)
def test_a_duration_has_its_two_largest_units(seconds: int, expected: str) -> None:
    """Nobody wants the seconds of a week."""
    assert expected == duration_text(seconds)


def test_an_age_is_exact_while_it_matters() -> None:
    """Tenths below a minute."""
    assert ("0.2 s", "2 min 5 s") == (age_text(0.2), age_text(125.4))


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        ("0::/system.slice/edge-agent.service\n", "edge-agent.service"),
        ("0::/system.slice/system-edge.slice/edge-agent@dock.service\n", "edge-agent@dock.service"),
        ("1:name=systemd:/system.slice/edge-agent.service\n0::/x\n", "edge-agent.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope\n", None),
        ("0::/\n", None),
    ],
)
def test_the_service_is_told_from_the_control_group(cgroup: str, expected: str | None) -> None:
    """What a login started belongs to no service of ours."""
    assert expected == unit_of(cgroup)
