"""The whole agent when it is told to stop, or to read its configuration again."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.agents import SMALL_MODEL, TOPICS, Agent, Listener, Table, configuration
from tests.brokers import Broker, free_port
from tests.places import CORAL, need_data

SCENE = {"source": "scene:finishes"}
CLIP = CORAL / "bottle-detection.mp4"
ONLINE, OFFLINE = b"online", b"offline"
DONE = "SIGHUP: done"


@need_data
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_agent_in_order(how: signal.Signals, tmp_path: Path) -> None:
    """At full speed SIGTERM and SIGINT end it with 0; agent and cameras are offline, and nothing is left."""
    cameras: dict[str, Table] = {"scene": SCENE, "clip": {"source": CLIP, "loop": True}}
    with (
        Broker() as broker,
        Listener(broker.port) as listener,
        Agent(tmp_path, configuration(broker.port, cameras)) as agent,
    ):
        for camera in cameras:
            assert listener.says(TOPICS.camera_availability(camera), ONLINE)
        assert listener.predicts_on("clip", 50)
        assert 0 == agent.stop(how)
        assert agent.leaves_no_process()
        assert listener.says(TOPICS.availability, OFFLINE)
        for camera in cameras:
            assert OFFLINE == listener.payloads(TOPICS.camera_availability(camera))[-1]
        assert [] == agent.log("ERROR")
        heard = [each["sequence"] for each in listener.predictions("clip")]
        assert list(range(1, len(heard) + 1)) == heard


@need_data
def test_a_signal_ends_an_agent_that_is_still_vetting(tmp_path: Path) -> None:
    """A model that hangs the runtime does not keep the agent from hearing SIGTERM."""
    text = configuration(free_port(), {"scene": SCENE})
    with Agent(tmp_path, text, fault="hang", turns=[0], vetting=True) as agent:
        agent.next_worker()
        assert 0 == agent.stop()
        assert agent.leaves_no_process()


@need_data
def test_a_signal_ends_an_agent_that_waits_for_a_broker_at_the_end(tmp_path: Path) -> None:
    """The last predictions wait for a broker, but not against SIGTERM."""
    with Agent(tmp_path, configuration(free_port(), {"photo": {"source": CORAL / "cat.bmp"}})) as agent:
        assert agent.logged("every source has ended")
        assert 0 == agent.stop()
        assert agent.logged("did not reach the broker")


@need_data
def test_a_new_threshold_applies_to_the_next_frame(tmp_path: Path) -> None:
    """SIGHUP with threshold 1: empty rankings, no restart of camera or worker; with 0 all labels are back."""
    with Broker() as broker, Listener(broker.port) as listener:
        texts = [
            configuration(broker.port, {"scene": SCENE}, model={"threshold": threshold})
            for threshold in (0.0, 1.0)
        ]
        with Agent(tmp_path, texts[0]) as agent:
            topic = TOPICS.prediction("scene")
            assert listener.tells(topic, lambda each: len(each["predictions"]) == 3)
            agent.reload(texts[1])
            assert listener.tells(topic, lambda each: each["predictions"] == [])
            assert listener.tells(TOPICS.status("scene"), lambda status: status["threshold"] == 1.0)
            assert listener.says(TOPICS.label("scene"), b"unknown")
            agent.reload(texts[0])
            assert listener.tells(topic, lambda each: len(each["predictions"]) == 3)
            assert agent.log("SIGHUP: models.default.threshold: 0.0 -> 1.0")
            assert agent.logged(DONE, 2)
            heard = [each["sequence"] for each in listener.predictions("scene")]
            assert list(range(1, len(heard) + 1)) == heard
            assert 1 == len(agent.log("camera scene is online"))
            assert 1 == len(agent.log(" serves on the CPU "))


@need_data
def test_cameras_come_and_go_while_the_others_are_watched(tmp_path: Path) -> None:
    """SIGHUP starts a new camera and ends one that is gone, of which no retained topic remains."""
    with Broker() as broker, Listener(broker.port) as listener:
        alone = configuration(broker.port, {"scene": SCENE})
        clip = {"source": CLIP, "loop": True}
        with Agent(tmp_path, alone) as agent:
            assert listener.predicts_on("scene")
            for times in (1, 3):
                agent.reload(configuration(broker.port, {"scene": SCENE, "clip": clip}))
                assert agent.logged(DONE, times)
                assert listener.says(TOPICS.camera_availability("clip"), ONLINE)
                assert listener.predicts_on("clip", 50)
                agent.reload(alone)
                assert agent.logged(DONE, times + 1)
                assert listener.predicts_on("scene")
                with Listener(broker.port) as late:
                    assert late.predicts_on("scene")
                    assert [] == [topic for topic in late.retained if topic.startswith(TOPICS.camera("clip"))]
                    assert [] == late.predictions("clip")
                    assert late.tells(TOPICS.health, lambda health: list(health["cameras"]) == ["scene"])
            for camera in ("scene", "clip"):
                heard = [each["sequence"] for each in listener.predictions(camera)]
                assert list(range(1, len(heard) + 1)) == heard
            assert 1 == len(agent.log("camera scene is online"))


@need_data
def test_a_new_rate_applies_to_a_running_camera(tmp_path: Path) -> None:
    """A camera of one picture in many minutes is freed by a new fps at once; it is not opened anew."""
    with (
        Broker() as broker,
        Listener(broker.port) as listener,
        Agent(tmp_path, configuration(broker.port, {"scene": {**SCENE, "fps": 0.001}})) as agent,
    ):
        assert listener.predicted("scene", 1)
        agent.reload(configuration(broker.port, {"scene": SCENE}))
        assert listener.predicted("scene", 20)
        assert agent.logged("SIGHUP: cameras.scene.fps: 0.001 -> ")
        assert 1 == len(agent.log("camera scene is online"))


@need_data
def test_a_new_log_level_applies_at_once(tmp_path: Path) -> None:
    """An agent that told warnings only tells what it does after SIGHUP with "info"."""
    with Broker() as broker, Listener(broker.port) as listener:
        quiet, chatty = (
            configuration(broker.port, {"scene": SCENE}, agent={"log_level": level})
            for level in ("warning", "info")
        )
        with Agent(tmp_path, quiet) as agent:
            assert listener.predicted("scene", 1)
            assert [] == agent.log("INFO")
            agent.reload(chatty)
            assert agent.logged(DONE)


BROKEN = {
    "no TOML": "[agent",
    "unknown key": "[cameras.scene]\nsuorce = 'scene:finishes'\n",
    "no camera": "[models.default]\npath = 'm.tflite'\n",
    "impossible source": f"[models.default]\npath = '{SMALL_MODEL}'\n[cameras.x]\nsource = 'gopher://x/'\n",
}


@need_data
def test_a_broken_configuration_changes_nothing(tmp_path: Path) -> None:
    """SIGHUP with a file that cannot be used leaves everything as it was, and says so in one ERROR line."""
    with (
        Broker() as broker,
        Listener(broker.port) as listener,
        Agent(tmp_path, configuration(broker.port, {"scene": SCENE})) as agent,
    ):
        for times, text in enumerate(BROKEN.values(), 1):
            assert listener.predicts_on("scene")
            agent.reload(text)
            assert agent.logged("edge_agent.following: SIGHUP: the configuration stays as it was", times)
        agent.path.unlink()
        agent.process.send_signal(signal.SIGHUP)
        assert agent.logged("SIGHUP: the configuration stays as it was", len(BROKEN) + 1)
        assert listener.predicts_on("scene")
        assert len(BROKEN) + 1 == len(agent.log("ERROR"))
        assert [] == agent.log(DONE)
        assert 1 == len(agent.log("camera scene is online"))
        assert 0 == agent.stop()


@need_data
def test_what_needs_a_restart_is_named(tmp_path: Path) -> None:
    """Keys that only a restart applies are told as such, and the agent goes on as it was started."""
    with (
        Broker() as broker,
        Listener(broker.port) as listener,
        Agent(tmp_path, configuration(broker.port, {"scene": SCENE})) as agent,
    ):
        assert listener.predicts_on("scene")
        other = CORAL / "mobilenet_v2_1.0_224_quant_2021.tflite"
        agent.reload(
            configuration(
                broker.port,
                {"scene": SCENE},
                agent={"name": "quay"},
                mqtt={"base_topic": "elsewhere"},
                inference={"threads": 1},
                model={"path": other},
            )
        )
        assert agent.logged(DONE)
        for key in ("agent.name", "mqtt.base_topic", "inference.threads", "models.default.path"):
            assert [True] == [line.endswith("(after a restart)") for line in agent.log(f"SIGHUP: {key}: ")]
        assert listener.predicts_on("scene")
        assert SMALL_MODEL.stem == listener.predictions("scene")[-1]["model"]["name"]
        assert 0 == agent.stop()
