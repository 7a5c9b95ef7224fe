"""rig.py: the cameras and lanes, as the configuration wants them now."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_agent.cameras import Bell
from edge_agent.classifier import Classifier
from edge_agent.clock import SystemClock
from edge_agent.config import Config
from edge_agent.errors import WorkerError
from edge_agent.lane import Lane
from edge_agent.reports import CameraReport
from edge_agent.rig import Rig

CLOCK = SystemClock()
PATIENCE_S = 30.0


class NothingServes:
    """Shaped like the supervisor: lanes take no frame, so that the test may."""

    def __init__(self) -> None:
        self._never = threading.Event()

    def serving(self, slot: str, timeout_s: float) -> Classifier | None:  # noqa: ARG002  the real one's shape
        """Nothing, in the time it takes."""
        self._never.wait(timeout_s)
        return None

    def lost(self, classifier: Classifier, error: WorkerError) -> None:
        """Nothing to be lost."""


class Stage:
    """A rig of one slot with the camera door, and its lane."""

    def __init__(self, **door: Any) -> None:
        self.bell = Bell()
        self.door = door
        self.rig = Rig(self.configured(), self._lane, CLOCK)

    def configured(self, **door: Any) -> Config:
        """With these keys of the camera besides."""
        return Config.model_validate(
            {
                "models": {"m": {"path": "/m", "threshold": 0.5}},
                "cameras": {"door": {"model": "m", "fps": 0, **self.door, **door}},
            }
        )

    def _lane(self, slot: str, bell: Bell) -> Lane:
        self.bell = bell
        self.lane = Lane(slot, bell, NothingServes(), CLOCK, lambda *_: None, lambda *_: None)
        return self.lane

    def report(self) -> CameraReport:
        """Of the door."""
        (report,) = self.rig.reports(())
        return report

    def next_number(self) -> int:
        """Wait for the next frame that the lane would take."""
        (camera,) = self.lane.cameras
        while (frame := camera.take()) is None:
            assert self.bell.wait(PATIENCE_S)
        return frame.number


def readers() -> list[threading.Thread]:
    """The threads that read the door's source."""
    return [each for each in threading.enumerate() if each.name.startswith("camera-door")]


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """One whose camera is live; the parameter adds keys."""
    stage = Stage(source="scene:finishes", **getattr(request, "param", {}))
    stage.rig.start()
    yield stage
    stage.rig.stop(1.0)


def test_a_paused_camera_is_released(stage: Stage) -> None:
    """No thread reads it, no lane takes from it, and the agent does not end for want of sources."""
    assert stage.next_number()
    assert [] == stage.rig.change(stage.configured(paused=True))
    assert [] == readers()
    assert () == stage.lane.cameras
    assert [] == stage.rig.lingering(["door"])
    report = stage.report()
    assert (True, "offline", None) == (report.paused, report.status.state, report.status.fault)
    assert [] == stage.rig.faults()
    assert not stage.rig.ended([])
    stage.rig.change(stage.configured())
    assert stage.next_number()
    assert not stage.report().paused


@pytest.mark.parametrize("stage", [{"paused": True}], indirect=True)
def test_a_camera_that_was_paused_before_is_not_touched(stage: Stage) -> None:
    """From the start on; what is changed of it meanwhile holds when it is resumed."""
    assert [] == readers()
    stage.rig.change(stage.configured(fps=5.0, paused=True))
    stage.rig.change(stage.configured(rotate=90, paused=True))
    assert [] == readers()
    stage.rig.change(stage.configured(rotate=90, paused=False))
    assert stage.next_number()


def test_what_is_no_matter_of_the_source_leaves_it_running(stage: Stage) -> None:
    """Rate, threshold, pictures: the same camera goes on with its numbers."""
    (camera,) = stage.lane.cameras
    first = stage.next_number()
    stage.rig.change(stage.configured(fps=50.0, threshold=0.25, snapshots={"every_s": 1.0}))
    assert (camera,) == stage.lane.cameras
    assert first < stage.next_number()
    assert 0.25 == stage.report().threshold
    stage.rig.change(stage.configured())
    assert 0.5 == stage.report().threshold
    stage.rig.change(stage.configured(mask=[[0.0, 0.0, 1.0, 0.5]]))
    assert (camera,) != stage.lane.cameras


def test_a_folder_is_held_where_it_is(tmp_path: Path) -> None:
    """It would begin again otherwise."""
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((8, 8, 3), np.uint8))
    stage = Stage(source=f"{tmp_path}/")
    stage.rig.start()
    assert 1 == stage.next_number()
    stage.rig.change(stage.configured(paused=True))
    assert () == stage.lane.cameras
    assert stage.report().paused
    assert not stage.rig.ended([])
    stage.rig.change(stage.configured())
    assert [2, 3, 4] == [stage.next_number() for _ in range(3)]
    stage.rig.stop(1.0)


def asked_by_a_camera(silent: socket.socket) -> socket.socket:
    """The connection on which a stream is asked for; whether anything answers is tried on others before."""
    while True:
        waiting, _ = silent.accept()
        if waiting.recv(7):
            return waiting
        waiting.close()


def test_a_source_that_does_not_return_is_told() -> None:
    """The pause does not wait for it, and it is let go of as soon as it returns."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stage = Stage(source=f"rtsp://127.0.0.1:{silent.getsockname()[1]}/", fps=0)
        stage.rig.start()
        silent.settimeout(PATIENCE_S)
        with asked_by_a_camera(silent):
            stage.rig.change(stage.configured(paused=True))
            assert (["door"], []) == (stage.rig.lingering(["door"]), stage.rig.lingering(["other"]))
            assert ("offline", None) == (stage.report().status.state, stage.report().status.fault)
    for reader in readers():
        reader.join(PATIENCE_S)
    assert [] == stage.rig.lingering(["door"])
    stage.rig.stop(1.0)
