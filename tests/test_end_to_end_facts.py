"""The whole agent, and what it says of labels: settled ones, events, and that neither lies."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from tests.agents import TOPICS, Agent, Listener, configuration, sturdy_broker, toml
from tests.brokers import Broker
from tests.places import CORAL, need_data

CLIP = CORAL / "bottle-detection.mp4"
SCENE = {"scene": {"source": "scene:finishes"}}
LABEL, EVENT = TOPICS.label("scene"), TOPICS.event("scene")


def facts(port: int, camera: dict[str, Any] | None = None, **keys: object) -> str:
    """An agent with one camera, and these keys of its facts."""
    cameras = {"scene": {**SCENE["scene"], **(camera or {})}}
    return configuration(port, cameras) + toml({"cameras.scene.facts": keys})


def events(listener: Listener) -> list[Any]:
    """The events of the camera, in order."""
    return [json.loads(payload) for payload in listener.payloads(EVENT)]


def last_event(listener: Listener) -> tuple[str, str | None] | None:
    """How the newest one is called, and why it ended."""
    return next(((each["event_type"], each["reason"]) for each in reversed(events(listener))), None)


@need_data
def test_events_and_labels_are_those_of_the_predictions(tmp_path: Path) -> None:
    """A clip to its end: without rules each change of the best label is an end and a beginning, and the last
    one ends with the camera.
    """
    with sturdy_broker() as broker, Listener(broker.port) as listener:
        with Agent(tmp_path, facts(broker.port, {"source": CLIP})) as agent:
            assert 0 == agent.ends()
        assert listener.says(TOPICS.availability, b"offline")
        predictions = listener.predictions("scene")
        assert list(range(1, len(predictions) + 1)) == [each["sequence"] for each in predictions]
        best = [
            label for label, _ in itertools.groupby(each["predictions"][0]["label"] for each in predictions)
        ]
        assert 3 < len(best)
        told = events(listener)
        began = [each for each in told if each["event_type"] == "began"]
        ended = [each for each in told if each["event_type"] == "ended"]
        assert best == [each["label"] for each in began]
        assert [each["id"] for each in began] == [each["id"] for each in ended]
        assert ["left"] * (len(best) - 1) + ["camera"] == [each["reason"] for each in ended]
        assert [each["began_at"] for each in began] == [each["began_at"] for each in ended]
        moments = {each["captured_at"] for each in predictions}
        assert {each["began_at"] for each in began} <= moments
        assert b"unknown" == listener.payloads(LABEL)[-1]


@need_data
def test_facts_change_while_the_camera_goes_on(tmp_path: Path) -> None:
    """SIGHUP: what nothing reaches leaves the label unknown; states come and go with per_label."""
    with (
        sturdy_broker() as broker,
        Listener(broker.port) as listener,
        Agent(tmp_path, facts(broker.port)) as agent,
    ):
        assert listener.predicts_on("scene")
        assert listener.until(lambda: last_event(listener) == ("began", None))
        agent.reload(facts(broker.port, {"publish": "change"}, enter=1.0, leave=1.0, per_label=True))
        assert listener.says(LABEL, b"unknown")
        assert listener.until(lambda: last_event(listener) == ("ended", "left"))
        state = TOPICS.label_state("scene", "background")
        assert listener.says(state, b"OFF")
        agent.reload(facts(broker.port))
        assert listener.says(state, b"")
        assert listener.predicts_on("scene")
        assert agent.log("SIGHUP: cameras.scene.facts.enter: not set -> 1.0")
        assert 1 == len(agent.log("camera scene is online"))
        heard = [each["sequence"] for each in listener.predictions("scene")]
        assert list(range(1, len(heard) + 1)) == heard


@need_data
def test_facts_of_a_refused_configuration_are_not_heard_of(tmp_path: Path) -> None:
    """SIGHUP with a camera that can never work: the rules that came with it hold for no frame."""
    with (
        Broker() as broker,
        Listener(broker.port) as listener,
        Agent(tmp_path, facts(broker.port)) as agent,
    ):
        assert listener.predicts_on("scene")
        known = len(listener.payloads(LABEL))
        cameras = {**SCENE, "odd": {"source": "gopher://x/"}}
        rules = toml({"cameras.scene.facts": {"enter": 1.0, "leave": 1.0}})
        agent.reload(configuration(broker.port, cameras) + rules)
        assert agent.logged("SIGHUP: the configuration stays as it was")
        assert listener.predicts_on("scene")
        assert b"unknown" not in listener.payloads(LABEL)[known:]


@need_data
def test_the_end_of_the_agent_is_the_end_of_what_is_settled(tmp_path: Path) -> None:
    """SIGTERM: the open event ends, and the retained label says that nothing is known."""
    with Broker() as broker, Listener(broker.port) as listener:
        with Agent(tmp_path, facts(broker.port)) as agent:
            assert listener.predicts_on("scene")
            assert 0 == agent.stop()
        assert listener.says(TOPICS.availability, b"offline")
        assert ("ended", "stopped") == last_event(listener)
        with Listener(broker.port) as late:
            assert late.says(LABEL, b"unknown")
            assert [] == events(late)


@need_data
def test_a_start_takes_back_what_a_killed_agent_left(tmp_path: Path) -> None:
    """After SIGKILL the label stays retained; the next agent says `unknown` before it has seen anything."""
    with Broker() as broker, Listener(broker.port) as listener:
        with Agent(tmp_path, facts(broker.port)) as agent:
            assert listener.predicts_on("scene")
            agent.process.kill()
            agent.ends()
        assert listener.says(TOPICS.availability, b"offline")
        assert b"unknown" != listener.payloads(LABEL)[-1]
        (tmp_path / "next").mkdir()
        with Agent(tmp_path / "next", facts(broker.port), fault="hang", turns=[0], vetting=True) as agent:
            assert listener.says(LABEL, b"unknown")
            agent.process.kill()


@need_data
def test_a_start_takes_back_the_states_that_a_killed_agent_left(tmp_path: Path) -> None:
    """Though nothing is seen any more: OFF for each label that stood ON."""
    with Broker() as broker, Listener(broker.port) as listener:

        def on() -> list[str]:
            topics = [topic for topic in listener.topics() if "/labels/" in topic]
            return [topic for topic in topics if listener.payloads(topic)[-1] == b"ON"]

        with Agent(tmp_path, facts(broker.port, per_label=True)) as agent:
            assert listener.until(lambda: on() != [])
            assert agent.logged("camera scene is online")
            told = tmp_path / "state" / "told.json"
            while not told.exists() or not json.loads(told.read_bytes())["scene"]["slugs"]:
                assert listener.predicts_on("scene")
            agent.process.kill()
            agent.ends()
        assert listener.says(TOPICS.availability, b"offline")
        assert [] != on()
        paused = facts(broker.port, {"paused": True}, per_label=True)
        (tmp_path / "next").mkdir()
        (tmp_path / "state").rename(tmp_path / "next" / "state")
        with Agent(tmp_path / "next", paused) as agent:
            assert listener.until(lambda: on() == [])
            assert 0 == agent.stop()


@need_data
def test_a_slot_that_serves_nothing_settles_nothing(tmp_path: Path) -> None:
    """A model that kills every worker: the camera is online, but what it saw last is not known to last."""
    with Broker() as broker, Listener(broker.port) as listener:
        turns = range(20, 1000)
        with Agent(tmp_path, facts(broker.port), fault="abort", turns=turns) as agent:
            assert listener.until(lambda: last_event(listener) == ("ended", "model"))
            assert listener.says(LABEL, b"unknown")
            assert b"online" == listener.payloads(TOPICS.camera_availability("scene"))[-1]
            assert 0 == agent.stop()
