"""delivery.py: what a lane hands over, given to the rooms that want it."""

from __future__ import annotations

from typing import Any, cast

from edge_agent.delivery import Delivery
from edge_agent.frames import Frame
from edge_agent.predictions import Prediction
from tests.test_reporter import prediction


class Camera:
    """Shaped like LaneCamera: there is nothing to take."""

    def __init__(self, *, lossless: bool) -> None:
        self.name = "door"
        self.lossless = lossless

    def take(self) -> Frame | None:
        """Nothing."""
        return None


class Rooms:
    """Stands for each of the rooms, and notes who was told."""

    def __init__(self, frames: int | None = None) -> None:
        self.told: list[str] = []
        self.paused = False
        rooms = cast("Any", self)
        self.delivery = Delivery(
            rooms,
            {"default": rooms},
            rooms,
            rooms,
            rooms,
            lambda _camera: self.paused,
            lambda: self.told.append("ring"),
            frames=frames,
            on_prediction=lambda camera, _: self.told.append(f"shown {camera}"),
        )

    def deliver(self, *, lossless: bool = False) -> None:
        """As the lane does."""
        self.delivery.deliver(Camera(lossless=lossless), prediction("a"))

    def observe(self, _prediction: Prediction) -> None:
        """Of a succession."""
        self.told.append("observe")

    def prediction(self, _camera: str, _prediction: Prediction, *, live: bool) -> bool:
        """Of the reporter."""
        self.told.append("live" if live else "kept")
        return True

    def see(self, _camera: str, _prediction: Prediction, *, began: bool) -> None:
        """Of the shutter."""
        self.told.append(f"began {began}")


def test_a_prediction_is_judged_told_and_pictured() -> None:
    """In this order; what a live camera sees is worth nothing later."""
    rooms = Rooms()
    rooms.deliver()
    rooms.deliver(lossless=True)
    assert ["observe", "live", "began True", "shown door"] == rooms.told[:4]
    assert ["observe", "kept", "began True", "shown door"] == rooms.told[4:]


def test_what_was_on_its_way_when_its_camera_was_paused() -> None:
    """Of a live camera it is dropped; a file or folder loses none."""
    rooms = Rooms()
    rooms.paused = True
    rooms.deliver()
    assert [] == rooms.told
    rooms.deliver(lossless=True)
    assert "kept" in rooms.told


def test_as_many_predictions_as_were_wanted_and_not_one_more() -> None:
    """The last one ends the wait of the main loop, once it is told."""
    rooms = Rooms(frames=2)
    full = []
    for _ in range(2):
        rooms.deliver()
        full.append(rooms.delivery.full)
    assert [False, True] == full
    assert ["shown door", "ring"] == rooms.told[-2:]
    count = len(rooms.told)
    rooms.deliver()
    assert count == len(rooms.told)
