"""The whole agent, from files and folders to a subscriber behind a real broker."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest

from edge_agent.messages import PredictionMessage
from tests.agents import SMALL_MODEL, TOPICS, Agent, Listener, Table, configuration, sturdy_broker, toml
from tests.brokers import Broker, free_port
from tests.places import CORAL, need_data

CLIP = CORAL / "bottle-detection.mp4"
CLIP_FRAMES = 1189
LABELLED_MODEL = CORAL / "mobilenet_v2_1.0_224_quant_2021.tflite"


@need_data
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_every_frame_of_a_video_arrives_exactly_once(tmp_path: Path, protocol: str) -> None:
    """A file loses no frame, whatever the speed: one prediction each, in order, all valid, mostly right."""
    with sturdy_broker() as broker, Listener(broker.port) as listener:
        text = configuration(
            broker.port,
            {"clip": {"source": CLIP}},
            mqtt={"protocol": protocol},
            model={"path": LABELLED_MODEL},
        )
        with Agent(tmp_path, text) as agent:
            assert 0 == agent.ends(), agent.log()
            assert agent.log(f"connected to the MQTT broker at 127.0.0.1:{broker.port}, MQTT {protocol}")
            assert [] == agent.log("ERROR")
        assert listener.says(TOPICS.availability, b"offline")
        heard = listener.predictions("clip")
        assert list(range(1, CLIP_FRAMES + 1)) == [each["sequence"] for each in heard]
        assert list(range(1, CLIP_FRAMES + 1)) == [each["frame"] for each in heard]
        assert 1 == len({each["session"] for each in heard})
        validator = jsonschema.Draft202012Validator(PredictionMessage.model_json_schema(by_alias=True))
        assert [] == [error for each in heard for error in validator.iter_errors(each)]
        leaders = Counter(each["predictions"][0]["label"] for each in heard)
        assert leaders["water bottle"] > 0.9 * CLIP_FRAMES
        assert b"offline" == listener.payloads(TOPICS.camera_availability("clip"))[-1]
        assert b"online" in listener.payloads(TOPICS.camera_availability("clip"))


@need_data
def test_each_image_of_a_folder_is_told_once_and_a_spoilt_one_is_passed_over(tmp_path: Path) -> None:
    """An image that cannot be read costs a warning; the others are predicted once each, and the end is 0."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, name in enumerate(["cat.bmp", "bird.bmp", "parrot.jpg", "owl.jpg"]):
        shutil.copy(CORAL / name, photos / f"{number}-{name}")
    (photos / "2-spoilt.jpg").write_bytes((CORAL / "parrot.jpg").read_bytes()[:500])
    with Broker() as broker, Listener(broker.port) as listener:
        with Agent(tmp_path, configuration(broker.port, {"photos": {"source": photos}})) as agent:
            assert 0 == agent.ends(), agent.log()
            assert 1 == len(agent.log("WARNING edge_agent.cameras.folder: passed over: "))
            assert "2-spoilt.jpg" in agent.log("passed over: ")[0]
        assert listener.says(TOPICS.availability, b"offline")
        heard = listener.predictions("photos")
        assert [1, 2, 3, 4] == [each["sequence"] for each in heard]
        assert "tiger cat" == heard[0]["predictions"][0]["label"]


@need_data
def test_the_last_predictions_wait_for_a_broker_that_comes_late(tmp_path: Path) -> None:
    """Predictions of files are kept while there is no broker, and sent before the agent ends."""
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(CORAL / "cat.bmp", photos)
    broker = Broker()
    try:
        with Agent(tmp_path, configuration(broker.port, {"photos": {"source": photos}})) as agent:
            assert agent.logged("every source has ended")
            broker.start()
            with Listener(broker.port) as listener:
                assert listener.predicted("photos", 1)
                assert 0 == agent.ends(), agent.log()
    finally:
        broker.__exit__()


@need_data
def test_the_predictions_of_a_run_without_a_broker_arrive_with_the_next(tmp_path: Path) -> None:
    """What was kept outlives the agent: first the predictions of the run before, with its session."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("cat.bmp", "bird.bmp", "parrot.jpg"):
        shutil.copy(CORAL / name, photos)
    runs = [tmp_path / "first", tmp_path / "second"]
    for each in runs:
        each.mkdir()
    with Broker() as broker, Listener(broker.port) as listener:
        for folder, port in zip(runs, (free_port(), broker.port), strict=True):
            camera = {"photos": {"source": photos}}
            text = configuration(port, camera, agent={"state_dir": tmp_path / "state"})
            with Agent(folder, text) as agent:
                assert agent.logged("every source has ended")
                assert 0 == (agent.stop() if port != broker.port else agent.ends())
        assert listener.predicted("photos", 6)
        heard = listener.predictions("photos")
        assert [1, 2, 3, 1, 2, 3] == [each["sequence"] for each in heard]
        before, after = heard[0]["session"], heard[3]["session"]
        assert [before] * 3 + [after] * 3 == [each["session"] for each in heard]
        assert before != after


@need_data
def test_the_state_folder_need_not_exist(tmp_path: Path) -> None:
    """Nothing is written, so neither a missing state_dir nor a full disk keeps the agent from its work."""
    with Broker() as broker, Listener(broker.port) as listener:
        text = configuration(
            broker.port, {"scene": {"source": "scene:finishes"}}, agent={"state_dir": "/proc/never/made"}
        )
        with Agent(tmp_path, text) as agent:
            assert listener.predicted("scene", 3)
            assert 0 == agent.stop()
            assert [] == agent.log("ERROR")


def run_once(text: str, folder: Path) -> tuple[int, str]:
    """The exit code and what stands on stderr of an agent that cannot start."""
    (folder / "agent.toml").write_text(text)
    return run_file(folder / "agent.toml")


def run_file(path: Path) -> tuple[int, str]:
    """The same for a file that there may not be."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "run", "-c", path],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "" == done.stdout
    return done.returncode, done.stderr


def test_a_missing_configuration_is_78(tmp_path: Path) -> None:
    """Exit code 78 tells systemd that a restart is of no use; the one line names the file."""
    code, said = run_file(tmp_path / "none.toml")
    assert (78, 1) == (code, said.count("\n"))
    assert said.startswith("error: ")
    assert str(tmp_path / "none.toml") in said


BAD_CONFIGURATIONS: dict[str, tuple[dict[str, Table], str]] = {
    "unknown key": (
        {"models.default": {"path": "m.tflite", "treshold": 0.5}, "cameras.a": {"source": "0"}},
        "threshold",
    ),
    "no camera": ({"models.default": {"path": "m.tflite"}}, "camera"),
    "unknown scheme": (
        {"models.default": {"path": "m.tflite"}, "cameras.a": {"source": "gopher://camera/"}},
        "gopher://",
    ),
    "unknown slot": (
        {"models.default": {"path": "m.tflite"}, "cameras.a": {"source": "0", "model": "other"}},
        "other",
    ),
    "name that is no topic": ({"agent": {"name": "a/b"}, "cameras.a": {"source": "0"}}, "agent.name"),
}


@pytest.mark.parametrize("case", BAD_CONFIGURATIONS)
def test_a_bad_configuration_is_78_in_one_line(case: str, tmp_path: Path) -> None:
    """What a restart cannot heal ends at once, with one line that names the place, and exit code 78."""
    tables, named = BAD_CONFIGURATIONS[case]
    code, said = run_once(toml(tables), tmp_path)
    assert (78, 1) == (code, said.count("\n")), said
    assert said.startswith("error: ")
    assert named in said


@pytest.mark.parametrize("content", [None, b"", b"no model at all" * 100])
def test_a_model_that_cannot_serve_is_1_in_one_line(content: bytes | None, tmp_path: Path) -> None:
    """The only model missing, empty or garbage: the agent does not linger, and says why in one line."""
    model = tmp_path / "model.tflite"
    if content is not None:
        model.write_bytes(content)
    text = configuration(free_port(), {"scene": {"source": "scene:finishes"}}, model={"path": model})
    code, said = run_once(text, tmp_path)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert (1, 1) == (code, len(errors)), said
    assert "model.tflite" in errors[0]
    assert "Traceback" not in said


@need_data
def test_a_cut_model_is_1_in_one_line(tmp_path: Path) -> None:
    """A model of which half is missing meets the runtime in a throw-away worker, not in the daemon."""
    model = tmp_path / "model.tflite"
    model.write_bytes(SMALL_MODEL.read_bytes()[: SMALL_MODEL.stat().st_size // 2])
    text = configuration(free_port(), {"scene": {"source": "scene:finishes"}}, model={"path": model})
    code, said = run_once(text, tmp_path)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert (1, 1) == (code, len(errors)), said
    assert "model.tflite" in errors[0]


@need_data
def test_one_bad_model_does_not_stop_another_slot(tmp_path: Path) -> None:
    """With two slots the one whose model is sound serves; the other is a named fault on `health`."""
    (tmp_path / "bad.tflite").write_bytes(b"garbage")
    cameras = {
        "good": {"source": "scene:finishes", "model": "default"},
        "bad": {"source": "scene:finishes", "model": "spoilt"},
    }
    with Broker() as broker, Listener(broker.port) as listener:
        text = configuration(broker.port, cameras) + toml(
            {"models.spoilt": {"path": tmp_path / "bad.tflite"}}
        )
        with Agent(tmp_path, text) as agent:
            assert listener.predicted("good", 3)
            assert listener.tells(TOPICS.health, lambda health: "slot spoilt: " in "".join(health["faults"]))
            rejected = json.loads(listener.payloads(TOPICS.model("spoilt"))[-1])["rejected"]
            assert ["bad.tflite" in each["reason"] for each in rejected] == [True]
            assert 0 == agent.stop()


def test_a_folder_that_no_model_looks_at_is_1_at_the_end(tmp_path: Path) -> None:
    """Files of a slot that serves nothing are not waited for; they were not seen to the end: exit code 1."""
    (tmp_path / "bad.tflite").write_bytes(b"garbage")
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        shutil.copy(CORAL / "cat_720p.jpg", tmp_path / name)
    cameras = {
        "good": {"source": f"{tmp_path}/good/", "model": "default"},
        "bad": {"source": f"{tmp_path}/bad/", "model": "spoilt"},
    }
    with Broker() as broker, Listener(broker.port) as listener:
        text = configuration(broker.port, cameras) + toml(
            {"models.spoilt": {"path": tmp_path / "bad.tflite"}}
        )
        with Agent(tmp_path, text) as agent:
            assert 1 == agent.ends()
            assert agent.logged("error: not seen to the end")
            assert listener.predicted("good", 1)
