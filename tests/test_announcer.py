"""announcer.py: what Home Assistant is told, and when it is taken back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.announced import FILE, announced_file
from edge_agent.announcer import BIRTH_S, SETTLE_S, TAKEN_IN_S, Announcer
from edge_agent.homeassistant import discovery_topic
from edge_agent.mqtt import Received
from edge_agent.state_file import AGAIN_S
from tests.fakes.clock import FakeClock
from tests.fakes.publisher import RecordingPublisher
from tests.test_homeassistant import AGENT, DOOR, SHELF

TOPIC = discovery_topic("homeassistant", AGENT.id)
ALONE = dataclasses.replace(AGENT, cameras=(DOOR,))


class Desk:
    """An announcer, its clock, its file and what it published; ``restart`` makes the next one."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.clock = FakeClock()
        self.restart()

    def restart(self, prefix: str = "homeassistant") -> None:
        """The agent starts again."""
        self.publisher = RecordingPublisher()
        file = announced_file(self.state_dir, lambda work: work(), self.clock)
        self.announcer = Announcer(self.publisher, prefix, file, self.clock)

    def settle(self) -> None:
        """The connection lasts."""
        self.announcer.turn(connected=True)
        self.clock.advance(SETTLE_S)
        self.announcer.turn(connected=True)

    def announced(self) -> list[dict[str, Any]]:
        """The components of each payload that was published, in order."""
        assert all(each.retain for each in self.publisher.published)
        return [json.loads(payload)["components"] for payload in self.publisher.on(TOPIC)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A new one."""
    return Desk(tmp_path / "state")


def test_an_agent_is_announced_once(desk: Desk) -> None:
    """Retained; as long as nothing changes, nothing is published."""
    for _ in range(3):
        desk.announcer.announce(AGENT)
        desk.settle()
    assert 1 == len(desk.announced())
    assert "camera.shelf.labels.ripe" in desk.announced()[0]


def test_a_camera_that_goes_leaves_its_platforms_and_then_nothing(desk: Desk) -> None:
    """Home Assistant removes an entity of which only the platform is left; then it may be left out."""
    desk.announcer.announce(AGENT)
    desk.announcer.announce(ALONE)
    told = desk.announced()[-1]
    assert {"platform": "binary_sensor"} == told["camera.shelf.labels.ripe"]
    assert {"platform": "event"} == told["camera.shelf.event"]
    assert "unique_id" in told["camera.door.label"]
    desk.settle()
    assert [key for key in desk.announced()[0] if not key.startswith("camera.shelf.")] == list(
        desk.announced()[-1]
    )
    desk.settle()
    assert 3 == len(desk.announced())


def test_nothing_is_left_out_before_the_broker_had_time_for_it(desk: Desk) -> None:
    """The time runs while the connection stands: a retained message that waits would be replaced unsent."""
    desk.announcer.announce(AGENT)
    desk.announcer.announce(ALONE)
    for connected in (True, False, True):
        desk.announcer.turn(connected=connected)
        desk.clock.advance(SETTLE_S * 0.9)
    desk.announcer.turn(connected=True)
    assert 2 == len(desk.announced())
    desk.clock.advance(SETTLE_S * 0.1)
    desk.announcer.turn(connected=True)
    assert 3 == len(desk.announced())


def test_a_camera_that_comes_back_is_removed_no_more(desk: Desk) -> None:
    """Its entities are whole again, and stay so."""
    for agent in (AGENT, ALONE, AGENT):
        desk.announcer.announce(agent)
    desk.settle()
    assert 3 == len(desk.announced())
    assert desk.announced()[0] == desk.announced()[-1]


@pytest.mark.parametrize("settled", [True, False])
def test_what_went_while_the_agent_was_stopped_vanishes_at_its_start(desk: Desk, settled: bool) -> None:
    """Also where the agent was killed before Home Assistant had heard it."""
    desk.announcer.announce(AGENT)
    if settled:
        desk.settle()
    else:
        desk.announcer.announce(ALONE)
    desk.restart()
    desk.announcer.announce(ALONE)
    assert {"platform": "image"} == desk.announced()[-1]["camera.shelf.image"]
    desk.settle()
    desk.restart()
    desk.announcer.announce(ALONE)
    assert not [key for key in desk.announced()[-1] if key.startswith("camera.shelf.")]


def test_labels_that_are_not_known_yet_are_not_removed(desk: Desk) -> None:
    """A model that takes long to serve must not cost the user what was set up for its labels."""
    desk.announcer.announce(AGENT)
    desk.restart()
    waiting = dataclasses.replace(AGENT, cameras=(DOOR, dataclasses.replace(SHELF, labels=None)))
    desk.announcer.announce(waiting)
    assert "camera.shelf.labels.ripe" not in desk.announced()[-1]
    fewer = dataclasses.replace(AGENT, cameras=(DOOR, dataclasses.replace(SHELF, labels=("wet",))))
    desk.announcer.announce(fewer)
    told = desk.announced()[-1]
    assert {"platform": "binary_sensor"} == told["camera.shelf.labels.ripe"]
    assert "unique_id" in told["camera.shelf.labels.wet"]


def test_turned_off_the_agent_vanishes(desk: Desk) -> None:
    """An empty retained payload, once; and after that nothing is remembered."""
    desk.announcer.announce(AGENT)
    desk.restart()
    for _ in range(2):
        desk.announcer.withdraw()
        desk.settle()
    assert [b""] == desk.publisher.on(TOPIC)
    assert not (desk.state_dir / FILE).exists()
    desk.restart()
    desk.announcer.withdraw()
    assert [] == desk.publisher.published


def test_turned_off_it_is_said_again_until_the_broker_heard_it(desk: Desk) -> None:
    """A start without a broker must not leave the agent in Home Assistant for ever."""
    desk.announcer.announce(AGENT)
    for _ in range(2):
        desk.restart()
        desk.announcer.withdraw()
        desk.announcer.turn(connected=False)
        assert [b""] == desk.publisher.on(TOPIC)


def test_one_that_was_never_announced_publishes_nothing(desk: Desk) -> None:
    """Whoever has no Home Assistant finds no message of it on the broker, and no file."""
    desk.announcer.withdraw()
    desk.settle()
    assert [] == desk.publisher.published
    assert not desk.state_dir.exists()


def test_another_prefix_leaves_nothing_at_the_first(desk: Desk) -> None:
    """The device would be there twice."""
    desk.announcer.announce(AGENT)
    desk.restart(prefix="home")
    desk.announcer.announce(AGENT)
    assert [b""] == desk.publisher.on(TOPIC)
    assert 1 == len(desk.publisher.on(discovery_topic("home", AGENT.id)))


@pytest.mark.parametrize("then", ["home", "homeassistant", "third"])
def test_an_old_prefix_is_cleared_until_the_broker_heard_it(desk: Desk, then: str) -> None:
    """A run without a broker in between must not leave the device there twice."""
    desk.announcer.announce(AGENT)
    desk.restart(prefix="home")
    desk.announcer.announce(AGENT)
    desk.announcer.turn(connected=False)
    desk.restart(prefix=then)
    desk.announcer.announce(AGENT)
    here = discovery_topic(then, AGENT.id)
    for prefix in {"home", "homeassistant"} - {then}:
        assert [b""] == desk.publisher.on(discovery_topic(prefix, AGENT.id))
    assert [False] == [payload == b"" for payload in desk.publisher.on(here)]
    desk.settle()
    desk.restart(prefix=then)
    desk.announcer.announce(AGENT)
    assert [here] == [each.topic for each in desk.publisher.published]


def test_turned_off_every_prefix_is_cleared(desk: Desk) -> None:
    """Also one of which the broker has not heard yet."""
    desk.announcer.announce(AGENT)
    desk.restart(prefix="home")
    desk.announcer.announce(AGENT)
    desk.restart(prefix="home")
    desk.announcer.withdraw()
    assert {TOPIC: [b""], discovery_topic("home", AGENT.id): [b""]} == {
        each.topic: desk.publisher.on(each.topic) for each in desk.publisher.published
    }


def test_after_an_announcement_all_is_told_again(desk: Desk) -> None:
    """Once, and while connected: a label that came before its option was ignored."""
    for labels, resent in ((("wet",), 1), (("dry",), 2)):
        shelf = dataclasses.replace(SHELF, labels=labels)
        desk.announcer.announce(dataclasses.replace(AGENT, cameras=(DOOR, shelf)))
        for connected in (True, False, True):
            desk.announcer.turn(connected=connected)
            assert resent - 1 == desk.publisher.resent
            desk.clock.advance(TAKEN_IN_S * 0.9)
        for _ in range(2):
            desk.clock.advance(TAKEN_IN_S)
            desk.announcer.turn(connected=True)
            assert resent == desk.publisher.resent


def test_a_birth_has_everything_told_again_after_a_moment(desk: Desk) -> None:
    """Once per birth, and not at the same instant as every other device."""
    desk.announcer.hear(Received("homeassistant/status", b"online", False))
    desk.announcer.turn(connected=True)
    assert 0 == desk.publisher.resent
    desk.clock.advance(BIRTH_S[1])
    for _ in range(2):
        desk.announcer.turn(connected=True)
        assert 1 == desk.publisher.resent


@pytest.mark.parametrize(("payload", "retained"), [(b"offline", False), (b"online", True), (b"", False)])
def test_what_is_no_birth_is_passed_over(desk: Desk, payload: bytes, retained: bool) -> None:
    """Home Assistant's end, and a birth that is long past."""
    desk.announcer.hear(Received("homeassistant/status", payload, retained))
    desk.clock.advance(BIRTH_S[1])
    desk.announcer.turn(connected=True)
    assert 0 == desk.publisher.resent


@pytest.mark.parametrize("content", [b"", b"[]", b'{"topic": 1}', b"\xff"])
def test_a_damaged_memory_hurts_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """One line, and the agent is announced as ever."""
    (tmp_path / FILE).write_bytes(content)
    desk = Desk(tmp_path)
    desk.announcer.announce(AGENT)
    assert ["it is damaged" in record.getMessage() for record in caplog.records] == [True]
    assert 1 == len(desk.announced())
    assert announced_file(tmp_path, lambda work: work(), desk.clock).read() is not None


def test_a_disk_that_refuses_hurts_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file in the way of the folder stands for it."""
    (tmp_path / "state").write_text("")
    desk = Desk(tmp_path / "state")
    desk.announcer.announce(AGENT)
    assert 1 == len(desk.announced())
    assert "Home Assistant may keep entities that are gone" in caplog.text
    (tmp_path / "state").unlink()
    desk.clock.advance(AGAIN_S)
    desk.announcer.turn(connected=False)
    assert announced_file(tmp_path / "state", lambda work: work(), desk.clock).read() is not None
