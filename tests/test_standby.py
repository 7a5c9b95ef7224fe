"""supervisor.py and slot.py: a slot that the Edge TPU serves, whose workers on the CPU were given up.

Stood in for: libedgetpu with its stick (`tests.edgetpu`). Real: workers, runtimes, models.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.edgetpu import EdgeTpuSettings
from edge_agent.errors import ModelRefusedError
from edge_agent.recovery import Ladder
from edge_agent.reports import SlotReport
from edge_agent.states import State
from edge_agent.succession import SuccessionReport
from edge_agent.vetting import vet_bundle
from edge_agent.worker_process import WorkerSettings
from tests.desks import CLOCK, Desk
from tests.edgetpu import Stick, libedgetpu
from tests.places import need_data
from tests.sticks import CPU_SMALL, SMALL, bundle_of, own_stick

pytestmark = need_data

LATER = Ladder(respawns=1, usb_resets=0, power_cycles=0, backoff_s=3600.0, backoff_max_s=3600.0)


@pytest.fixture
def stick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stick]:
    """Gives the CPU twin's own answers."""
    with own_stick(tmp_path, monkeypatch) as (_, stick):
        yield stick


@pytest.fixture
def desk(stick: Stick, tmp_path: Path) -> Iterator[Desk]:  # noqa: ARG001  the stick goes last
    """At work on the stick, without a standby that could be started."""
    worker = WorkerSettings(threads=1)
    vetted = vet_bundle(bundle_of(tmp_path / "both", SMALL, CPU_SMALL), worker, CLOCK)
    edgetpu = EdgeTpuSettings(library=str(libedgetpu()), look_every_s=0.05, threads=1, recovery=LATER)
    one = Desk(vetted, worker, timeout_s=20.0, edgetpu=edgetpu)
    one.start()
    try:
        one.until_on("edgetpu")
        standby = one.supervisor.standby("default")
        assert standby is not None
        one.supervisor.lost(standby, ModelRefusedError("it is not taken any more"))
        standby.runner.retire()
        yield one
    finally:
        one.close()


def test_a_standby_that_is_missing_is_a_fault(desk: Desk) -> None:
    """The stick serves on, and whoever looks at `health` learns that nothing would take over."""
    assert ["edgetpu"] * 5 == [each.device for each in desk.show(5)]
    status = desk.supervisor.status()[0]
    assert not status.is_down
    fault = SlotReport("default", status, SuccessionReport("serving", None, None, ())).fault or ""
    assert "the CPU does not stand by: " in fault
    assert "it is not taken any more" in fault


def test_when_the_stick_is_lost_the_cpu_gets_another_chance(desk: Desk, stick: Stick) -> None:
    """No slot is down while there is something left to try: the frame waits for a new worker."""
    stick.always("abort")
    shown = desk.show(5)
    assert [1, 2, 3, 4, 5] == [each.frame.number for each in shown]
    assert {("cpu", True)} == {(each.device, each.degraded) for each in shown}
    assert [] == desk.failed


def test_with_both_lost_the_stick_is_waited_for(desk: Desk, stick: Stick) -> None:
    """It has served, and will again: the agent must not end for want of a source that anybody looks at."""
    stick.always("abort")
    (shown,) = desk.show(1)
    serving = desk.supervisor.serving("default", 0.0)
    assert serving is not None
    assert (shown.device, serving.device) == ("cpu", "cpu")
    desk.supervisor.lost(serving, ModelRefusedError("it is not taken any more"))
    serving.runner.retire()
    assert desk.supervisor.serving("default", 0.0) is None
    status = desk.supervisor.status()[0]
    assert (State.FATAL, False) == (status.state, status.is_down)
    fault = SlotReport("default", status, SuccessionReport("serving", None, None, ())).fault or ""
    assert fault.endswith("or send SIGHUP to try again")
    desk.supervisor.forgive()
    assert [2, 3] == [each.frame.number for each in desk.show(2)]


def test_a_standby_can_be_asked_for_again(desk: Desk) -> None:
    """As SIGHUP does; the stick serves undisturbed."""
    serving = desk.supervisor.serving("default", 0.0)
    desk.supervisor.forgive()
    desk.until(lambda: desk.supervisor.standby("default") is not None)
    status = desk.supervisor.status()[0]
    assert (State.READY, None) == (status.state, status.reason)
    assert status.classifier is serving
