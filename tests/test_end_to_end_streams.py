"""The whole agent while cameras and the broker go away, fall silent and come back."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.agents import PATIENCE_S, TOPICS, Agent, Listener, Table, configuration
from tests.brokers import Broker
from tests.places import CORAL, need_data
from tests.streams import MjpegServer, RtspServer, StreamServer

SCENE = {"source": "scene:finishes"}
ONLINE, OFFLINE = b"online", b"offline"


@contextlib.contextmanager
def serving(folder: Path, cameras: Mapping[str, Table]) -> Iterator[tuple[Agent, Listener]]:
    """An agent with these cameras and a broker that stays."""
    with (
        Broker() as broker,
        Listener(broker.port) as listener,
        Agent(folder, configuration(broker.port, cameras)) as agent,
    ):
        yield agent, listener


def camera_state(health: dict[str, Any], camera: str) -> str:
    """The camera's state as `health` tells it."""
    return str(health["cameras"][camera]["state"])


def fault_of(health: dict[str, Any], camera: str) -> str:
    """What `health` says is wrong with a camera; empty when nothing is."""
    return "".join(fault for fault in health["faults"] if fault.startswith(f"camera {camera}: "))


@need_data
@pytest.mark.parametrize("kind", [MjpegServer, RtspServer])
def test_a_stream_that_returns_is_predicted_again(tmp_path: Path, kind: type[StreamServer]) -> None:
    """A camera that goes is offline, with its fault on `health`; when it returns, so do its predictions."""
    availability = TOPICS.camera_availability("yard")
    with kind() as server, serving(tmp_path, {"yard": {"source": server.url}}) as (agent, listener):
        assert listener.says(availability, ONLINE)
        assert listener.predicts_on("yard")
        with server.away():
            assert listener.says(availability, OFFLINE)
            assert listener.tells(TOPICS.health, lambda health: camera_state(health, "yard") == "offline")
            assert listener.tells(TOPICS.health, lambda health: bool(fault_of(health, "yard")))
            assert listener.tells(TOPICS.status("yard"), lambda status: bool(status["fault"]))
        assert listener.says(availability, ONLINE)
        assert listener.predicts_on("yard")
        assert listener.tells(TOPICS.health, lambda health: camera_state(health, "yard") == "online")
        assert listener.tells(TOPICS.health, lambda health: not fault_of(health, "yard"))
        heard = [each["sequence"] for each in listener.predictions("yard")]
        assert list(range(1, len(heard) + 1)) == heard
        assert 0 == agent.stop()
        assert agent.leaves_no_process()


@need_data
@pytest.mark.parametrize("kind", [MjpegServer, RtspServer])
def test_a_stream_that_stands_still_is_offline_until_it_goes_on(
    tmp_path: Path, kind: type[StreamServer]
) -> None:
    """A camera that keeps the connection and sends nothing counts as lost; it needs no restart of ours."""
    with kind() as server, serving(tmp_path, {"yard": {"source": server.url}}) as (_, listener):
        assert listener.predicts_on("yard")
        server.freeze()
        assert listener.says(TOPICS.camera_availability("yard"), OFFLINE)
        server.thaw()
        assert listener.says(TOPICS.camera_availability("yard"), ONLINE)
        assert listener.predicts_on("yard")


@need_data
def test_a_camera_that_never_answers_holds_up_nothing(tmp_path: Path) -> None:
    """A server that accepts and is silent costs neither the other camera's frames nor the clean end."""
    server = MjpegServer()
    server.silent = True
    with (
        server,
        serving(tmp_path, {"mute": {"source": server.url}, "scene": SCENE}) as (agent, listener),
    ):
        assert server.connected.acquire(timeout=PATIENCE_S)
        assert listener.predicts_on("scene", 50)
        assert [OFFLINE] == listener.payloads(TOPICS.camera_availability("mute"))
        assert listener.tells(TOPICS.health, lambda health: camera_state(health, "mute") == "connecting")
        assert 0 == agent.stop()
        assert listener.says(TOPICS.availability, OFFLINE)
        assert agent.leaves_no_process()


@need_data
def test_cameras_share_a_slot_fairly(tmp_path: Path) -> None:
    """Each of several busy cameras gets its turn; one that is away costs the others nothing."""
    cameras: dict[str, Table] = {
        name: {"source": f"scene:finishes?seed={seed}&hold_s=0.01"} for seed, name in enumerate("abc")
    }
    cameras["away"] = {"source": "http://127.0.0.1:9/stream"}
    with serving(tmp_path, cameras) as (_, listener):
        for name in "abc":
            assert listener.predicted(name, 1)
        before = [len(listener.predictions(name)) for name in "abc"]
        assert listener.predicts_on("a", 60)
        gained = [len(listener.predictions(name)) - count for name, count in zip("abc", before, strict=True)]
        assert min(gained) > 0.5 * max(gained), gained
        assert [] == listener.predictions("away")
        assert listener.tells(TOPICS.health, lambda health: camera_state(health, "away") == "offline")


def retained(port: int) -> dict[str, bytes]:
    """What a subscriber that comes late is told of the past, once the agent is online and predicts."""
    with Listener(port) as early:
        assert early.says(TOPICS.availability, ONLINE)
        assert early.says(TOPICS.camera_availability("scene"), ONLINE)
        assert early.predicted("scene", 1)
        assert early.until(lambda: bool(early.payloads(TOPICS.label("scene"))))
    with Listener(port) as late:
        assert late.predicted("scene", 1)
        return dict(late.retained)


@need_data
def test_a_broker_that_dies_and_returns_gets_everything_that_is_retained(tmp_path: Path) -> None:
    """The agent reconnects by itself; retained topics are there again, and live predictions go on."""
    broker = Broker()
    try:
        broker.start()
        with Agent(tmp_path, configuration(broker.port, {"scene": SCENE})) as agent:
            before = retained(broker.port)
            broker.kill()
            assert agent.logged("WARNING edge_agent.mqtt")
            broker.start()
            after = retained(broker.port)
            topics = [
                TOPICS.availability,
                TOPICS.camera_availability("scene"),
                TOPICS.health,
                TOPICS.label("scene"),
                TOPICS.model("default"),
                TOPICS.status("scene"),
            ]
            assert set(topics) == set(before)
            assert set(topics) == set(after)
            assert ONLINE == after[TOPICS.camera_availability("scene")]
            assert before[TOPICS.model("default")] == after[TOPICS.model("default")]
            with Listener(broker.port) as listener:
                assert listener.predicts_on("scene", 20)
                heard = [each["sequence"] for each in listener.predictions("scene")]
                assert heard == sorted(set(heard))
                assert heard[0] > 1
                assert 0 == agent.stop()
                assert listener.says(TOPICS.availability, OFFLINE)
            assert [] == agent.log("ERROR")
    finally:
        broker.__exit__()


@need_data
def test_a_broker_that_comes_late_gets_what_is_kept_and_nothing_that_was_live(tmp_path: Path) -> None:
    """The agent works without a broker at first: what files gave waits, what was live is dropped, counted."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("cat.bmp", "bird.bmp", "parrot.jpg", "owl.jpg"):
        shutil.copy(CORAL / name, photos)
    cameras: dict[str, Table] = {"scene": SCENE}
    broker = Broker()
    try:
        with Agent(tmp_path, configuration(broker.port, cameras)) as agent:
            # The photos come while the scene is there, and the lane takes them in turns.
            assert agent.logged("camera scene is online")
            agent.reload(configuration(broker.port, {**cameras, "photos": {"source": photos}}))
            assert agent.logged(f"{photos} is at its end")
            assert agent.log("cannot reach the MQTT broker")
            broker.start()
            with Listener(broker.port) as listener:
                assert listener.predicted("photos", 4)
                assert [1, 2, 3, 4] == [each["sequence"] for each in listener.predictions("photos")]
                assert listener.predicts_on("scene", 20)
                heard = [each["sequence"] for each in listener.predictions("scene")]
                assert heard[0] > 1
                assert list(range(heard[0], heard[0] + len(heard))) == heard
                assert listener.tells(TOPICS.health, lambda health: health["outbox"]["dropped"] > 0)
                assert listener.tells(TOPICS.health, lambda health: health["faults"] == [])
                assert 0 == agent.stop()
    finally:
        broker.__exit__()
