"""rig.py: what it reports of its cameras."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.cameras import Bell
from edge_agent.config import Config
from edge_agent.lane import Lane, LaneCamera
from edge_agent.rig import Rig
from tests.desks import CLOCK


class StillLane(Lane):
    """One that never runs; ``busy`` is whether frames are on their way."""

    def __init__(self, busy: bool, slot: str, bell: Bell) -> None:
        super().__init__(slot, bell, None, CLOCK, None, None)  # type: ignore[arg-type]
        self._busy = busy

    def holds(self, camera: LaneCamera | None = None) -> bool:  # noqa: ARG002  the shape of a lane
        """What the test says."""
        return self._busy


@pytest.mark.parametrize(
    ("busy", "down", "blind"),
    [(False, (), "camera"), (True, (), None), (True, ("default",), "model"), (False, ("other",), "camera")],
)
def test_a_camera_is_blind_while_nothing_of_it_is_looked_at(busy: bool, down: Any, blind: str | None) -> None:
    """One that gives no frames, once the last of them is answered; any whose slot serves nothing."""
    config = Config.model_validate(
        {"models": {"default": {"path": "/m"}}, "cameras": {"door": {"source": "scene:finishes"}}}
    )

    def still(slot: str, bell: Bell) -> Lane:
        return StillLane(busy, slot, bell)

    (report,) = Rig(config, still, CLOCK).reports(down)
    assert blind == report.blind


def test_a_dead_or_overdue_lane_is_stuck_and_no_camera_is() -> None:
    """What withholds the sign of life from systemd, and what a health check restarts the agent for."""
    config = Config.model_validate(
        {"models": {"default": {"path": "/m"}}, "cameras": {"door": {"source": "/dev/video_not_there"}}}
    )
    lanes: list[OverdueLane] = []

    def made(slot: str, bell: Bell) -> Lane:
        lanes.append(OverdueLane(busy=False, slot=slot, bell=bell))
        return lanes[-1]

    rig = Rig(config, made, CLOCK)
    assert [] == rig.stuck()
    lanes[0].late_s = 1.0
    assert ["lane default is 1 s past its deadline; restart the agent"] == rig.stuck()
    lanes[0].late_s = 0.0
    assert [] == rig.stuck()
    lanes[0].crash = RuntimeError("a fault of ours")
    assert [
        "lane default ended by an internal fault: RuntimeError('a fault of ours'); restart the agent"
    ] == rig.stuck()


class OverdueLane(StillLane):
    """One that is ``late_s`` past its deadline."""

    late_s = 0.0

    def overdue_s(self) -> float:
        """What the test says."""
        return self.late_s
