"""liveness.py: what the service manager is told, and when."""

from __future__ import annotations

import dataclasses
import os
from types import SimpleNamespace
from typing import Any

import pytest

from edge_agent.cameras import CameraStatus
from edge_agent.liveness import Liveness, status_line
from edge_agent.predictions import ModelIdentity
from edge_agent.reports import CameraReport, Report, SlotReport
from edge_agent.slot import SlotStatus
from edge_agent.standing import DeviceStatus
from edge_agent.states import State
from edge_agent.succession import SuccessionReport
from edge_agent.systemd import ServiceManager
from tests.fakes.clock import FakeClock
from tests.test_systemd import Listener, listener

__all__ = ["listener"]

ON_CPU = DeviceStatus(
    device="cpu", aspired="cpu", degraded=False, degraded_s=0.0, reason=None, trouble=None, stick=None
)
SERVING: Any = SimpleNamespace(identity=ModelIdentity("default", "finish", "3f9c0a1b2c3d", "7"))
BOOTING = SuccessionReport("vetting", None, None, ())


def slot(classifier: Any = None, reason: str | None = None, *, is_down: bool = False) -> SlotReport:
    """The slot ``default`` once something could serve it."""
    state = State.READY if classifier else State.BACKOFF
    return SlotReport("default", SlotStatus("default", state, classifier, 0, 0, 0, reason, is_down), BOOTING)


UNKNOWN = SlotReport("default", None, BOOTING)


def report(
    *slots: SlotReport, cameras: tuple[CameraReport, ...] = (), faults: tuple[str, ...] = ()
) -> Report:
    """An agent with these."""
    return Report(ON_CPU, slots, cameras, {}, faults, 0)


def camera(name: str, state: Any = "online", blind: Any = None) -> CameraReport:
    """One in that state."""
    return CameraReport(name, 0.5, CameraStatus(state), blind)


class Desk:
    """The agent's end, with what its service manager hears."""

    def __init__(self, listener: Listener) -> None:
        self.clock = FakeClock()
        environ = {
            "NOTIFY_SOCKET": listener.socket.getsockname(),
            "WATCHDOG_USEC": "20000000",
            "WATCHDOG_PID": str(os.getpid()),
        }
        self.manager = ServiceManager.of(environ, self.clock)
        self.liveness = Liveness(self.manager)
        self._listener = listener

    def turn(self, told: Report, down: tuple[str, ...] = (), *, hangs: bool = False) -> list[str]:
        """What is heard of one turn, without the status."""
        self.liveness.turn(told, down, hangs=hangs)
        return [each for each in self.heard() if not each.startswith("STATUS=")]

    def heard(self) -> list[str]:
        """What came since."""
        return self._listener.heard()


@pytest.fixture
def desk(listener: Listener) -> Any:
    """A new one."""
    made = Desk(listener)
    yield made
    made.manager.close()


@pytest.mark.parametrize(
    ("told", "down"),
    [
        (slot(SERVING), ()),
        (UNKNOWN, ("default",)),
        (slot(reason="worker 7 ended by SIGSEGV"), ()),
        (slot(is_down=True), ()),
    ],
)
def test_it_is_ready_once_each_slot_has_its_verdict(desk: Desk, told: SlotReport, down: Any) -> None:
    """A model serves, or it is told why none does; told once."""
    assert ["EXTEND_TIMEOUT_USEC=60000000", "WATCHDOG=1"] == desk.turn(report(UNKNOWN))
    assert ["READY=1"] == desk.turn(report(told), down)
    assert [] == desk.turn(report(told), down)


def test_cameras_and_broker_keep_nobody_from_being_ready(desk: Desk) -> None:
    """They may be away for days, and the agent is started, watches and waits."""
    away = (camera("door", "offline"), camera("gate", "offline", "paused"))
    assert ["READY=1", "WATCHDOG=1"] == desk.turn(
        report(slot(SERVING), cameras=away, faults=("broker: refused",))
    )


def test_a_second_slot_is_waited_for(desk: Desk) -> None:
    """Ready means that all that is configured was looked at."""
    other = dataclasses.replace(UNKNOWN, slot="other")
    assert "READY=1" not in desk.turn(report(slot(SERVING), other))
    assert "READY=1" in desk.turn(report(slot(SERVING), other), ("other",))


def test_what_hangs_gives_no_sign_of_life(desk: Desk) -> None:
    """The watchdog is for lanes, and for the main loop that tells; it lives again when they do."""
    told = report(slot(SERVING))
    desk.turn(told)
    desk.clock.advance(10)
    assert [] == desk.turn(told, hangs=True)
    assert ["WATCHDOG=1"] == desk.turn(told)


def test_a_reload_lasts_from_reloading_to_ready(desk: Desk) -> None:
    """Before it was ready there is nothing to reload, and READY would be a lie."""
    desk.liveness.reloading()
    desk.liveness.reloaded()
    assert [] == desk.heard()
    desk.turn(report(slot(SERVING)))
    desk.liveness.reloading()
    desk.liveness.reloaded()
    assert ["RELOADING=1\nMONOTONIC_USEC=1000000", "READY=1"] == desk.heard()


def test_a_restart_in_its_own_process_is_a_reload(desk: Desk) -> None:
    """After STOPPING the service manager would end what comes next."""
    desk.turn(report(slot(SERVING)))
    desk.liveness.stop(restarting=True)
    assert ["RELOADING=1\nMONOTONIC_USEC=1000000"] == desk.heard()
    desk.liveness.stop(restarting=False)
    assert ["STOPPING=1"] == desk.heard()


def test_the_status_is_one_line_told_when_it_changes(desk: Desk) -> None:
    """For whoever looks at `systemctl status`."""
    cameras = (camera("door"), camera("gate", "offline"), camera("yard", "offline", "paused"))
    told = report(slot(SERVING), cameras=cameras, faults=("camera gate: refused; plug it in", "outbox: full"))
    line = (
        "cpu; default: finish 3f9c0a1b2c3d; cameras: 1 offline, 1 online, 1 paused; "
        "2 faults, the first: camera gate: refused; plug it in"
    )
    for _ in range(2):
        desk.liveness.turn(told, (), hangs=False)
    assert [f"STATUS={line}"] == [each for each in desk.heard() if each.startswith("STATUS=")]


def test_the_status_tells_what_is_missing() -> None:
    """Nothing serves, or not what should."""
    nothing = dataclasses.replace(ON_CPU, device=None)
    told = dataclasses.replace(report(UNKNOWN), device=nothing)
    assert "nothing serves; default: no model; cameras: none" == status_line(told)
    lost = dataclasses.replace(ON_CPU, aspired="edgetpu", degraded=True, trouble="lost")
    told = dataclasses.replace(report(slot(SERVING)), device=lost)
    assert status_line(told).startswith("cpu, not edgetpu; default: finish 3f9c0a1b2c3d")
