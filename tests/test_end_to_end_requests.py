"""Pauses, thresholds, pictures and restarts, asked for over MQTT of a real agent."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from edge_agent.__main__ import main
from edge_agent.config.overrides import DAMAGED, FILE
from edge_agent.control_socket import ControlClient
from edge_agent.images import decode_image
from tests.agents import TOPICS, Agent, Listener, configuration
from tests.brokers import Broker, need_mosquitto
from tests.places import FINISHES
from tests.test_remote import Asking
from tests.test_verbs import documented

pytestmark = need_mosquitto

CAMERAS = {
    "scene": {"source": "scene:finishes", "fps": 20},
    "other": {"source": "scene:finishes", "fps": 20},
}


def text(port: int, **scene: object) -> str:
    """Two live cameras of the bundled model; ``scene`` adds to one of them."""
    cameras = {**CAMERAS, "scene": {**CAMERAS["scene"], **scene}}
    return configuration(port, cameras, model={"path": FINISHES})


def once_more(folder: Path, port: int) -> Agent:
    """Another agent, with what the one in the folder kept."""
    again = folder / "again"
    again.mkdir()
    return Agent(again, text(port).replace('"state"', json.dumps(str(folder / "state"))))


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A new one."""
    with Broker() as broker:
        yield broker


@pytest.fixture
def asking(tmp_path: Path, broker: Broker) -> Iterator[Asking]:
    """An agent that looks at both cameras."""
    with Listener(broker.port) as heard, Agent(tmp_path, text(broker.port)) as agent:
        assert heard.predicted("scene", 1)
        assert heard.predicted("other", 1)
        yield Asking(tmp_path, broker, heard, agent)


def camera(asking: Asking, name: str) -> dict[str, Any]:
    """Its status, as ``request/status`` tells it."""
    cameras = asking.ask("status")["data"]["cameras"]
    return next(each for each in cameras if each["camera"] == name)


def test_a_paused_camera_is_left_alone(asking: Asking) -> None:
    """Nothing of it comes after the answer; the other one, the agent and its health go on."""
    heard = asking.heard
    answer = asking.ask("pause", b"scene")
    assert documented("pause").keys() == answer["data"].keys()
    (paused,) = answer["data"]["cameras"]
    assert ("scene", True, True) == (paused["camera"], paused["paused"], answer["data"]["kept"])
    while not paused["released"]:  # the source lets go in its own time
        (paused,) = asking.ask("pause", b"scene")["data"]["cameras"]
    before = len(heard.predictions("scene"))
    assert heard.predicts_on("other", 10)
    assert before == len(heard.predictions("scene"))
    assert heard.says(TOPICS.camera_availability("scene"), b"offline")
    assert heard.says(TOPICS.label("scene"), b"unknown")
    assert heard.tells(TOPICS.status("scene"), lambda told: told["paused"] and told["state"] == "offline")
    assert heard.tells(TOPICS.health, lambda told: told["cameras"]["scene"]["paused"] and not told["faults"])
    assert asking.ask("snapshot", b"scene")["error"] == "camera scene is paused"
    session = heard.predictions("scene")[-1]["session"]
    switched_off = {"camera": "scene", "paused": False}
    assert not asking.ask("pause", switched_off)["data"]["cameras"][0]["paused"]
    assert heard.predicts_on("scene")
    assert heard.says(TOPICS.camera_availability("scene"), b"online")
    told = heard.predictions("scene")
    assert [*range(1, len(told) + 1)] == [each["sequence"] for each in told]
    assert {session} == {each["session"] for each in told}


def test_what_is_asked_for_reaches_the_facts(asking: Asking) -> None:
    """A threshold that nothing reaches ends what is settled, and so does a pause, for a reason of its own."""
    heard, topic = asking.heard, TOPICS.event("scene")

    def last() -> tuple[str, str | None]:
        told = json.loads(heard.payloads(topic)[-1])
        return told["event_type"], told["reason"]

    asking.ask("threshold/set", {"camera": "scene", "threshold": 1})
    assert heard.says(TOPICS.label("scene"), b"unknown")
    assert heard.until(lambda: last() == ("ended", "left"))
    asking.ask("threshold/set", {"camera": "scene", "threshold": 0})
    assert heard.until(lambda: last() == ("began", None))
    asking.ask("pause", b"scene")
    assert heard.until(lambda: last() == ("ended", "paused"))


def test_a_pause_outlives_reload_and_restart(asking: Asking, tmp_path: Path, broker: Broker) -> None:
    """SIGHUP, an end, and a new start: paused until it is resumed."""
    assert ["scene", "other"] == [each["camera"] for each in asking.ask("pause")["data"]["cameras"]]
    asking.agent.reload(text(broker.port, rotate=180))
    assert asking.agent.logged("SIGHUP: done")
    assert camera(asking, "scene")["paused"]
    assert 0 == asking.agent.stop()
    with once_more(tmp_path, broker.port) as agent:
        again = Asking(tmp_path, broker, asking.heard, agent)
        assert agent.logged("serves on the CPU")
        assert (True, "offline") == (camera(again, "other")["paused"], camera(again, "other")["state"])
        assert [] == agent.log("camera other is online")
        again.ask("resume", {"camera": "other"})
        assert agent.logged("camera other is online")
        assert asking.heard.predicts_on("other")
        assert [] == agent.log("camera scene is online")
        assert {"cameras.scene.paused": True} == again.ask("config/get")["data"]["overrides"]


def test_a_folder_that_is_paused_is_held(tmp_path: Path, broker: Broker) -> None:
    """Not one picture is lost or seen twice, and the agent does not end before they are all seen."""
    photos = tmp_path / "photos"
    photos.mkdir()
    golden = next((FINISHES / "golden").glob("*.*"))
    for number in range(40):
        (photos / f"{number:02}{golden.suffix}").write_bytes(golden.read_bytes())
    tray = {"tray": {"source": f"{photos}/", "fps": 20}}
    with (
        Listener(broker.port) as heard,
        Agent(tmp_path, configuration(broker.port, tray, model={"path": FINISHES})) as agent,
    ):
        assert heard.predicted("tray", 3)
        asking = Asking(tmp_path, broker, heard, agent)
        asking.ask("pause")
        assert heard.says(TOPICS.camera_availability("tray"), b"offline")
        assert camera(asking, "tray")["paused"]
        count = len(heard.predictions("tray"))
        assert count < 40
        for _ in range(3):
            asking.ask("ping")
        assert count == len(heard.predictions("tray"))
        asking.ask("resume")
        assert 0 == agent.ends()
        assert heard.predicted("tray", 40)
        assert [*range(1, 41)] == [each["frame"] for each in heard.predictions("tray")]


def test_a_threshold_is_set_for_a_camera_and_for_a_slot(
    asking: Asking, tmp_path: Path, broker: Broker
) -> None:
    """From the next frame on, kept, and taken back with null; the camera's own comes first."""
    heard = asking.heard

    def empty(name: str) -> bool:
        before = len(heard.predictions(name))
        assert heard.predicted(name, before + 5)
        return not heard.predictions(name)[-1]["predictions"]

    answer = asking.ask("threshold/set", {"camera": "scene", "threshold": 1})
    assert {"camera": "scene", "slot": None, "threshold": 1.0, "kept": True} == answer["data"]
    assert (True, False) == (empty("scene"), empty("other"))
    assert heard.tells(TOPICS.status("scene"), lambda told: told["threshold"] == 1)
    asking.ask("threshold/set", {"threshold": 1})
    asking.ask("threshold/set", {"camera": "scene", "threshold": 0})
    assert (False, True) == (empty("scene"), empty("other"))
    assert 0 == asking.agent.stop()
    with once_more(tmp_path, broker.port) as agent:
        again = Asking(tmp_path, broker, heard, agent)
        assert (False, True) == (empty("scene"), empty("other"))
        answer = again.ask("threshold/set", {"slot": "default", "threshold": None})
        assert {"camera": None, "slot": "default", "threshold": 0.0, "kept": True} == answer["data"]
        answer = again.ask("threshold/set", {"camera": "scene", "threshold": None})
        assert answer["data"]["threshold"] is None
        assert (False, False) == (empty("scene"), empty("other"))


def test_a_picture_is_published_when_it_is_asked_for(asking: Asking, broker: Broker) -> None:
    """Of the frame that the answer names, as it is configured then; not retained."""
    answer = asking.ask("snapshot", {"camera": "scene"})["data"]
    assert documented("snapshot").keys() == answer.keys()
    (jpeg,) = asking.heard.payloads(TOPICS.image("scene"))
    assert answer["bytes"] == len(jpeg)
    shown = decode_image(jpeg, "it")
    assert (answer["height"], answer["width"]) == shown.shape[:2]
    frames = {told["frame"]: told["captured_at"] for told in asking.heard.predictions("scene")}
    assert answer["captured_at"] == frames[answer["frame"]]
    mask, snapshots = [[0, 0, 1, 0.5]], {"max_size": 100, "caption": True, "on_event": True}
    masked = text(broker.port, mask=mask) + "[cameras.scene.snapshots]\n"
    masked += "".join(f"{key} = {json.dumps(value)}\n" for key, value in snapshots.items())
    asking.agent.reload(masked)
    assert asking.agent.logged("SIGHUP: done")
    topic = TOPICS.image("scene")
    # The label begins anew every other second.
    assert asking.heard.until(lambda: len(asking.heard.payloads(topic)) >= 3)
    picture = decode_image(asking.heard.payloads(topic)[-1], "it")
    assert 100 == picture.shape[1]
    assert picture[: picture.shape[0] // 2 - 12].max() < 32
    assert topic not in asking.heard.retained


def test_it_starts_again(asking: Asking) -> None:
    """In the same process, answered before it goes; a configuration that is broken is not started with."""
    good = asking.agent.path.read_text()
    asking.agent.configure(good + "[nonsense]\n")
    answer = asking.ask("restart")
    assert ("error", "failed") == (answer["status"], answer["code"])
    assert "nonsense" in answer["error"]
    assert asking.heard.predicts_on("scene")
    asking.agent.configure(good)
    session = asking.heard.predictions("scene")[-1]["session"]
    assert {"agent": "dock"} == asking.ask("restart")["data"]
    assert asking.agent.logged("agent dock starts", times=2)
    assert asking.heard.until(lambda: asking.heard.predictions("scene")[-1]["session"] != session)
    assert asking.agent.process.pid == asking.ask("status")["data"]["pid"]
    assert [b"online", b"offline", b"online"] == asking.heard.payloads(TOPICS.availability)
    assert 0 == asking.agent.stop(signal.SIGTERM)
    assert asking.agent.leaves_no_process()


def test_a_damaged_file_is_told(tmp_path: Path, broker: Broker) -> None:
    """On health, for a pause may have been lost with it."""
    state = tmp_path / "state"
    state.mkdir()
    (state / FILE).write_bytes(b"\0")
    with Listener(broker.port) as heard, Agent(tmp_path, text(broker.port)):
        assert heard.tells(TOPICS.health, lambda told: any(DAMAGED in fault for fault in told["faults"]))
        assert heard.predicted("scene", 1)


def test_an_empty_name_on_the_command_line_is_not_all_cameras(
    asking: Asking, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script whose variable is empty pauses nothing, with and without an agent."""
    pause = ["pause", "", "-c", str(asking.agent.path)]
    assert 2 == main(pause)
    assert not camera(asking, "scene")["paused"]
    assert 0 == asking.agent.stop()
    assert 2 == main(pause)
    assert "there is no camera ''" in capsys.readouterr().err


SECRETS = ("mqtt-Secret", "camera-Secret")


def test_no_secret_leaves_the_agent(tmp_path: Path) -> None:
    """Passwords of the broker and of a camera: in no message, answer, log, argument of a process or file."""
    password, source = SECRETS
    (tmp_path / "password").write_text(f"{password}\n")
    mqtt = {"username": "dock", "password_file": "password", "qos": 1}
    yard: dict[str, object] = {"source": f"rtsp://admin:{source}@127.0.0.1:1/stream"}
    cameras = {"scene": {**CAMERAS["scene"]}, "yard": yard}
    users = {"dock": password, "test": "test"}
    with (
        Broker(users=users) as broker,
        Listener(broker.port, "#", username="test", password="test") as heard,
        Agent(tmp_path, configuration(broker.port, cameras, model={"path": FINISHES}, mqtt=mqtt)) as agent,
    ):
        assert heard.predicted("scene", 1)
        assert heard.tells(TOPICS.health, lambda told: any("yard" in fault for fault in told["faults"]))
        told = [json.dumps(ControlClient(tmp_path / "control.sock").ask("config/get"))]
        agent.reload(agent.path.read_text().replace(source, f"{source}2"))
        assert agent.logged("SIGHUP: done")
        told += [json.dumps(ControlClient(tmp_path / "control.sock").ask("status")), *agent.log()]
        told += [payload.decode("latin-1") for topic in heard.topics() for payload in heard.payloads(topic)]
        process = psutil.Process(agent.process.pid)
        told += [" ".join(each.cmdline()) for each in (process, *process.children(recursive=True))]
        told += [path.read_text("latin-1") for path in (tmp_path / "state").rglob("*") if path.is_file()]
        assert "********" in told[0]
        assert [] == [text for text in told for secret in SECRETS if secret in text]


def test_the_command_line_pauses_with_and_without_an_agent(
    asking: Asking, broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over the control socket, or in state_dir for the next start; `config show` says so."""
    path = str(asking.agent.path)

    def said(*words: str) -> str:
        assert 0 == main([*words, "-c", path])
        return capsys.readouterr().out

    assert "camera scene: paused\n" == said("pause", "scene")
    assert asking.heard.says(TOPICS.camera_availability("scene"), b"offline")
    assert "camera scene: looked at\n" == said("resume", "scene")
    assert asking.heard.says(TOPICS.camera_availability("scene"), b"online")
    assert 0 == asking.agent.stop()
    assert "camera other: paused\n" == said("pause", "other")
    shown = json.loads(said("config", "show", "--json"))
    assert (True, FILE) == (
        shown["values"]["cameras"]["other"]["paused"],
        shown["origins"]["cameras.other.paused"],
    )
    assert 2 == main(["pause", "nothing", "-c", path])
    with once_more(tmp_path, broker.port) as agent:
        assert agent.logged("camera scene is online")
        told = subprocess.run(
            [sys.executable, "-m", "edge_agent", "status", "-c", agent.path],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "other   paused" in told.stdout
