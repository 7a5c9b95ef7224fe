"""rig.py: what it reports of its cameras."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from edge_agent.cameras import Bell
from edge_agent.config import Config
from edge_agent.lane import Lane, LaneCamera
from edge_agent.rig import Rig
from tests.desks import CLOCK

DOOR = Config.model_validate(
    {"models": {"default": {"path": "/m"}}, "cameras": {"door": {"source": "scene:finishes"}}}
)


class StillLane(Lane):
    """One that never runs; ``busy`` is whether frames are on their way."""

    def __init__(self, busy: bool, slot: str, bell: Bell) -> None:
        super().__init__(slot, bell, None, CLOCK, None, None)  # type: ignore[arg-type]
        self._busy = busy
        self.late_s = 0.0

    def overdue_s(self) -> float:
        """What the test says."""
        return self.late_s

    def holds(self, camera: LaneCamera | None = None) -> bool:  # noqa: ARG002  the shape of a lane
        """What the test says."""
        return self._busy


@pytest.mark.parametrize(
    ("busy", "down", "blind"),
    [(False, (), "camera"), (True, (), None), (True, ("default",), "model"), (False, ("other",), "camera")],
)
def test_a_camera_is_blind_while_nothing_of_it_is_looked_at(busy: bool, down: Any, blind: str | None) -> None:
    """One that gives no frames, once the last of them is answered; any whose slot serves nothing."""
    (report,) = Rig(DOOR, partial(StillLane, busy), CLOCK).reports(down)
    assert blind == report.blind


def test_a_dead_or_overdue_lane_is_stuck() -> None:
    """What withholds the sign of life from systemd, and what a health check restarts the agent for.

    By how much it is late is no news: each fault that changes is told as an event, and kept meanwhile.
    """
    lane = StillLane(True, "default", Bell())
    rig = Rig(DOOR, lambda _slot, _bell: lane, CLOCK)
    told = []
    for lane.late_s in (0.0, 1.0, 60.0):
        told.append(rig.stuck())
    late = ["lane default is past its deadline; if that lasts, restart the agent"]
    assert [[], late, late] == told
    lane.crash = RuntimeError("a fault of ours")
    dead = "lane default ended by an internal fault: RuntimeError('a fault of ours'); restart the agent"
    assert [dead] == rig.stuck()
