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


def test_a_lane_that_ended_is_stuck() -> None:
    """Nothing starts it again: what a health check restarts the agent for."""
    config = Config.model_validate(
        {"models": {"default": {"path": "/m"}}, "cameras": {"door": {"source": "scene:finishes"}}}
    )
    lanes: list[Lane] = []

    def still(slot: str, bell: Bell) -> Lane:
        lanes.append(StillLane(False, slot, bell))
        return lanes[-1]

    rig = Rig(config, still, CLOCK)
    assert [] == rig.stuck()
    lanes[0].crash = RuntimeError("gone")
    assert ["lane default ended by an internal fault: RuntimeError('gone'); restart the agent"] == rig.stuck()
