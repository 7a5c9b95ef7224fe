"""The whole agent and its Edge TPU: plugged in, pulled, wrong, hanging, in use, and the end of it all.

Stood in for: libedgetpu with its stick (`tests.edgetpu`). Real: the program, mosquitto, workers, runtimes and
locks.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.agents import TOPICS, Agent, Listener, Table, configuration, sturdy_broker, toml
from tests.edgetpu import Bus, Stick, libedgetpu
from tests.places import CORAL, need_data
from tests.processes import Watched
from tests.sticks import CPU_LARGE, CPU_SMALL, LARGE, SMALL, bundle_of

pytestmark = need_data

PYTHONS = [path for path in os.environ.get("EDGE_AGENT_TEST_PYTHONS", "").split(":") if path]
BRIEF: Table = {"usb_resets": 0, "backoff_s": 0.001, "backoff_max_s": 0.002}
"""No pause worth the name before the stick is tried again, and nothing that needs hardware."""

CLIP: Table = {"source": CORAL / "bottle-detection.mp4", "loop": True, "fps": 60}
"""Loses no frame."""

SCENE: Table = {"source": "scene:finishes", "fps": 5}
"""Live: a frame that nobody takes in time is replaced by the next."""

CAT = CORAL / "cat.bmp"


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """A bundle of a model and its compiled twin."""
    return bundle_of(tmp_path / "both", SMALL, CPU_SMALL)


def text(port: int, model: Path, cameras: dict[str, Table] | None = None, **inference: object) -> str:
    """An agent that wants the stick where there is one, and looks for it all the time."""
    wanted = {"device": "auto", "library": libedgetpu(), "look_every_s": 0.2, "threads": 1, **inference}
    shown = {"clip": CLIP} if cameras is None else cameras
    return configuration(port, shown, inference=wanted, model={"path": model}) + toml(
        {"inference.recovery": BRIEF}
    )


class Scene:
    """A running agent and what it publishes."""

    def __init__(self, agent: Agent, listener: Listener, port: int) -> None:
        self.agent = agent
        self.listener = listener
        self.port = port

    def is_on(self, device: str, **also: object) -> bool:
        """Wait until `health` says so; ``also``: other keys of it."""
        expected = {"device": device, **also}
        return self.health(lambda health: expected == {key: health[key] for key in expected})

    def health(self, condition: Callable[[Any], bool]) -> bool:
        """Wait until the last `health` fulfils it."""
        return self.listener.tells(TOPICS.health, condition)

    def healths(self) -> list[Any]:
        """Every `health` since something served, in order."""
        told = [json.loads(each) for each in self.listener.payloads(TOPICS.health)]
        return [each for each in told if each["device"] is not None]

    def warnings(self) -> list[str]:
        """Those about the stick, in the log so far."""
        return [line for line in self.agent.log("WARNING") if " edge_agent.stick: " in line]

    def flows(self, camera: str = "clip", count: int = 20) -> None:
        """Wait for so many more predictions."""
        assert self.listener.predicts_on(camera, count), self.agent.log()

    def stops(self) -> None:
        """SIGTERM ends it, without an error, and nothing is left behind."""
        assert 0 == self.agent.stop()
        assert self.agent.leaves_no_process()
        assert [] == self.agent.log("ERROR")
        assert self.listener.says(TOPICS.availability, b"offline")


@contextmanager
def scene(folder: Path, write: Callable[[int], str]) -> Iterator[Scene]:
    """An agent at work; ``write`` makes its configuration for the broker's port."""
    with (
        sturdy_broker() as broker,
        Listener(broker.port) as listener,
        Agent(folder, write(broker.port)) as agent,
    ):
        yield Scene(agent, listener, broker.port)


def runs(values: Iterable[Any]) -> list[Any]:
    """Each value once for as often as it came in a row."""
    return [value for value, _ in groupby(values)]


def test_a_stick_comes_and_goes_and_mqtt_tells_it(both: Path, stick: Stick, tmp_path: Path) -> None:
    """Absent, plugged in, pulled, plugged in again: cpu, edgetpu, cpu, edgetpu; no frame is lost or doubled,
    none waits for longer than until the next; `health` tells the same, and the log warns once.
    """
    stick.pull()
    with scene(tmp_path, lambda port: text(port, both, {"clip": CLIP, "live": SCENE})) as one:
        assert one.health(lambda health: "no Edge TPU is there" in (health["reason"] or ""))
        one.flows()
        stick.plug()
        assert one.is_on("edgetpu", degraded=False, reason=None)
        one.flows()
        stick.pull()
        assert one.is_on("cpu", degraded=True, losses=1)
        assert one.health(lambda health: health["edgetpu"]["state"] == "absent")
        one.flows()
        stick.plug()
        assert one.is_on("edgetpu", degraded=False, reason=None)
        one.flows()
        one.flows("live", 2)
        one.stops()
        _check_frames(one.listener)
        _check_health(one.healths())
        (warned,) = one.warnings()
        assert "Edge TPU usb:0 lost: " in warned


def _check_frames(listener: Listener) -> None:
    heard = listener.predictions("clip")
    assert list(range(1, len(heard) + 1)) == [each["frame"] for each in heard]
    assert list(range(1, len(heard) + 1)) == [each["sequence"] for each in heard]
    assert ["cpu", "edgetpu", "cpu", "edgetpu"] == runs(each["device"] for each in heard)
    assert [("cpu", False), ("cpu", True), ("edgetpu", False), ("cpu", True), ("edgetpu", False)] == runs(
        (each["device"], each["degraded"]) for each in heard
    )
    live = listener.predictions("live")
    assert list(range(1, len(live) + 1)) == [each["sequence"] for each in live]
    assert "edgetpu" == live[-1]["device"]


def _check_health(told: list[Any]) -> None:
    keys = ("device", "aspired", "degraded", "losses", "recoveries")
    assert [
        ("cpu", "cpu", False, 0, 0),
        ("cpu", "edgetpu", True, 0, 0),
        ("edgetpu", "edgetpu", False, 0, 0),
        ("cpu", "edgetpu", True, 1, 0),
        ("edgetpu", "edgetpu", False, 1, 1),
    ] == runs(tuple(each[key] for key in keys) for each in told)
    # The proof may be over before the broker has taken the message that told of it.
    states = [each["edgetpu"]["state"] for each in told]
    brought_up = ["starting", "serving"]
    assert ["absent", *brought_up, "backoff", "absent", *brought_up] == runs(
        state for state in states if state != "proving"
    )
    lost = [each for each in told if each["losses"] == 1 and each["degraded"]]
    assert all("usb:0 lost" in each["reason"] and "SIGABRT" in each["reason"] for each in lost)
    assert any("no Edge TPU is there" in each["reason"] for each in lost)
    assert all(any("SIGABRT" in fault for fault in each["faults"]) for each in lost)
    starting = [each for each in told if each["degraded"] and not each["losses"]]
    assert {"Edge TPU usb:0 is being started"} == {each["reason"] for each in starting}
    assert [] == [each["faults"] for each in told if not each["degraded"] and each["faults"]]


def test_wrong_answers_are_noticed_and_published(both: Path, stick: Stick, tmp_path: Path) -> None:
    """With every fifth frame checked at most ten wrong predictions go out; `health` says by how much."""
    every, sound = 5, 42
    stick.spare(2)  # the warm-up and the proof
    stick.always("flip", since=sound)
    with scene(tmp_path, lambda port: text(port, both, cross_check_every=every)) as one:
        assert one.health(lambda health: health["losses"] >= 1)
        assert one.health(lambda health: "agrees with the CPU's by" in (health["reason"] or ""))
        stick.heal()
        assert one.is_on("edgetpu", degraded=False)
        one.stops()
        told = [
            each["edgetpu"]["cross_check"]["default"] for each in one.healths() if each["edgetpu"]["losses"]
        ]
        assert 1 == told[0]["disagreements"]
        assert told[0]["checks"] >= sound // every
        assert told[0]["agreement"] == told[0]["least"] < 0.875
        heard = one.listener.predictions("clip")
        assert list(range(1, len(heard) + 1)) == [each["frame"] for each in heard]
        first = next(list(group) for device, group in groupby(heard, _device) if device == "edgetpu")
        assert sound <= len(first) <= sound + 2 * every


def _device(prediction: Any) -> Any:
    return prediction["device"]


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("python", [None, *PYTHONS])
def test_no_device_or_no_library_leaves_the_cpu_and_says_why(
    python: str | None, installed: bool, both: Path, bus: Bus, stick: Stick, tmp_path: Path, monkeypatch: Any
) -> None:
    """By its usual name, found where the linker finds it or not; whichever runtime would drive the stick."""
    stick.pull()
    if installed:
        monkeypatch.setenv("LD_LIBRARY_PATH", str(libedgetpu().parent))
    more: dict[str, Any] = {} if python is None else {"python": python}
    reason = "no Edge TPU is there; " if installed else "no libedgetpu.so.1 is installed; "
    with scene(tmp_path, lambda port: text(port, both, library="libedgetpu.so.1", **more)) as one:
        assert one.health(lambda health: (health["reason"] or "").startswith(reason))
        assert one.is_on("cpu", aspired="cpu", degraded=False, losses=0, faults=[])
        one.flows()
        if installed:
            stick.plug()
            assert one.is_on("edgetpu", aspired="edgetpu", degraded=False, reason=None)
            runtime = "litert" if python is None else "tflite-runtime"
            assert one.health(lambda health: health["edgetpu"]["runtime"].startswith(runtime))
        one.stops()
        assert installed == bool(bus.journal("open"))
        assert [] == one.warnings()


def _classify(model: Path, device: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_agent", "classify", "--json", "-m", str(model), str(CAT)]
    command += ["--device", device, "--library", str(libedgetpu())]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_who_comes_second_never_opens_the_stick(both: Path, stick: Stick, tmp_path: Path) -> None:
    """Another agent, `classify` and `check` learn whose it is; the first one's work goes on undisturbed."""
    with scene(tmp_path, lambda port: text(port, both)) as one:
        assert one.is_on("edgetpu")
        in_use = f"Edge TPU usb:0 is in use by pid {one.agent.process.pid}"
        asked, auto = _classify(both, "edgetpu"), _classify(both, "auto")
        assert (1, "") == (asked.returncode, asked.stdout)
        assert f"error: {in_use}; " in asked.stderr
        assert (0, "cpu") == (auto.returncode, json.loads(auto.stdout)["device"])
        assert f"warning: the CPU answers: {in_use}" in auto.stderr
        second_folder = tmp_path / "second"
        second_folder.mkdir()
        with scene(second_folder, lambda port: text(port, both)) as second:
            assert second.health(lambda health: (health["reason"] or "").startswith(in_use))
            assert second.is_on("cpu", aspired="cpu", degraded=False)
            second.flows()
            assert 1 == stick.opens
            one.stops()
            assert second.is_on("edgetpu", degraded=False)
            second.stops()
        assert 2 == stick.opens
        assert {"edgetpu"} == {each["device"] for each in one.listener.predictions("clip")[-40:]}
        assert [] == one.warnings()


def test_the_stick_of_an_agent_that_was_killed_is_taken_over(both: Path, bus: Bus, tmp_path: Path) -> None:
    """Its worker goes, in the middle of an inference too, and only then has the next agent the device."""
    stick = bus.sticks[0]
    with scene(tmp_path, lambda port: text(port, both)) as one:
        assert one.is_on("edgetpu")
        stick.order("hang")
        bus.wait("hang", 20.0)
        pid = stick.holder()
        assert pid is not None
        worker = Watched(pid)
        one.agent.process.kill()
        assert -signal.SIGKILL == one.agent.ends()
        after = _classify(both, "edgetpu")
        assert (0, "edgetpu") == (after.returncode, json.loads(after.stdout)["device"]), after.stderr
        assert worker.ends_within(0)
        assert [] == bus.journal("rob")
        assert one.agent.leaves_no_process()
        assert one.listener.says(TOPICS.availability, b"offline")
    second_folder = tmp_path / "second"
    second_folder.mkdir()
    with scene(second_folder, lambda port: text(port, both)) as second:
        assert second.is_on("edgetpu", degraded=False)
        second.stops()
    assert [] == bus.journal("rob")


def _in_invoke(one: Scene, bus: Bus) -> None:
    assert one.is_on("edgetpu")
    bus.sticks[0].order("hang")
    bus.wait("hang", 20.0)


def _in_proof(_one: Scene, bus: Bus) -> None:
    bus.sticks[0].spare(1)
    bus.sticks[0].order("hang")
    bus.sticks[0].plug()
    bus.wait("hang", 20.0)


def _in_open(_one: Scene, bus: Bus) -> None:
    bus.sticks[0].hang_open()
    bus.sticks[0].plug()
    bus.wait("hang", 20.0)


@pytest.mark.parametrize("moment", [_in_invoke, _in_proof, _in_open])
def test_a_stick_that_hangs_keeps_nobody_from_stopping(
    moment: Callable[[Scene, Bus], None], both: Path, bus: Bus, stick: Stick, tmp_path: Path
) -> None:
    """SIGTERM while it hangs: exit 0, nothing left behind, and no false alarm of a loss."""
    if moment is not _in_invoke:
        stick.pull()
    with scene(tmp_path, lambda port: text(port, both, timeout_s=600.0)) as one:
        one.flows()
        moment(one, bus)
        one.stops()
        assert [] == one.warnings()
        assert stick.holder() is None


def test_a_library_that_hangs_keeps_nobody_from_stopping(both: Path, tmp_path: Path) -> None:
    """SIGTERM while libedgetpu is asked what there is."""
    library = tmp_path / "libhangs.so"
    os.mkfifo(library)
    with scene(tmp_path, lambda port: text(port, both, library=library)) as one:
        with library.open("wb"):  # waits for the reader: the child that loads it
            one.flows()
            one.stops()
        assert [] == one.warnings()


def test_several_slots_share_one_stick(both: Path, bus: Bus, stick: Stick, tmp_path: Path) -> None:
    """Two models, two cameras, one worker; a slot without a compiled model stays on the CPU, undisturbed by
    the others' losses.
    """
    slots = {
        "models.large": {"path": bundle_of(tmp_path / "large", LARGE, CPU_LARGE)},
        "models.plain": {"path": bundle_of(tmp_path / "plain", CPU_SMALL)},
    }
    cameras = {
        "clip": CLIP,
        "other": {**CLIP, "fps": 20, "model": "large"},
        "third": {**CLIP, "fps": 20, "model": "plain"},
    }
    with scene(tmp_path, lambda port: text(port, both, cameras) + toml(slots)) as one:
        assert one.is_on("edgetpu", degraded=False, reason=None)
        for camera in cameras:
            one.flows(camera)
        assert 1 == stick.opens
        stick.order("abort")
        assert one.health(lambda health: health["losses"] == health["recoveries"] == 1)
        assert one.is_on("edgetpu", degraded=False)
        for camera in cameras:
            one.flows(camera)
        one.stops()
        assert [2, 2] == [stick.opens, len({entry.pid for entry in bus.journal("open")})]
        for camera in cameras:
            heard = one.listener.predictions(camera)
            assert list(range(1, len(heard) + 1)) == [each["frame"] for each in heard]
        for camera in ("clip", "other"):
            devices = runs(each["device"] for each in one.listener.predictions(camera))
            assert ["edgetpu", "cpu", "edgetpu"] == devices[-3:]
        third = one.listener.predictions("third")
        assert {("cpu", False)} == {(each["device"], each["degraded"]) for each in third}
        assert 1 == len(one.agent.log("slot plain: no model_edgetpu.tflite"))
        assert "edge-agent convert" in one.agent.log("slot plain: no model_edgetpu.tflite")[0]
        assert 1 == len(one.warnings())


def test_a_library_that_fits_no_runtime_is_told_once(both: Path, stick: Stick, tmp_path: Path) -> None:
    """With runtime = auto each is tried; then the CPU serves, and `health` names what to install."""
    stick.crash_constructor()
    with scene(tmp_path, lambda port: text(port, both)) as one:
        assert one.health(lambda health: "fits no runtime here" in (health["reason"] or ""))
        assert one.is_on("cpu", aspired="edgetpu", degraded=True, losses=0)
        assert one.health(lambda health: "libedgetpu1-std" in "".join(health["faults"]))
        opened = stick.opens
        while stick.opens < opened + 3:
            one.flows(count=5)
        one.stops()
        (warned,) = one.warnings()
        assert "litert: " in warned
        assert "tflite-runtime: " in warned


def test_what_keeps_the_stick_from_serving_is_told_with_its_remedy(
    both: Path, stick: Stick, tmp_path: Path
) -> None:
    """In `reason` and `faults`, as in the log's one warning: here a Python that is not there."""
    with scene(tmp_path, lambda port: text(port, both, python="/nonexistent/python")) as one:
        assert one.health(lambda health: (health["reason"] or "").endswith("; check inference.python"))
        assert one.is_on("cpu", degraded=True, losses=0)
        assert one.health(lambda health: "; check inference.python" in "".join(health["faults"]))
        one.flows()
        one.stops()
        assert 0 == stick.opens
        (warned,) = one.warnings()
        assert "; check inference.python; the CPU serves" in warned


def test_a_model_only_for_the_stick_is_refused_where_only_the_cpu_is_wanted(tmp_path: Path) -> None:
    """Nothing would ever run it: the agent says so and ends, and does not wait in silence."""
    lone = bundle_of(tmp_path / "lone", SMALL)
    with scene(tmp_path, lambda port: text(port, lone, device="cpu")) as one:
        assert 1 == one.agent.ends()
        (told,) = one.agent.log("error: ")
        assert "only a model compiled for the Edge TPU, and nothing that the CPU could run" in told


def test_a_hang_up_changes_the_rule_wherever_the_model_runs(both: Path, stick: Stick, tmp_path: Path) -> None:
    """SIGHUP while degraded: the CPU goes on under the new rule, and so does the stick when it is back."""
    with scene(tmp_path, lambda port: text(port, both)) as one:
        assert one.is_on("edgetpu")
        stick.pull()
        assert one.is_on("cpu", degraded=True)
        one.agent.reload(text(one.port, both).replace("[models.default]", "[models.default]\ntop_k = 1"))
        assert one.agent.logged("SIGHUP: done")
        assert one.listener.tells(TOPICS.prediction("clip"), lambda last: len(last["predictions"]) == 1)
        stick.plug()
        assert one.is_on("edgetpu", degraded=False)
        one.flows()
        one.stops()
        heard = one.listener.predictions("clip")
        assert [3, 1] == runs(len(each["predictions"]) for each in heard)
        assert list(range(1, len(heard) + 1)) == [each["frame"] for each in heard]
