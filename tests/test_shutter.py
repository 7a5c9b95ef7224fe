"""shutter.py: when a picture is taken, and where it goes."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest

from edge_agent.beside import Beside
from edge_agent.errors import CameraError, EdgeAgentError
from edge_agent.frames import Frame, Pixels
from edge_agent.images import decode_image
from edge_agent.predictions import Prediction
from edge_agent.shutter import PATIENCE_S, Shutter, Snapshot, SnapshotRule
from edge_agent.snapshots import SnapshotStyle
from tests.fakes.clock import FakeClock
from tests.test_reporter import prediction


class Desk:
    """A shutter with the camera "door", its main loop turned by hand."""

    def __init__(self, rule: SnapshotRule | None = None) -> None:
        self.clock = FakeClock()
        self.woken = threading.Event()
        self.published: list[tuple[str, bytes]] = []
        self.told: list[Snapshot | EdgeAgentError] = []
        self.refusal: EdgeAgentError | None = None
        self.beside = Beside(self.woken.set)
        self.shutter = Shutter(
            lambda *published: self.published.append(published),
            self._seen,
            self.beside,
            self.clock,
            self.woken.set,
        )
        self.shutter.set_rules({"door": rule or SnapshotRule()})

    def _seen(self, prediction: Prediction) -> Pixels:
        if self.refusal is not None:
            raise self.refusal
        return prediction.frame.pixels[:1]

    def see(self, *, began: bool = False, camera: str = "door", number: int = 7) -> None:
        """The lane hands a frame over."""
        seen = prediction("a")
        frame = Frame(np.zeros((2, 2, 3), np.uint8), number, 0, 0)
        self.shutter.see(camera, dataclasses.replace(seen, frame=frame), began=began)

    def turn(self) -> None:
        """Turn until nothing is encoded any more."""
        self.shutter.turn()
        while self.beside.busy:
            assert self.woken.wait(30)
            self.woken.clear()
            self.beside.settle()
            self.shutter.turn()

    def sizes(self) -> list[tuple[int, ...]]:
        """Of what was published."""
        return [decode_image(jpeg, "it").shape for _, jpeg in self.published]


def test_nothing_is_taken_that_nobody_wants() -> None:
    """By default a picture is taken only when it is asked for, and no frame is kept."""
    desk = Desk()
    desk.see(began=True)
    desk.see(camera="yard", began=True)
    desk.turn()
    assert [] == desk.published
    assert not desk.woken.is_set()


def test_whoever_asks_gets_the_next_frame() -> None:
    """Published once, told to each that asked; a frame from before is not it."""
    desk = Desk()
    desk.see(number=6)
    for _ in range(2):
        desk.shutter.ask("door", desk.told.append)
    desk.see(number=7)
    desk.see(number=8)
    desk.turn()
    assert ["door"] == [camera for camera, _ in desk.published]
    assert [7, 7] == [told.prediction.frame.number for told in desk.told if isinstance(told, Snapshot)]
    desk.see(number=9)
    desk.turn()
    assert 1 == len(desk.published)


def test_who_asks_while_a_picture_waits_gets_a_newer_one() -> None:
    """One that was taken before it was asked for is not it, whether it waits or is being encoded."""
    desk = Desk()
    desk.shutter.ask("door", desk.told.append)
    desk.see(number=6)
    desk.shutter.ask("door", desk.told.append)
    desk.turn()
    desk.see(number=7)
    desk.shutter.turn()
    desk.shutter.ask("door", desk.told.append)
    desk.see(number=8)
    desk.turn()
    assert [6, 7, 8] == [told.prediction.frame.number for told in desk.told if isinstance(told, Snapshot)]
    assert 3 == len(desk.published)


def test_a_picture_that_is_being_encoded_answers_who_asked_for_it() -> None:
    """The frames that come meanwhile are not wanted."""
    desk = Desk()
    desk.shutter.ask("door", desk.told.append)
    desk.see(number=6)
    desk.shutter.turn()
    desk.see(number=7)
    desk.turn()
    assert 1 == len(desk.published)


def test_when_a_label_begins() -> None:
    """Only with on_event, and not with every frame."""
    desk = Desk(SnapshotRule(on_event=True))
    desk.see()
    desk.turn()
    desk.see(began=True)
    desk.turn()
    assert 1 == len(desk.published)


def test_every_so_many_seconds() -> None:
    """The first frame, then the first one after each interval."""
    desk = Desk(SnapshotRule(every_s=60))
    for _ in range(3):
        desk.see()
        desk.turn()
    assert 1 == len(desk.published)
    desk.clock.advance(60)
    desk.see()
    desk.turn()
    assert 2 == len(desk.published)


def test_the_rule_says_how_it_looks() -> None:
    """Its crop, its caption."""
    style = SnapshotStyle(kind="crop")
    desk = Desk(SnapshotRule(on_event=True, style=style))
    desk.see(began=True)
    desk.turn()
    desk.shutter.set_rules({"door": SnapshotRule(on_event=True, style=SnapshotStyle(caption=True))})
    desk.see(began=True)
    desk.turn()
    assert [(1, 2, 3), (14, 2, 3)] == desk.sizes()


def test_of_a_camera_that_is_paused_nothing_is_published() -> None:
    """Neither what waits nor what is being encoded; whoever asked is told."""
    desk = Desk(SnapshotRule(on_event=True))
    desk.shutter.ask("door", desk.told.append)
    desk.see(began=True)
    desk.shutter.turn()  # it is being encoded now
    desk.see(began=True)
    desk.shutter.set_rules({})
    desk.turn()
    desk.see(began=True)
    desk.turn()
    assert [] == desk.published
    assert ["camera door is paused"] == [str(told) for told in desk.told]


def test_a_camera_that_shows_nothing_is_given_up() -> None:
    """Whoever asked is told, and the next one waits anew."""
    desk = Desk()
    desk.shutter.ask("door", desk.told.append)
    desk.clock.advance(PATIENCE_S)
    desk.turn()
    assert [] == desk.told
    desk.clock.advance(0.1)
    desk.turn()
    assert [CameraError] == [type(told) for told in desk.told]
    desk.see()
    desk.turn()
    assert [] == desk.published


def test_what_cannot_be_encoded_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """And the next one is taken all the same."""
    desk = Desk(SnapshotRule(style=SnapshotStyle(kind="crop")))
    desk.refusal = CameraError("no model serves now")
    desk.shutter.ask("door", desk.told.append)
    desk.see()
    desk.turn()
    assert ([desk.refusal], 1) == (desk.told, len(caplog.records))
    desk.refusal = None
    desk.shutter.ask("door", desk.told.append)
    desk.see()
    desk.turn()
    assert isinstance(desk.told[1], Snapshot)
